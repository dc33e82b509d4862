//! Takes tickets and replies in, and does what the support asks for.

mod handle;
mod raise;
mod reply;

pub(crate) use handle::HandleTicket;
pub(crate) use raise::RaiseTicket;
pub(crate) use reply::ReplyToTicket;

use anyhow::Context;
use broker::Outgoing;
use entity::email_delivery::DeliveryState;
use entity::ticket_message::Author;
use entity::{ticket, ticket_event};
use schemas::email::EmailSend;
use schemas::event::{TicketAnswered, TicketChanged, TicketOpened, TicketRejected};
use sea_orm::DatabaseConnection;
use uuid::Uuid;

use crate::store::{mails, tickets};

/// The id of the ticket that continues a closed one after a reply.
fn continuation_id(reply_id: Uuid) -> Uuid {
    Uuid::new_v5(&reply_id, b"continuation")
}

/// What follows from something that was done to a ticket: the same, however often it is asked.
async fn follow_ups(db: &DatabaseConnection, cause: Uuid) -> anyhow::Result<Vec<Outgoing>> {
    let mut outgoing = of_cause(db, cause).await?;
    outgoing.extend(of_cause(db, continuation_id(cause)).await?);
    Ok(outgoing)
}

async fn of_cause(db: &DatabaseConnection, cause: Uuid) -> anyhow::Result<Vec<Outgoing>> {
    let event = tickets::event(db, cause).await.context("find the event")?;
    let Some(event) = event else {
        return Ok(Vec::new());
    };
    let ticket = tickets::find(db, event.ticket_id).await;
    let ticket = ticket.context("find the ticket")?;
    let ticket = ticket.context("the ticket of the event is gone")?;
    let mut outgoing = vec![fact(&ticket, &event)?];
    let said = tickets::said(db, ticket.id, event.version).await;
    for message in said.context("find what was said")? {
        if message.author == Author::Support && !message.internal {
            let answered = TicketAnswered {
                ticket_id: ticket.id,
                account_id: ticket.account_id,
                message_id: message.id,
                message: message.body,
                answered_at: message.created_at,
            };
            outgoing.push(Outgoing::once(message.id, ticket.id, &answered));
        }
        let mails = mails::of_subject(db, message.id).await;
        for mail in mails.context("find the mails")? {
            if mail.state == DeliveryState::Queued {
                let delivery_id = mail.id;
                let send = EmailSend { delivery_id };
                outgoing.push(Outgoing::once(delivery_id, ticket.id, &send));
            }
        }
    }
    Ok(outgoing)
}

/// What everybody may know of a change.
fn fact(ticket: &ticket::Model, event: &ticket_event::Model) -> anyhow::Result<Outgoing> {
    let (cause, ticket_id, account_id) = (event.cause, ticket.id, ticket.account_id);
    if let Some(problem) = &event.problem {
        let rejected = TicketRejected {
            ticket_id,
            account_id,
            reply_id: Some(cause),
            external_ref: None,
            problem: serde_json::from_str(problem).context("read the problem")?,
        };
        return Ok(Outgoing::once(cause, ticket_id, &rejected));
    }
    if event.version > 1 {
        let changed = TicketChanged {
            ticket_id,
            account_id,
            change_id: cause,
            version: event.version,
            status: event.status.parse().context("read the state")?,
            changed_at: event.at,
        };
        return Ok(Outgoing::once(cause, ticket_id, &changed));
    }
    let external_ref = ticket.external_ref.as_deref().map(str::parse).transpose();
    let opened = TicketOpened {
        ticket_id,
        account_id,
        number: schemas::ticket::ticket_number(ticket_id),
        external_ref: external_ref.context("read the reference")?,
        subject: ticket.subject.clone(),
        follows: ticket.follows,
        opened_at: ticket.created_at,
    };
    Ok(Outgoing::once(cause, ticket_id, &opened))
}
