//! Lists as CSV (RFC 4180), for spreadsheets.
//!
//! A spreadsheet takes a text that begins like a formula for one, whoever wrote it. Such a text gets
//! an apostrophe in front, and is quoted; numbers are numbers.
//! <https://owasp.org/www-community/attacks/CSV_Injection>

use csv::{QuoteStyle, WriterBuilder};
use entity::{invoice, order};
use sea_orm::{DatabaseConnection, EntityTrait, QueryOrder, QuerySelect, Select};
use warp::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use warp::reply::Response;

use crate::error::ApiError;
use crate::invoices::money;
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
    let rows = chosen
        .find_also_linked(OfOrder)
        .order_by_desc(invoice::Column::CreatedAt)
        .order_by_desc(invoice::Column::Id)
        .limit(MOST + 1)
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

/// From an invoice to the order it is for.
struct OfOrder;

impl sea_orm::Linked for OfOrder {
    type FromEntity = invoice::Entity;
    type ToEntity = order::Entity;

    fn link(&self) -> Vec<sea_orm::RelationDef> {
        let to_order = invoice::Entity::belongs_to(order::Entity)
            .from(invoice::Column::OrderId)
            .to(order::Column::Id);
        vec![to_order.into()]
    }
}

fn write(rows: Vec<(invoice::Model, Option<order::Model>)>) -> Result<Vec<u8>, csv::Error> {
    let mut writer = WriterBuilder::new()
        .quote_style(QuoteStyle::NonNumeric)
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    writer.write_record(HEAD)?;
    for (invoice, order) in rows {
        let amount = |minor| {
            let money = money(minor, &invoice.currency);
            money
                .map(|money| money.decimal().to_string())
                .unwrap_or_default()
        };
        let day = |day: Option<chrono::NaiveDate>| day.map(|day| day.to_string());
        let reference = order.and_then(|order| order.external_ref);
        writer.write_record([
            harmless(invoice.number.as_deref().unwrap_or_default()),
            text(&invoice.state),
            text(&invoice.payment),
            day(invoice.issue_date).unwrap_or_default(),
            day(invoice.due_date).unwrap_or_default(),
            invoice.currency.clone(),
            amount(invoice.net_minor),
            amount(invoice.tax_minor),
            amount(invoice.total_minor),
            harmless(reference.as_deref().unwrap_or_default()),
            invoice.id.to_string(),
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
