//! Public facts on the exchange `events`: what happened, for whoever may listen.
//!
//! The routing key of a fact is its kind and whom it concerns: `order.completed.v1.<account>`. A
//! listener binds `order.completed.v1.*` for one kind, or `*.*.*.<account>` for one account.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::message::Message;
use crate::problem::Problem;
use crate::ticket::TicketStatus;
use crate::topology;
use crate::values::{ExternalRef, Money};

/// Implements [`Message`] for a fact, with the field that says whom it concerns.
macro_rules! fact {
    ($type:ident, $kind:literal, $concerns:ident) => {
        impl Message for $type {
            const KIND: &'static str = $kind;
            const EXCHANGE: &'static str = topology::EVENTS;

            fn routing_key(&self) -> Cow<'static, str> {
                Cow::Owned(format!("{}.{}", $kind, self.$concerns))
            }
        }
    };
}

/// `order.accepted.v1`: the order is valid and priced; its resources are about to be created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderAccepted {
    /// The order.
    pub order_id: Uuid,
    /// Its account.
    pub account_id: Uuid,
    /// The caller's own reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ref: Option<ExternalRef>,
    /// When it was placed.
    pub placed_at: DateTime<Utc>,
}
fact!(OrderAccepted, "order.accepted.v1", account_id);

/// `order.completed.v1`: every resource of the order is active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderCompleted {
    /// The order.
    pub order_id: Uuid,
    /// Its account.
    pub account_id: Uuid,
    /// The resources it created.
    pub resource_ids: Vec<Uuid>,
}
fact!(OrderCompleted, "order.completed.v1", account_id);

/// `order.failed.v1`: the order is parked for a person to look at. It may still complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderFailed {
    /// The order.
    pub order_id: Uuid,
    /// Its account.
    pub account_id: Uuid,
    /// Why, in words for the customer.
    pub problem: Problem,
}
fact!(OrderFailed, "order.failed.v1", account_id);

/// `order.rejected.v1`: the order cannot be fulfilled as it was asked for. Final.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderRejected {
    /// The order.
    pub order_id: Uuid,
    /// Its account.
    pub account_id: Uuid,
    /// The caller's own reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ref: Option<ExternalRef>,
    /// Why, in words for the customer.
    pub problem: Problem,
}
fact!(OrderRejected, "order.rejected.v1", account_id);

/// `order.cancelled.v1`: the order was taken back; nothing of it exists, and nothing is charged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderCancelled {
    /// The order.
    pub order_id: Uuid,
    /// Its account.
    pub account_id: Uuid,
    /// The caller's own reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ref: Option<ExternalRef>,
    /// When nothing of it existed any more.
    pub cancelled_at: DateTime<Utc>,
}
fact!(OrderCancelled, "order.cancelled.v1", account_id);

/// `resource.terminated.v1`: the resource is deleted at its provider; billing has stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceTerminated {
    /// The resource.
    pub resource_id: Uuid,
    /// The order that created it.
    pub order_id: Uuid,
    /// Its account.
    pub account_id: Uuid,
    /// When the provider deleted it, by the provider's clock.
    pub terminated_at: DateTime<Utc>,
}
fact!(ResourceTerminated, "resource.terminated.v1", account_id);

/// `request.rejected.v1`: what was asked for cannot be done. Final.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestRejected {
    /// The request.
    pub request_id: Uuid,
    /// Its account.
    pub account_id: Uuid,
    /// The kind of message that asked for it: `order.cancel.v1`.
    pub kind: String,
    /// The order, resource or invoice that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_id: Option<Uuid>,
    /// The caller's own reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ref: Option<ExternalRef>,
    /// Why, in words for the customer.
    pub problem: Problem,
}
fact!(RequestRejected, "request.rejected.v1", account_id);

/// `invoice.issued.v1`: the invoice has its number and can no longer change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceIssued {
    /// The invoice.
    pub invoice_id: Uuid,
    /// Its account.
    pub account_id: Uuid,
    /// The order it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<Uuid>,
    /// Its number.
    pub number: String,
    /// What is to be paid, tax included.
    pub total: Money,
    /// When it was issued.
    pub issued_at: DateTime<Utc>,
}
fact!(InvoiceIssued, "invoice.issued.v1", account_id);

