//! What the staff does to issued invoices: payments, credit notes, withdrawals. Each is done once, and a
//! refusal is written down beside it.

mod credit;
mod withdraw;

use anyhow::Context;
use broker::{Envelope, Failure, Handled, Handler, Outgoing};
use entity::invoice::{self, InvoiceKind, InvoiceState};
use entity::payment;
use entity::request::{self, RequestStatus};
use schemas::document::DocumentRender;
use schemas::event::{CreditNoteIssued, InvoiceVoided, PaymentRecorded};
use schemas::invoice::{InvoiceAction, InvoiceHandle, PaymentRequest};
use schemas::topology::{self, WorkQueue};
use schemas::values::{Currency, Money};
use schemas::{Message, Problem, problem};
use sea_orm::{DatabaseConnection, DatabaseTransaction, EntityTrait};
use uuid::Uuid;

use crate::store::payments::{self, NewPayment};
use crate::store::{self, invoices, requests};

use super::missing;

/// Consumes `invoice.handle.v1`.
pub(crate) struct HandleInvoice {
    pub(crate) db: DatabaseConnection,
}

impl Handler for HandleInvoice {
    type Message = InvoiceHandle;

    fn queue(&self) -> WorkQueue {
        topology::INVOICE_HANDLE
    }

    async fn handle(&self, message: &Envelope<InvoiceHandle>) -> Handled {
        let handle = &message.body;
        self.act(handle).await?;
        let row = requests::find(&self.db, handle.action_id).await;
        let row = row.context("find the request")?;
        let row = row.context("the request that was just stored is gone")?;
        Ok(self.follow_ups(&row).await?)
    }
}

impl HandleInvoice {
    async fn act(&self, handle: &InvoiceHandle) -> Result<(), Failure> {
        let transaction = store::begin(&self.db).await?;
        let invoice = invoices::lock(&transaction, handle.invoice_id).await;
        let invoice = invoice.context("lock the invoice")?;
        let invoice = invoice.ok_or_else(|| missing("invoice", handle.invoice_id))?;
        let known = requests::find(&transaction, handle.action_id).await;
        if known.context("find the request")?.is_some() {
            return Ok(());
        }
        let asked = row(handle, &invoice);
        match &handle.action {
            InvoiceAction::Pay(payment) => {
                let outcome = pay(&transaction, &invoice, handle, payment).await?;
                decide(&transaction, asked, outcome).await?;
            }
            InvoiceAction::Void(_) => {
                let outcome = withdraw::void(&transaction, &invoice, handle).await?;
                decide(&transaction, asked, outcome.map(|()| None)).await?;
            }
            InvoiceAction::Credit(request) => {
                let planned = credit::plan(&transaction, &invoice, request).await?;
                match planned {
                    Err(problem) => decide(&transaction, asked, Err(problem)).await?,
                    Ok(plan) => {
                        let id = schemas::invoice::credit_note_id(handle.action_id);
                        decide(&transaction, asked, Ok(Some(id))).await?;
                        // The number comes last.
                        credit::issue(&transaction, id, &invoice, plan, handle).await?;
                    }
                }
            }
        }
        transaction.commit().await.context("store what was done")?;
        Ok(())
    }

