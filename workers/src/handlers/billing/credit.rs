//! Credit notes: documents of their own, numbered in a series of their own.

use anyhow::{Context, anyhow};
use broker::{Failure, crash_point};
use chrono::{DateTime, Datelike, Utc};
use entity::invoice::{self, InvoiceKind, InvoiceState};
use schemas::invoice::{CreditNoteRequest, InvoiceHandle};
use schemas::values::TimeZone;
use schemas::{Problem, problem};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter};
use std::time::Duration;
use uuid::Uuid;

use crate::billing::content::{Corrected, InvoiceContent};
use crate::billing::credit::{Credit, Refused, credit};
use crate::store::invoices::{self, Draft, Given};
use crate::store::parked::audit;
use crate::store::payments::Balance;
use crate::store::{self, stages};

use super::out_of_force;

const YEAR_AGAIN: Duration = Duration::from_secs(5);

/// What a credit note is made of, but for its number.
pub(super) struct Plan {
    content: InvoiceContent,
    prefix: String,
    zone: TimeZone,
    /// Whether nothing is left of the invoice after it.
    whole: bool,
}

/// Checks what is asked for of an invoice that is locked. The inner error is for whoever asks.
pub(super) async fn plan(
    transaction: &DatabaseTransaction,
    invoice: &invoice::Model,
    request: &CreditNoteRequest,
) -> Result<Result<Plan, Problem>, Failure> {
    if let Some(problem) = out_of_force(invoice) {
        return Ok(Err(problem));
    }
    let read = |row: &invoice::Model| serde_json::from_str::<InvoiceContent>(&row.content);
    let original = read(invoice).context("read the content of the invoice")?;
    let earlier = invoices::credit_notes(transaction, invoice.id).await;
    let earlier = earlier.context("find the credit notes")?;
    let earlier: Result<Vec<_>, _> = earlier.iter().map(read).collect();
    let earlier = earlier.context("read the content of the credit notes")?;
    let credit = match credit(&original, &earlier, &request.lines) {
        Ok(credit) => credit,
        Err(refused) => return Ok(Err(told(refused))),
    };
    let issuer = invoices::issuer(transaction).await;
    let issuer = issuer.context("find the issuer")?;
    let issuer = issuer.context("there is no issuer")?;
    let Credit {
        lines,
        taxes,
        net,
        tax,
        total,
        whole,
    } = credit;
    let corrected = Corrected {
        number: original.number.clone(),
        issue_date: original.issue_date,
        reason: request.reason.to_string(),
    };
    Ok(Ok(Plan {
        content: InvoiceContent {
            corrects: Some(corrected),
            payment_terms_days: 0,
            lines,
            taxes,
            net,
            tax,
            total,
            ..original
        },
        prefix: issuer.credit_note_prefix,
        zone: issuer
            .time_zone
            .parse()
            .context("read the time zone of the issuer")?,
        whole,
    }))
}

fn told(refused: Refused) -> Problem {
    match refused {
        Refused::NothingLeft => {
            let detail = "Nothing is left of the invoice that could be credited.";
            Problem::new(problem::CONFLICT, detail)
        }
        Refused::Fields(errors) => {
            let detail = "More is asked for than is left of the invoice.";
            Problem::new(problem::INVALID_REQUEST, detail).with_errors(errors)
        }
        Refused::TooLarge(error) => Problem::new(problem::CONFLICT, error.to_string()),
    }
}

/// Issues a credit note: stores it, takes its number last, and says what became of the invoice.
pub(super) async fn issue(
    transaction: &DatabaseTransaction,
    id: Uuid,
    invoice: &invoice::Model,
    plan: Plan,
    handle: &InvoiceHandle,
) -> Result<(), Failure> {
    let Plan {
        mut content,
        prefix,
        zone: TimeZone(zone),
        whole,
    } = plan;
    let draft = Draft {
        id,
        account_id: invoice.account_id,
        kind: InvoiceKind::CreditNote,
        corrects: Some(invoice.id),
        order_id: None,
        issuer_id: invoice.issuer_id,
        currency: invoice.currency.clone(),
        trace_id: broker::current_trace_id(),
    };
    let inserted = invoices::insert_draft(transaction, draft).await;
    if !inserted.context("store the draft")? {
        return Err(anyhow!("there is credit note {id} already").into());
    }
    let mut balance = Balance::of(transaction, invoice).await?;
    balance.credited += content.total.minor;
    balance.show(transaction, invoice.id).await?;
    if whole {
        credited(transaction, invoice.id).await?;
    }
    stages::pending(transaction, id, stages::RENDER).await?;
    stages::pending(transaction, id, stages::DELIVER).await?;
    let subject = invoice.id.to_string();
    let note = format!("{}: {}", content.total, handle_reason(&content));
    let by = handle.by.as_str();
    audit(transaction, by, "invoice.credit", &subject, Some(&note)).await?;

    let day = |at: DateTime<Utc>| at.with_timezone(&zone).date_naive();
    let today = day(store::now(transaction).await?);
    let kind = InvoiceKind::CreditNote;
    let given = invoices::next_number(transaction, invoice.issuer_id, kind, today.year()).await;
    let given: Given = given.context("take the next number")?;
    crash_point("credit.numbered");
    content.issue_date = day(given.at);
    content.due_date = content.issue_date;
    if content.issue_date.year() != today.year() {
        let error = anyhow!("the year changed while the number was taken");
        return Err(Failure::NotYet(YEAR_AGAIN, error));
    }
    content.number = format!("{prefix}{}-{:06}", today.year(), given.sequence);
    invoices::issue(transaction, id, given, &content)
        .await
        .context("issue")?;
    Ok(())
}

fn handle_reason(content: &InvoiceContent) -> &str {
    let corrected = content.corrects.as_ref();
    corrected.map_or("", |corrected| corrected.reason.as_str())
}

async fn credited(transaction: &DatabaseTransaction, id: Uuid) -> Result<(), Failure> {
    invoice::Entity::update_many()
        .col_expr(invoice::Column::State, Expr::value(InvoiceState::Credited))
        .filter(invoice::Column::Id.eq(id))
        .filter(invoice::Column::State.eq(InvoiceState::Issued))
        .exec(transaction)
        .await
        .context("say that the invoice is credited")?;
    Ok(())
}
