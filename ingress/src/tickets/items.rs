//! How tickets are shown.

use chrono::{DateTime, Utc};
use entity::ticket_message::Author;
use entity::{ticket, ticket_event, ticket_message};
use schemars::JsonSchema;
use schemas::Problem;
use schemas::ticket::{Category, Priority, TicketStatus, ticket_number};
use serde::Serialize;
use uuid::Uuid;

use super::attachments::{self, AttachmentItem, Side};
use super::shown::{Attached, Told};
use crate::orders::text;
use crate::schema::States;

/// A ticket. In the moment between its acceptance and its intake only `id`, `number`, `status`,
/// `created_at` and `links` are there.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TicketSummary")]
pub(crate) struct TicketItem {
    id: Uuid,
    /// How it is called in mails.
    number: String,
    #[schemars(with = "StatusShown")]
    status: String,
    /// The caller's own reference.
    external_ref: Option<String>,
    #[serde(flatten)]
    raised: Option<Raised>,
    created_at: DateTime<Utc>,
    /// The trace of the request, or of what failed, to quote to support.
    trace_id: Option<String>,
    links: TicketLinks,
}

/// What is said of a status: `accepted` until a worker has taken it in.
#[derive(JsonSchema)]
#[schemars(inline)]
#[expect(dead_code, reason = "only its schema is used")]
#[serde(untagged)]
enum StatusShown {
    Accepted(AcceptedStatus),
    Known(TicketStatus),
}

/// Accepted and not taken in yet.
#[derive(JsonSchema)]
#[schemars(inline)]
#[expect(dead_code, reason = "only its schema is used")]
#[serde(rename_all = "snake_case")]
enum AcceptedStatus {
    Accepted,
}

/// What a ticket is about and how far it is.
#[derive(Serialize, JsonSchema)]
struct Raised {
    subject: String,
    #[schemars(with = "Category")]
    category: String,
    #[schemars(with = "Priority")]
    priority: String,
    order_id: Option<Uuid>,
    resource_id: Option<Uuid>,
    invoice_id: Option<Uuid>,
    /// The closed ticket that it continues.
    follows: Option<Uuid>,
    /// When the first answer is due.
    answer_due_at: DateTime<Utc>,
    answered_at: Option<DateTime<Utc>>,
    /// When it is to be solved.
    resolution_due_at: DateTime<Utc>,
    resolved_at: Option<DateTime<Utc>>,
    closed_at: Option<DateTime<Utc>>,
    updated_at: DateTime<Utc>,
}

/// Where a ticket and its replies are.
#[derive(Serialize, JsonSchema)]
struct TicketLinks {
    #[serde(rename = "self")]
    own: String,
    replies: String,
}

/// A ticket with everything that was said in it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Ticket")]
pub(crate) struct TicketDetails {
    #[serde(flatten)]
    ticket: TicketItem,
    /// Oldest first.
    messages: Vec<MessageItem>,
    /// Every state that it was in.
    history: Vec<EventItem>,
}

/// Something that was said.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TicketMessage")]
struct MessageItem {
    id: Uuid,
    #[schemars(with = "States<Author>")]
    author: String,
    author_name: String,
    message: String,
    /// The files that belong to it.
    attachments: Vec<AttachmentItem>,
    at: DateTime<Utc>,
    /// Whether only the support reads it.
    internal: bool,
}

