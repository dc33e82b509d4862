//! `GET /v1/credit-notes`, `GET /v1/credit-notes/{id}`, `GET /v1/credit-notes/{id}/pdf`.

use chrono::{DateTime, NaiveDate, Utc};
use entity::invoice::{self, InvoiceKind, InvoiceState};
use schemars::JsonSchema;
use schemas::values::Money;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde::Serialize;
use uuid::Uuid;
use warp::reply::Response;

use crate::call::Call;
use crate::error::ApiError;
use crate::invoice_items::{Parts, money};
use crate::invoices::{hand_out, own, parts};
use crate::page::{Page, PageRequest};
use crate::reply;

/// A credit note: it takes an invoice back, or a part of it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CreditNoteSummary")]
pub(crate) struct CreditNoteItem {
    id: Uuid,
    number: Option<String>,
    /// The invoice that it corrects.
    invoice_id: Option<Uuid>,
    issue_date: Option<NaiveDate>,
    issued_at: Option<DateTime<Utc>>,
    /// Without tax.
    net: Option<Money>,
    tax: Option<Money>,
    /// What is credited.
    total: Option<Money>,
    trace_id: Option<String>,
    links: CreditNoteLinks,
}

/// Where a credit note, its PDF and its invoice are.
#[derive(Serialize, JsonSchema)]
struct CreditNoteLinks {
    #[serde(rename = "self")]
    own: String,
    pdf: String,
    invoice: Option<String>,
}

/// A credit note with its lines, how far it has come, and where its mails are.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CreditNote")]
pub(crate) struct CreditNoteDetails {
    #[serde(flatten)]
    note: CreditNoteItem,
    #[serde(flatten)]
    parts: Parts,
}

/// Lists the credit notes of the account.
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    use invoice::Column;
    let mut query = call.query();
    let page = PageRequest::read(&mut query);
    let corrected = query.id("invoice_id");
    let page = query.finish(page)?;
    let mut rows = invoice::Entity::find()
        .filter(Column::AccountId.eq(call.account()?))
        .filter(Column::Kind.eq(InvoiceKind::CreditNote))
        .filter(Column::State.ne(InvoiceState::Draft));
    if let Some(invoice) = corrected {
        rows = rows.filter(Column::Corrects.eq(invoice));
    }
    let rows = page.of(rows, Column::CreatedAt, Column::Id);
    let rows = rows.all(&call.state.db).await?;
    Ok(reply::ok(&Page::new(
        rows,
        page,
        |row| (row.created_at, row.id),
        item,
    )))
}

/// Shows one credit note.
pub(crate) async fn get(call: Call) -> Result<Response, ApiError> {
    let note = own(&call, InvoiceKind::CreditNote).await?;
    Ok(reply::ok(&CreditNoteDetails {
        parts: parts(&call.state.db, &note).await?,
        note: item(note),
    }))
}

/// Downloads the PDF, byte for byte as it was mailed.
pub(crate) async fn pdf(call: Call) -> Result<Response, ApiError> {
    let note = own(&call, InvoiceKind::CreditNote).await?;
    hand_out(&call.state.db, note).await
}

fn item(note: invoice::Model) -> CreditNoteItem {
    let amount = |minor| money(minor, &note.currency);
    CreditNoteItem {
        id: note.id,
        invoice_id: note.corrects,
        issue_date: note.issue_date,
        issued_at: note.issued_at,
        net: amount(note.net_minor),
        tax: amount(note.tax_minor),
        total: amount(note.total_minor),
        number: note.number,
        trace_id: note.trace_id,
        links: CreditNoteLinks {
            own: format!("/v1/credit-notes/{}", note.id),
            pdf: format!("/v1/credit-notes/{}/pdf", note.id),
            invoice: note.corrects.map(|id| format!("/v1/invoices/{id}")),
        },
    }
}
