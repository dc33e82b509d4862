//! Invoices: what is owed for an order.

use chrono::{DateTime, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::message::Message;
use crate::topology;
use crate::values::{Amount, ExternalRef, Name};

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

/// The id of the invoice for an order, or for a request for an invoice; each has one.
pub fn invoice_id(cause: Uuid) -> Uuid {
    Uuid::new_v5(&cause, b"invoice")
}

/// What an account asks for; the body of `POST /v1/invoices`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceAsk {
    /// The caller's own reference, unique per account. It is printed on the invoice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ref: Option<ExternalRef>,
}

/// `invoice.request.v1`: an account asks for an invoice for everything up to now that is not invoiced
/// yet: months that are over or begun, in proportion, and what the meters of its resources have counted.
///
/// A partner system says which account asks, under an `external_ref`. The rest is for the ingress to say;
/// from anybody else it is not believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceRequest {
    /// What identifies the request. From an ingress only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Uuid>,
    /// The account that is to be invoiced.
    pub account_id: Uuid,
    /// When it was asked for. From an ingress only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<DateTime<Utc>>,
    /// What is asked for.
    pub request: InvoiceAsk,
}

impl Message for InvoiceRequest {
    const KIND: &'static str = "invoice.request.v1";
    const EXCHANGE: &'static str = topology::INVOICES;
}

/// The id of the request for an invoice that `account_id` makes under `key`; without a key each is one of
/// its own.
pub fn request_id(account_id: Uuid, key: Option<&ExternalRef>) -> Uuid {
    match key {
        Some(key) => Uuid::new_v5(&account_id, format!("invoice-request/{key}").as_bytes()),
        None => Uuid::now_v7(),
    }
}

/// `invoice.settle.v1`: issue the invoice that was asked for, once every meter is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceSettle {
    /// The request.
    pub request_id: Uuid,
}

impl Message for InvoiceSettle {
    const KIND: &'static str = "invoice.settle.v1";
    const EXCHANGE: &'static str = topology::WORK;
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