/// Something that was done.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TicketEvent")]
struct EventItem {
    /// The reply or action that did it.
    id: Uuid,
    /// Counts from 1.
    version: i32,
    #[schemars(with = "TicketStatus")]
    status: String,
    #[schemars(with = "States<Author>")]
    author: String,
    author_name: String,
    at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

/// A ticket as the support sees it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "StaffTicketSummary")]
pub(crate) struct StaffItem {
    account_id: Uuid,
    /// Who sees to it.
    assignee: Option<String>,
    /// The step that failed, if it was opened by itself.
    stage: Option<String>,
    #[serde(flatten)]
    ticket: TicketItem,
}

/// A ticket as the support sees it, with everything that was said, notes too.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "StaffTicket")]
pub(crate) struct StaffDetails {
    #[serde(flatten)]
    ticket: StaffItem,
    messages: Vec<MessageItem>,
    history: Vec<EventItem>,
}

/// A ticket that is accepted, and that no worker has taken in yet.
pub(crate) fn early(id: Uuid, created_at: DateTime<Utc>) -> TicketDetails {
    TicketDetails {
        ticket: TicketItem {
            id,
            number: ticket_number(id),
            status: "accepted".to_owned(),
            external_ref: None,
            raised: None,
            created_at,
            trace_id: None,
            links: links(id),
        },
        messages: Vec::new(),
        history: Vec::new(),
    }
}

pub(crate) fn item(ticket: ticket::Model) -> TicketItem {
    TicketItem {
        id: ticket.id,
        number: ticket_number(ticket.id),
        status: ticket.status,
        external_ref: ticket.external_ref,
        raised: Some(Raised {
            subject: ticket.subject,
            category: ticket.category,
            priority: ticket.priority,
            order_id: ticket.order_id,
            resource_id: ticket.resource_id,
            invoice_id: ticket.invoice_id,
            follows: ticket.follows,
            answer_due_at: ticket.answer_due_at,
            answered_at: ticket.answered_at,
            resolution_due_at: ticket.resolution_due_at,
            resolved_at: ticket.resolved_at,
            closed_at: ticket.closed_at,
            updated_at: ticket.updated_at,
        }),
        created_at: ticket.created_at,
        trace_id: ticket.trace_id,
        links: links(ticket.id),
    }
}

/// As the customer sees it: without what only the support reads.
pub(crate) fn details(ticket: ticket::Model, told: Told) -> TicketDetails {
    let Told {
        messages,
        history,
        mut attached,
    } = told;
    let messages = messages.into_iter().filter(|message| !message.internal);
    let history = history.into_iter().map(|mut event| {
        event.note = event.note.filter(|_| event.author != Author::Support);
        event
    });
    TicketDetails {
        ticket: item(ticket),
        messages: messages
            .map(|message| message_item(message, &mut attached, Side::Customer))
            .collect(),
        history: history.map(event_item).collect(),
    }
}

pub(crate) fn staff_item(ticket: ticket::Model) -> StaffItem {
    StaffItem {
        account_id: ticket.account_id,
        assignee: ticket.assignee.clone(),
        stage: ticket.stage.clone(),
        ticket: item(ticket),
    }
}

pub(crate) fn staff_details(ticket: ticket::Model, told: Told) -> StaffDetails {
    let mut attached = told.attached;
    let messages = told.messages.into_iter();
    StaffDetails {
        ticket: staff_item(ticket),
        messages: messages
            .map(|message| message_item(message, &mut attached, Side::Staff))
            .collect(),
        history: told.history.into_iter().map(event_item).collect(),
    }
}

fn message_item(
    message: ticket_message::Model,
    attached: &mut Attached,
    side: Side,
) -> MessageItem {
    let files = attached.remove(&message.id).unwrap_or_default();
    MessageItem {
        id: message.id,
        author: text(&message.author),
        author_name: message.author_name,
        message: message.body,
        attachments: files
            .into_iter()
            .map(|file| attachments::item(file, side))
            .collect(),
        at: message.created_at,
        internal: message.internal,
    }
}

fn event_item(event: ticket_event::Model) -> EventItem {
    EventItem {
        id: event.cause,
        version: event.version,
        status: event.status,
        author: text(&event.author),
        author_name: event.author_name,
        at: event.at,
        note: event.note,
        problem: event
            .problem
            .and_then(|json| serde_json::from_str(&json).ok()),
    }
}

fn links(id: Uuid) -> TicketLinks {
    TicketLinks {
        own: format!("/v1/tickets/{id}"),
        replies: format!("/v1/tickets/{id}/replies"),
    }
}
