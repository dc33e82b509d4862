//! Tickets: what a customer asks or reports, and what is said about it.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::message::Message;
use crate::topology;
use crate::values::choice::choice;
use crate::values::{ExternalRef, FileName, InvalidValue, Name, Text};

choice! {
    /// Where a ticket stands.
    TicketStatus {
        /// Nobody has begun with it.
        Open = "open",
        /// Somebody of the support is at it.
        InProgress = "in_progress",
        /// The support has answered and waits for the customer.
        WaitingCustomer = "waiting_customer",
        /// The customer has answered and waits for the support.
        WaitingSupport = "waiting_support",
        /// Solved; closes by itself unless the customer says otherwise.
        Resolved = "resolved",
        /// Over.
        Closed = "closed",
    }
}

choice! {
    /// How urgent a ticket is, which decides when it is to be answered.
    Priority {
        /// When there is time.
        Low = "low",
        /// As usual.
        Normal = "normal",
        /// Work is hindered.
        High = "high",
        /// Work has come to a stop.
        Urgent = "urgent",
    }
}

choice! {
    /// What a ticket is about.
    Category {
        /// Anything else.
        General = "general",
        /// Resources and how they work.
        Technical = "technical",
        /// Invoices and payments.
        Billing = "billing",
    }
}

choice! {
    /// What is to become of a ticket with a reply.
    Then {
        /// It is closed.
        Close = "close",
        /// It is opened again, which is possible for 14 days.
        Reopen = "reopen",
    }
}

/// How many files one message may have.
pub const MOST_ATTACHMENTS: usize = 10;

/// Files that were uploaded before, each once: what is said refers to them, and does not hold them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<Uuid>")]
#[schemars(inline, extend("maxItems" = 10, "uniqueItems" = true))]
pub struct Attachments(Vec<Uuid>);

impl Attachments {
    /// The files.
    pub fn ids(&self) -> &[Uuid] {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<Uuid>> for Attachments {
    type Error = InvalidValue;

    fn try_from(ids: Vec<Uuid>) -> Result<Self, Self::Error> {
        let once: HashSet<_> = ids.iter().collect();
        match once.len() == ids.len() && ids.len() <= MOST_ATTACHMENTS {
            true => Ok(Self(ids)),
            false => Err(InvalidValue::new(format!(
                "must be at most {MOST_ATTACHMENTS} ids of attachments, each once"
            ))),
        }
    }
}

/// What a customer asks or reports; the body of `POST /v1/tickets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TicketRequest {
    /// What it is about, in a line.
    pub subject: Name,
    /// What is asked or reported.
    pub message: Text,
    /// How urgent it is. `normal` if it is missing.
    #[serde(default = "normal")]
    pub priority: Priority,
    /// What it is about. `general` if it is missing.
    #[serde(default = "general")]
    pub category: Category,
    /// An order of the account that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<Uuid>,
    /// A resource of the account that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<Uuid>,
    /// An invoice of the account that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoice_id: Option<Uuid>,
    /// Files that belong to it: ids of `POST /v1/attachments`.
    #[serde(default, skip_serializing_if = "Attachments::is_empty")]
    pub attachments: Attachments,
    /// The caller's own reference, unique per account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ref: Option<ExternalRef>,
}

fn normal() -> Priority {
    Priority::Normal
}

fn general() -> Category {
    Category::General
}

/// What a customer says in a ticket, what becomes of it, or both; the body of
/// `POST /v1/tickets/{id}/replies`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplyRequest {
    /// What is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Text>,
    /// Files that belong to what is said: ids of `POST /v1/attachments`.
    #[serde(default, skip_serializing_if = "Attachments::is_empty")]
    pub attachments: Attachments,
    /// What is to become of the ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Then>,
    /// The caller's own reference, unique per account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ref: Option<ExternalRef>,
}

/// What the support does to a ticket: all of it at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HandlingRequest {
    /// What is said to the customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Text>,
    /// What only the support reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Text>,
    /// Files that belong to the answer; to the note, if there is no answer: ids of `POST /v1/staff/attachments`.
    #[serde(default, skip_serializing_if = "Attachments::is_empty")]
    pub attachments: Attachments,
    /// Where the ticket stands from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<TicketStatus>,
    /// How urgent it is from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Who sees to it from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignee: Option<Name>,
}

