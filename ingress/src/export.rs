//! Lists as CSV (RFC 4180), for spreadsheets.
//!
//! A spreadsheet takes a text that begins like a formula for one, whoever wrote it. Such a text gets
//! an apostrophe in front, and is quoted; numbers are numbers.
//! <https://owasp.org/www-community/attacks/CSV_Injection>

use chrono::NaiveDate;
use csv::{QuoteStyle, WriterBuilder};
use entity::invoice::{self, InvoiceState, PaymentState};
use entity::order;
use sea_orm::{
    DatabaseConnection, EntityTrait, FromQueryResult, JoinType, QueryOrder, QuerySelect, Select,
};
use uuid::Uuid;
use warp::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use warp::reply::Response;

use crate::error::ApiError;
use crate::invoice_items::money;
use crate::orders::text;
use crate::reply;

/// How many rows an export has at most.
const MOST: u64 = 10_000;

const HEAD: [&str; 11] = [
    "number",
    "status",
    "payment",
    "issue_date",
    "due_date",
    "currency",
    "net",
    "tax",
    "total",
    "order_reference",
    "id",
];

/// Whether an `Accept` asks for CSV rather than JSON.
pub(crate) fn is_wanted(accept: Option<&str>) -> bool {
    let types = accept.unwrap_or_default().split(',');
    let mut names = types.map(|of| of.split(';').next().unwrap_or_default().trim());
    names
        .next()
        .is_some_and(|first| first.eq_ignore_ascii_case("text/csv"))
}

/// The invoices as CSV, newest first.
///
/// # Errors
/// 422 when there are too many.
pub(crate) async fn csv(
    db: &DatabaseConnection,
    chosen: Select<invoice::Entity>,
) -> Result<Response, ApiError> {
    let order = invoice::Entity::belongs_to(order::Entity)
        .from(invoice::Column::OrderId)
        .to(order::Column::Id)
        .into();
    use invoice::Column::{
        CreatedAt, Currency, DueDate, Id, IssueDate, NetMinor, Number, Payment, State, TaxMinor,
        TotalMinor,
    };
    // Without what is printed on them, which is most of an row.
    let rows: Vec<Row> = chosen
        .join(JoinType::LeftJoin, order)
        .select_only()
        .columns([Number, State, Payment, IssueDate, DueDate, Currency])
        .columns([NetMinor, TaxMinor, TotalMinor, Id])
        .column(order::Column::ExternalRef)
        .order_by_desc(CreatedAt)
        .order_by_desc(Id)
        .limit(MOST + 1)
        .into_model()
        .all(db)
        .await?;
    if rows.len() as u64 > MOST {
        let reason = format!("choose less: an export has at most {MOST} invoices");
        return Err(ApiError::wrong_field("issued_from", reason));
    }
    let bytes = write(rows).map_err(anyhow::Error::from)?;
    let etag = reply::etag(&bytes);
    let mut response = Response::new(bytes.into());
    reply::set(
        &mut response,
        CONTENT_TYPE,
        "text/csv; charset=utf-8; header=present",
    );
    let disposition = "attachment; filename=\"invoices.csv\"";
    reply::set(&mut response, CONTENT_DISPOSITION, disposition);
    reply::set(&mut response, warp::http::header::ETAG, &etag);
    Ok(response)
}

/// An invoice as it is exported.
#[derive(FromQueryResult)]
struct Row {
    number: Option<String>,
    state: InvoiceState,
    payment: PaymentState,
    issue_date: Option<NaiveDate>,
    due_date: Option<NaiveDate>,
    currency: String,
    net_minor: i64,
    tax_minor: i64,
    total_minor: i64,
    id: Uuid,
    external_ref: Option<String>,
}

fn write(rows: Vec<Row>) -> Result<Vec<u8>, csv::Error> {
    let mut writer = WriterBuilder::new()
        .quote_style(QuoteStyle::NonNumeric)
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    writer.write_record(HEAD)?;
    for row in rows {
        let amount = |minor| {
            let money = money(minor, &row.currency);
            money
                .map(|money| money.decimal().to_string())
                .unwrap_or_default()
        };
        let day = |day: Option<NaiveDate>| day.map(|day| day.to_string());
        writer.write_record([
            harmless(row.number.as_deref().unwrap_or_default()),
            text(&row.state),
            text(&row.payment),
            day(row.issue_date).unwrap_or_default(),
            day(row.due_date).unwrap_or_default(),
            row.currency.clone(),
            amount(row.net_minor),
            amount(row.tax_minor),
            amount(row.total_minor),
            harmless(row.external_ref.as_deref().unwrap_or_default()),
            row.id.to_string(),
        ])?;
    }
    writer
        .into_inner()
        .map_err(|error| error.into_error().into())
}

/// A text that no spreadsheet takes for a formula.
fn harmless(text: &str) -> String {
    let triggers = [
        '=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠', '\'', '|', '%',
    ];
    match text.starts_with(triggers) {
        true => format!("'{text}"),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_begin_like_formulas_are_texts() {
        for (given, expected) in [
            ("po-4711", "po-4711"),
            ("=1+2", "'=1+2"),
            ("-2+3+cmd|' /C calc'!A0", "'-2+3+cmd|' /C calc'!A0"),
            ("@SUM(1)", "'@SUM(1)"),
            ("＝1", "'＝1"),
            ("", ""),
        ] {
            assert_eq!(harmless(given), expected);
        }
    }

    #[test]
    fn csv_is_asked_for_by_name() {
        assert!(is_wanted(Some("text/csv")));
        assert!(is_wanted(Some("text/csv;q=0.9, */*")));
        assert!(!is_wanted(Some("application/json, text/csv;q=0.1")));
        assert!(!is_wanted(Some("*/*")));
        assert!(!is_wanted(None));
    }
}
