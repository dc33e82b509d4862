//! Invoices, their lines and their numbers.

use chrono::{DateTime, Datelike, Utc};
use entity::invoice::{self, InvoiceKind, InvoiceState, PaymentState};
use entity::{invoice_line, issuer, number_series, tax_rate};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveEnum, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, FromQueryResult, QueryFilter,
    QuerySelect, Set, Statement,
};
use uuid::Uuid;

use super::now_ms_sql;
use crate::billing::content::InvoiceContent;

pub(crate) async fn find(
    db: &impl ConnectionTrait,
    id: Uuid,
) -> Result<Option<invoice::Model>, DbErr> {
    invoice::Entity::find_by_id(id).one(db).await
}

/// The invoice, locked until the transaction ends.
pub(crate) async fn lock(
    db: &impl ConnectionTrait,
    id: Uuid,
) -> Result<Option<invoice::Model>, DbErr> {
    invoice::Entity::find_by_id(id)
        .lock_exclusive()
        .one(db)
        .await
}

/// The credit notes that correct an invoice.
pub(crate) async fn credit_notes(
    db: &impl ConnectionTrait,
    invoice_id: Uuid,
) -> Result<Vec<invoice::Model>, DbErr> {
    invoice::Entity::find()
        .filter(invoice::Column::Corrects.eq(invoice_id))
        .filter(invoice::Column::State.ne(InvoiceState::Draft))
        .all(db)
        .await
}

/// The issuer; there is one so far.
pub(crate) async fn issuer(db: &impl ConnectionTrait) -> Result<Option<issuer::Model>, DbErr> {
    issuer::Entity::find().one(db).await
}

pub(crate) async fn rates(
    db: &impl ConnectionTrait,
    countries: [&str; 2],
) -> Result<Vec<tax_rate::Model>, DbErr> {
    tax_rate::Entity::find()
        .filter(tax_rate::Column::Country.is_in(countries))
        .all(db)
        .await
}

/// A draft to be issued in the same transaction.
pub(crate) struct Draft {
    pub(crate) id: Uuid,
    pub(crate) account_id: Uuid,
    pub(crate) kind: InvoiceKind,
    /// The invoice that a credit note corrects.
    pub(crate) corrects: Option<Uuid>,
    pub(crate) order_id: Option<Uuid>,
    pub(crate) issuer_id: Uuid,
    pub(crate) currency: String,
    pub(crate) trace_id: Option<String>,
}

/// Stores a draft. False if the order has an invoice already.
pub(crate) async fn insert_draft(db: &impl ConnectionTrait, draft: Draft) -> Result<bool, DbErr> {
    let row = invoice::ActiveModel {
        id: Set(draft.id),
        account_id: Set(draft.account_id),
        kind: Set(draft.kind),
        corrects: Set(draft.corrects),
        fetched_at: Set(None),
        order_id: Set(draft.order_id),
        issuer_id: Set(draft.issuer_id),
        state: Set(InvoiceState::Draft),
        payment: Set(PaymentState::Unpaid),
        year: Set(None),
        sequence: Set(None),
        number: Set(None),
        currency: Set(draft.currency),
        net_minor: Set(0),
        tax_minor: Set(0),
        total_minor: Set(0),
        issued_at: Set(None),
        issue_date: Set(None),
        due_date: Set(None),
        content: Set(String::new()),
        trace_id: Set(draft.trace_id),
        created_at: Set(Utc::now()),
    };
    super::insert_once(db, row).await
}

/// A number and the moment it was given at, by the clock of the database.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given {
    pub(crate) sequence: i64,
    pub(crate) at: DateTime<Utc>,
}

#[derive(FromQueryResult)]
struct GivenRow {
    last_number: i64,
    now_ms: i64,
}

/// Takes the next number of a series and keeps its row locked until the transaction ends, so that
/// numbers and moments grow together and a rollback gives the number back. Take it last.
pub(crate) async fn next_number(
    db: &impl ConnectionTrait,
    issuer_id: Uuid,
    kind: InvoiceKind,
    year: i32,
) -> Result<Given, DbErr> {
    let kind = kind.to_value();
    let first = number_series::ActiveModel {
        issuer_id: Set(issuer_id),
        kind: Set(kind.clone()),
        year: Set(year),
        last_number: Set(0),
    };
    let backend = db.get_database_backend();
    let clock = now_ms_sql(backend);
    let sql = format!(
        "UPDATE number_series SET last_number = last_number + 1 \
         WHERE issuer_id = $1 AND kind = $2 AND year = $3 RETURNING last_number, {clock} AS now_ms"
    );
    let take = || {
        let values = [issuer_id.into(), kind.clone().into(), year.into()];
        GivenRow::find_by_statement(Statement::from_sql_and_values(
            backend,
            sql.as_str(),
            values,
        ))
    };
    let row = match take().one(db).await? {
        Some(row) => row,
        // The first number of the year.
        None => {
            super::insert_once(db, first).await?;
            let row = take().one(db).await?;
            row.ok_or_else(|| DbErr::RecordNotFound("the number series".to_owned()))?
        }
    };
    let at = DateTime::from_timestamp_millis(row.now_ms).ok_or_else(super::no_clock)?;
    Ok(Given {
        sequence: row.last_number,
        at,
    })
}

