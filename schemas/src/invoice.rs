//! Invoices: what is owed for an order.

use chrono::{DateTime, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::message::Message;
use crate::topology;
use crate::values::{Amount, Name};

/// `invoice.issue.v1`: issue the invoice for a completed order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceIssue {
    /// The order to invoice.
    pub order_id: Uuid,
}

impl Message for InvoiceIssue {
    const KIND: &'static str = "invoice.issue.v1";
    const EXCHANGE: &'static str = topology::WORK;
}

/// The id of the invoice for an order; an order has one.
pub fn invoice_id(order_id: Uuid) -> Uuid {
    Uuid::new_v5(&order_id, b"invoice")
}

/// `invoice.handle.v1`: the staff does something to an issued invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceHandle {
    /// What identifies it: done once, however often it is asked for.
    pub action_id: Uuid,
    /// The invoice.
    pub invoice_id: Uuid,
    /// Who does it.
    pub by: Name,
    /// When it was asked for.
    pub at: DateTime<Utc>,
    /// What is done.
    pub action: InvoiceAction,
}

impl Message for InvoiceHandle {
    const KIND: &'static str = "invoice.handle.v1";
    const EXCHANGE: &'static str = topology::WORK;
}

/// What the staff does to an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceAction {
    /// Takes it back, or a part of it, by a credit note.
    Credit(CreditNoteRequest),
    /// Notes that money has come, or was given back.
    Pay(PaymentRequest),
    /// Withdraws it before it has left the house.
    Void(VoidRequest),
}

/// A credit note that is asked for; the body of `POST /v1/staff/invoices/{id}/credit-notes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CreditNoteRequest")]
pub struct CreditNoteRequest {
    /// Why, as it is printed.
    pub reason: Name,
    /// What is credited. Without any: all that is left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<CreditLine>,
}

/// What is credited of a line of an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreditLine {
    /// The place of the line on the invoice.
    pub position: u32,
    /// How much, without tax, in the currency of the invoice.
    pub net: Amount,
}

/// A payment that is recorded; the body of `POST /v1/staff/invoices/{id}/payments`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentRequest {
    /// In the currency of the invoice; negative for money that was given back.
    pub amount: Amount,
    /// The day the money was there.
    pub received_on: NaiveDate,
    /// What the bank calls it. The same reference again is the same payment.
    pub reference: Name,
    /// For the audit trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Name>,
}

/// Why an invoice is withdrawn; the body of `POST /v1/staff/invoices/{id}/voidings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VoidRequest {
    /// Why, for the audit trail.
    pub reason: Name,
}

/// The id of the credit note that an action makes.
pub fn credit_note_id(action_id: Uuid) -> Uuid {
    Uuid::new_v5(&action_id, b"credit-note")
}