/// `invoice.delivered.v1`: the mail with the document was accepted by the recipient's mail server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceDelivered {
    /// The invoice.
    pub invoice_id: Uuid,
    /// Its account.
    pub account_id: Uuid,
    /// The delivery.
    pub delivery_id: Uuid,
    /// SHA-256 of the document that was mailed, in hex.
    pub document_sha256: String,
    /// When the mail was accepted.
    pub delivered_at: DateTime<Utc>,
}
fact!(InvoiceDelivered, "invoice.delivered.v1", account_id);

/// `invoice.voided.v1`: the invoice was withdrawn before it left the house. Nothing is owed for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceVoided {
    /// The invoice.
    pub invoice_id: Uuid,
    /// Its account.
    pub account_id: Uuid,
    /// Its number.
    pub number: String,
}
fact!(InvoiceVoided, "invoice.voided.v1", account_id);

/// `credit-note.issued.v1`: an invoice is taken back, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreditNoteIssued {
    /// The credit note.
    pub credit_note_id: Uuid,
    /// The invoice that it corrects.
    pub invoice_id: Uuid,
    /// Its account.
    pub account_id: Uuid,
    /// Its number.
    pub number: String,
    /// What is credited, tax included.
    pub total: Money,
    /// When it was issued.
    pub issued_at: DateTime<Utc>,
}
fact!(CreditNoteIssued, "credit-note.issued.v1", account_id);

/// `payment.recorded.v1`: money has come for an invoice, or was given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentRecorded {
    /// The payment.
    pub payment_id: Uuid,
    /// The invoice.
    pub invoice_id: Uuid,
    /// Its account.
    pub account_id: Uuid,
    /// How much; negative for money that was given back.
    pub amount: Money,
    /// The day the money was there.
    pub received_on: NaiveDate,
    /// What the bank calls it.
    pub reference: String,
}
fact!(PaymentRecorded, "payment.recorded.v1", account_id);

/// `ticket.opened.v1`: there is a ticket, raised by the account or by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TicketOpened {
    /// The ticket.
    pub ticket_id: Uuid,
    /// Its account.
    pub account_id: Uuid,
    /// How it is called.
    pub number: String,
    /// The caller's own reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ref: Option<ExternalRef>,
    /// What it is about, in a line.
    pub subject: String,
    /// The ticket that it continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<Uuid>,
    /// When it was opened.
    pub opened_at: DateTime<Utc>,
}
fact!(TicketOpened, "ticket.opened.v1", account_id);

/// `ticket.answered.v1`: the support says something to the customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TicketAnswered {
    /// The ticket.
    pub ticket_id: Uuid,
    /// Its account.
    pub account_id: Uuid,
    /// What identifies the answer.
    pub message_id: Uuid,
    /// What is said.
    pub message: String,
    /// When.
    pub answered_at: DateTime<Utc>,
}
fact!(TicketAnswered, "ticket.answered.v1", account_id);

/// `ticket.changed.v1`: something was done to a ticket, by the account, by the support or by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TicketChanged {
    /// The ticket.
    pub ticket_id: Uuid,
    /// Its account.
    pub account_id: Uuid,
    /// What identifies the change: the reply, if it was one.
    pub change_id: Uuid,
    /// Grows with every change of the ticket.
    pub version: i32,
    /// Where the ticket stands since then.
    pub status: TicketStatus,
    /// When.
    pub changed_at: DateTime<Utc>,
}
fact!(TicketChanged, "ticket.changed.v1", account_id);

/// `ticket.rejected.v1`: a ticket is not opened, or a reply not taken in, as it was asked for. Final.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TicketRejected {
    /// The ticket.
    pub ticket_id: Uuid,
    /// The account that asked.
    pub account_id: Uuid,
    /// The reply, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_id: Option<Uuid>,
    /// The caller's own reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ref: Option<ExternalRef>,
    /// Why, in words for the customer.
    pub problem: Problem,
}
fact!(TicketRejected, "ticket.rejected.v1", account_id);

/// `message.rejected.v1`: a message of a partner system cannot be taken as it is. It was parked for a
/// person to look at, and nothing came of it. Sent to whoever published it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageRejected {
    /// The partner system: the broker user.
    pub publisher: String,
    /// Property `message_id` as it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Property `type` as it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_type: Option<String>,
    /// Why, and what to do about it.
    pub problem: Problem,
}
fact!(MessageRejected, "message.rejected.v1", publisher);