    /// What follows from what was done: the same, however often it is asked.
    async fn follow_ups(&self, row: &request::Model) -> anyhow::Result<Vec<Outgoing>> {
        if let Some(rejected) = requests::rejection(row)? {
            return Ok(vec![Outgoing::once(row.id, row.id, &rejected)]);
        }
        let invoice_id = row.subject_id.context("the request is about no invoice")?;
        let Some(result) = row.result_id else {
            let invoice = invoices::find(&self.db, invoice_id).await?;
            let invoice = invoice.context("the invoice is gone")?;
            let voided = InvoiceVoided {
                invoice_id,
                account_id: row.account_id,
                number: invoice.number.unwrap_or_default(),
            };
            return Ok(vec![Outgoing::once(row.id, invoice_id, &voided)]);
        };
        if let Some(note) = invoices::find(&self.db, result).await? {
            let currency: Currency = note.currency.parse()?;
            let render = DocumentRender { invoice_id: result };
            let issued = CreditNoteIssued {
                credit_note_id: result,
                invoice_id,
                account_id: row.account_id,
                number: note.number.unwrap_or_default(),
                total: Money::new(note.total_minor, currency),
                issued_at: note.issued_at.unwrap_or_default(),
            };
            return Ok(vec![
                Outgoing::once(result, result, &render),
                Outgoing::once(result, result, &issued),
            ]);
        }
        let paid = payment::Entity::find_by_id(result).one(&self.db).await?;
        let paid = paid.context("what the request made is gone")?;
        let recorded = PaymentRecorded {
            payment_id: result,
            invoice_id,
            account_id: row.account_id,
            amount: Money::new(paid.amount_minor, paid.currency.parse()?),
            received_on: paid.received_on,
            reference: paid.reference,
        };
        Ok(vec![Outgoing::once(result, invoice_id, &recorded)])
    }
}

fn row(handle: &InvoiceHandle, invoice: &invoice::Model) -> request::Model {
    let note = match &handle.action {
        InvoiceAction::Credit(request) => Some(&request.reason),
        InvoiceAction::Void(request) => Some(&request.reason),
        InvoiceAction::Pay(request) => request.note.as_ref(),
    };
    request::Model {
        id: handle.action_id,
        account_id: invoice.account_id,
        kind: InvoiceHandle::KIND.to_owned(),
        subject_id: Some(invoice.id),
        external_ref: None,
        request_sha256: schemas::ticket::sha256_of(&handle.action),
        status: RequestStatus::Accepted,
        note: note.map(ToString::to_string),
        requested_by: Some(handle.by.to_string()),
        result_id: None,
        problem: None,
        trace_id: broker::current_trace_id(),
        requested_at: handle.at,
        decided_at: None,
    }
}

/// Writes down what was asked for, and what it made or why it cannot be done.
async fn decide(
    transaction: &DatabaseTransaction,
    mut asked: request::Model,
    outcome: Result<Option<Uuid>, Problem>,
) -> Result<(), Failure> {
    asked.result_id = outcome.as_ref().ok().copied().flatten();
    let outcome = outcome.map(|_| RequestStatus::Done);
    let inserted = requests::insert(transaction, asked, outcome).await;
    inserted.context("store the request")?;
    Ok(())
}

async fn pay(
    transaction: &DatabaseTransaction,
    invoice: &invoice::Model,
    handle: &InvoiceHandle,
    request: &PaymentRequest,
) -> Result<Result<Option<Uuid>, Problem>, Failure> {
    let new = NewPayment {
        invoice: invoice.number.as_deref().unwrap_or_default(),
        amount: request.amount.decimal(),
        received_on: request.received_on,
        reference: request.reference.as_str(),
        note: request.note.as_ref().map(|note| note.as_str()),
        operator: handle.by.as_str(),
    };
    let booked = payments::book(transaction, invoice, &new).await?;
    Ok(match booked {
        Ok(recorded) => Ok(Some(recorded.id)),
        Err(reason) => Err(Problem::new(problem::CONFLICT, sentence(&reason))),
    })
}

/// With a capital letter and a full stop.
fn sentence(reason: &str) -> String {
    let mut letters = reason.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str())
}

/// Why nothing can be done to an invoice any more; nothing if it can.
fn out_of_force(invoice: &invoice::Model) -> Option<Problem> {
    let number = invoice.number.as_deref().unwrap_or("the draft");
    let why = match (invoice.kind, invoice.state) {
        (InvoiceKind::Invoice, InvoiceState::Issued) => return None,
        (InvoiceKind::CreditNote, _) => format!("{number} is a credit note."),
        (_, InvoiceState::Voided) => format!("{number} was withdrawn."),
        (_, InvoiceState::Credited) => format!("{number} is credited whole."),
        (_, InvoiceState::Draft) => "The invoice is not issued yet.".to_owned(),
    };
    Some(Problem::new(problem::CONFLICT, why))
}