/// Issues a draft: numbers it and freezes its content.
pub(crate) async fn issue(
    db: &impl ConnectionTrait,
    id: Uuid,
    given: Given,
    content: &InvoiceContent,
) -> anyhow::Result<()> {
    use invoice::Column;
    let lines = content.lines.iter().map(|line| invoice_line::ActiveModel {
        invoice_id: Set(id),
        position: Set(i32::try_from(line.position).unwrap_or(i32::MAX)),
        description: Set(line.description.clone()),
        quantity: Set(line.quantity.to_string()),
        unit: Set(line.unit.as_str().to_owned()),
        unit_price: Set(line.unit_price.to_string()),
        net_minor: Set(line.net.minor),
        tax_category: Set(line.category.code().to_owned()),
        tax_rate: Set(line.rate.to_string()),
        period_start: Set(line.period.map(|period| period.start)),
        period_end: Set(line.period.map(|period| period.end)),
    });
    invoice_line::Entity::insert_many(lines)
        .exec_without_returning(db)
        .await?;
    let issued = invoice::Entity::update_many()
        .col_expr(Column::State, Expr::value(InvoiceState::Issued))
        .col_expr(Column::Year, Expr::value(content.issue_date.year()))
        .col_expr(Column::Sequence, Expr::value(given.sequence))
        .col_expr(Column::Number, Expr::value(content.number.clone()))
        .col_expr(Column::NetMinor, Expr::value(content.net.minor))
        .col_expr(Column::TaxMinor, Expr::value(content.tax.minor))
        .col_expr(Column::TotalMinor, Expr::value(content.total.minor))
        .col_expr(Column::IssuedAt, Expr::value(given.at))
        .col_expr(Column::IssueDate, Expr::value(content.issue_date))
        .col_expr(Column::DueDate, Expr::value(content.due_date))
        .col_expr(
            Column::Content,
            Expr::value(serde_json::to_string(content)?),
        )
        .filter(Column::Id.eq(id))
        .filter(Column::State.eq(InvoiceState::Draft))
        .exec(db)
        .await?;
    anyhow::ensure!(
        issued.rows_affected == 1,
        "the draft of invoice {id} is gone"
    );
    Ok(())
}

/// What an audit of a number series found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedSeries {
    /// The issuer.
    pub issuer_id: Uuid,
    /// What is numbered: `invoice`, `credit_note`.
    pub kind: String,
    /// The year.
    pub year: i32,
    /// The number given last.
    pub last_number: i64,
    /// How many invoices have a number of it.
    pub invoices: i64,
    /// What is wrong, in words.
    pub faults: Vec<String>,
}

/// Checks that every series runs from 1 to its last number without a gap, and that later numbers
/// were not given at earlier times.
///
/// # Errors
/// When the database cannot be reached.
pub async fn audit(db: &impl ConnectionTrait) -> Result<Vec<AuditedSeries>, DbErr> {
    use sea_orm::QueryOrder;
    let mut audited = Vec::new();
    let every = number_series::Entity::find();
    for series in every
        .order_by_asc(number_series::Column::Kind)
        .order_by_asc(number_series::Column::Year)
        .all(db)
        .await?
    {
        let issued = invoice::Entity::find()
            .filter(invoice::Column::IssuerId.eq(series.issuer_id))
            .filter(invoice::Column::Kind.eq(&series.kind))
            .filter(invoice::Column::Year.eq(series.year))
            .order_by_asc(invoice::Column::Sequence)
            .select_only()
            .columns([
                invoice::Column::Sequence,
                invoice::Column::Number,
                invoice::Column::IssuedAt,
            ])
            .into_tuple::<(Option<i64>, Option<String>, Option<DateTime<Utc>>)>()
            .all(db)
            .await?;
        let mut faults = Vec::new();
        let mut expected = 1;
        let mut latest = DateTime::<Utc>::MIN_UTC;
        for (sequence, number, issued_at) in &issued {
            let (sequence, number) = (
                sequence.unwrap_or(0),
                number.as_deref().unwrap_or("without a number"),
            );
            if sequence > expected {
                faults.push(format!("gap: {expected} to {} are missing", sequence - 1));
            } else if sequence < expected {
                faults.push(format!("{number} is there twice"));
            }
            if issued_at.is_some_and(|at| at < latest) {
                faults.push(format!(
                    "{number} was issued before the number in front of it"
                ));
            }
            latest = issued_at.unwrap_or(latest).max(latest);
            expected = sequence + 1;
        }
        if expected != series.last_number + 1 {
            faults.push(format!(
                "the counter is at {}, the last invoice at {}",
                series.last_number,
                expected - 1
            ));
        }
        audited.push(AuditedSeries {
            issuer_id: series.issuer_id,
            kind: series.kind,
            year: series.year,
            last_number: series.last_number,
            invoices: i64::try_from(issued.len()).unwrap_or(i64::MAX),
            faults,
        });
    }
    Ok(audited)
}