/// `ticket.raise.v1`: an account asks or reports something.
///
/// A partner system says which account asks what, under an `external_ref`. The rest is for the
/// ingress to say; from anybody else it is not believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TicketRaise {
    /// The ticket's id, which follows from the account and the reference. From an ingress only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket_id: Option<Uuid>,
    /// The account that asks.
    pub account_id: Uuid,
    /// When it was accepted. From an ingress only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised_at: Option<DateTime<Utc>>,
    /// What is asked.
    pub request: TicketRequest,
}

impl Message for TicketRaise {
    const KIND: &'static str = "ticket.raise.v1";
    const EXCHANGE: &'static str = topology::TICKETS;
}

/// `ticket.reply.v1`: an account says something in a ticket, closes it or opens it again.
///
/// A partner system says which account replies to which ticket, under an `external_ref`. The rest is
/// for the ingress to say; from anybody else it is not believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TicketReply {
    /// The reply's id, which follows from the account and the reference. From an ingress only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_id: Option<Uuid>,
    /// The account that replies.
    pub account_id: Uuid,
    /// The ticket.
    pub ticket_id: Uuid,
    /// When it was accepted. From an ingress only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_at: Option<DateTime<Utc>>,
    /// What is said.
    pub request: ReplyRequest,
}

impl Message for TicketReply {
    const KIND: &'static str = "ticket.reply.v1";
    const EXCHANGE: &'static str = topology::TICKETS;
}

/// `ticket.handle.v1`: the support does something to a ticket. Without a request it is done already,
/// and only what follows is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TicketHandle {
    /// What identifies it.
    pub action_id: Uuid,
    /// The ticket.
    pub ticket_id: Uuid,
    /// What is done, by whom and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handling: Option<Handling>,
}

/// What somebody of the support does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Handling {
    /// Who does it.
    pub by: Name,
    /// When it was accepted.
    pub at: DateTime<Utc>,
    /// What is done.
    pub request: HandlingRequest,
}

impl Message for TicketHandle {
    const KIND: &'static str = "ticket.handle.v1";
    const EXCHANGE: &'static str = topology::WORK;
}

/// SHA-256 of what is asked for, in hex: equal for requests that mean the same, however they were
/// written down.
pub fn sha256_of(request: &impl Serialize) -> String {
    let canonical = serde_json::to_vec(request).expect("a struct of strings and lists");
    data_encoding::HEXLOWER.encode(&Sha256::digest(canonical))
}

/// The id of the ticket that `account_id` raises under `key`, as [`order_id`](crate::order::order_id).
pub fn ticket_id(account_id: Uuid, key: Option<&ExternalRef>) -> Uuid {
    named(account_id, "ticket", key)
}

/// The id of the reply that `account_id` writes under `key`, as [`order_id`](crate::order::order_id).
pub fn reply_id(account_id: Uuid, key: Option<&ExternalRef>) -> Uuid {
    named(account_id, "reply", key)
}

/// The id of a file of an account: the same file under the same name is the same attachment.
pub fn attachment_id(account_id: Uuid, name: &FileName, sha256: &str) -> Uuid {
    Uuid::new_v5(
        &account_id,
        format!("attachment/{sha256}/{name}").as_bytes(),
    )
}

fn named(account_id: Uuid, what: &str, key: Option<&ExternalRef>) -> Uuid {
    match key {
        Some(key) => Uuid::new_v5(&account_id, format!("{what}/{key}").as_bytes()),
        None => Uuid::now_v7(),
    }
}

/// How a ticket is called in mails and lists: `T-1A2B3C4D`.
pub fn ticket_number(ticket_id: Uuid) -> String {
    let (_, _, _, last) = ticket_id.as_fields();
    let tail = u32::from_be_bytes([last[4], last[5], last[6], last[7]]);
    format!("T-{tail:08X}")
}
