//! `ticket.reply.v1`.

use anyhow::Context;
use broker::{Envelope, Failure, Handled, Handler, Outgoing, Refused};
use chrono::{DateTime, Utc};
use entity::ticket;
use entity::ticket_message::Author;
use schemas::event::TicketRejected;
use schemas::ticket::{ReplyRequest, Then, TicketReply, TicketStatus, reply_id, sha256_of};
use schemas::topology::{self, WorkQueue};
use schemas::{Problem, problem};
use sea_orm::DatabaseTransaction;
use uuid::Uuid;

use crate::handlers::intake::{Intake, missing_reference, unsaid};
use crate::store::tickets::mailing::Mailing;
use crate::store::tickets::moves::Move;
use crate::store::tickets::{self, Action, attachments, deadlines};
use crate::store::{self, catalog};

use super::{continuation_id, follow_ups};

/// Consumes `ticket.reply.v1`.
pub(crate) struct ReplyToTicket {
    pub(crate) intake: Intake,
    /// Where mails for the support go.
    pub(crate) support: Option<String>,
}

/// A reply that somebody may write.
struct Admitted {
    reply_id: Uuid,
    account_id: Uuid,
    ticket_id: Uuid,
    written_at: DateTime<Utc>,
    request: ReplyRequest,
}

impl Handler for ReplyToTicket {
    type Message = TicketReply;

    fn queue(&self) -> WorkQueue {
        topology::TICKET_REPLY
    }

    async fn handle(&self, message: &Envelope<TicketReply>) -> Handled {
        let reply = self.admit(message).await?;
        let db = &self.intake.db;
        if reply.request.message.is_none() && reply.request.then.is_none() {
            let detail = "Neither message nor then is there.";
            let problem = Problem::new(problem::INVALID_REQUEST, detail);
            return Ok(vec![rejected(&reply, problem)]);
        }
        if reply.request.message.is_none() && !reply.request.attachments.is_empty() {
            let detail = "There are attachments, and no message that they belong to.";
            let problem = Problem::new(problem::INVALID_REQUEST, detail);
            return Ok(vec![rejected(&reply, problem)]);
        }
        let ticket = tickets::find(db, reply.ticket_id).await;
        let ticket = ticket.context("find the ticket")?;
        if ticket.is_none_or(|ticket| ticket.account_id != reply.account_id) {
            let problem = Problem::new(problem::NOT_FOUND, "There is no such ticket.");
            return Ok(vec![rejected(&reply, problem)]);
        }
        let named = reply.request.attachments.ids();
        if let Some(id) = attachments::missing(db, reply.account_id, named).await? {
            let detail = format!("attachments: there is no such thing as {id}.");
            let problem = Problem::new(problem::UNKNOWN_SUBJECT, detail);
            return Ok(vec![rejected(&reply, problem)]);
        }
        self.take(&reply).await?;
        let event = tickets::event(db, reply.reply_id).await;
        let event = event.context("find the reply")?;
        let event = event.context("the reply that was just stored is gone")?;
        if event.request_sha256 != sha256_of(&reply.request) || event.ticket_id != reply.ticket_id {
            let detail = "The reply under this key says something else.";
            let problem = Problem::new(problem::KEY_REUSED, detail);
            return Ok(vec![rejected(&reply, problem)]);
        }
        Ok(follow_ups(db, reply.reply_id).await?)
    }

    fn refused(&self, refused: &Refused<'_>) -> Option<Outgoing> {
        self.intake.refused(refused)
    }
}

impl ReplyToTicket {
    async fn admit(&self, message: &Envelope<TicketReply>) -> Result<Admitted, Failure> {
        let TicketReply {
            reply_id: id,
            account_id,
            ticket_id,
            written_at,
            request,
        } = message.body.clone();
        let (reply_id, written_at) = if self.intake.is_trusted(message.publisher.as_deref()) {
            id.zip(written_at)
                .ok_or_else(|| unsaid("reply_id and written_at"))?
        } else {
            self.intake.admit(message, account_id).await?;
            let key = request.external_ref.as_ref();
            let key = key.ok_or_else(missing_reference)?;
            let now = store::now(&self.intake.db).await;
            (
                reply_id(account_id, Some(key)),
                now.context("ask for the time")?,
            )
        };
        Ok(Admitted {
            reply_id,
            account_id,
            ticket_id,
            written_at,
            request,
        })
    }

    /// Stores the reply; if the ticket is closed, as the first word of one that continues it.
    async fn take(&self, reply: &Admitted) -> Result<(), Failure> {
        let transaction = store::begin(&self.intake.db).await?;
        let ticket = tickets::lock(&transaction, reply.ticket_id).await;
        let ticket = ticket.context("lock the ticket")?;
        let ticket = ticket.context("the ticket is gone")?;
        if tickets::event(&transaction, reply.reply_id)
            .await?
            .is_some()
        {
            return Ok(());
        }
        let account = catalog::account(&transaction, reply.account_id).await?;
        let account = account.context("the account is gone")?;
        let support = self.support.as_deref();
        let mailing = Mailing::of(&transaction, account.id, support).await?;
        let request = &reply.request;
        let (cause, at) = (reply.reply_id, reply.written_at);
        let mut action = Action::new(cause, at, Author::Customer, &account.name);
        action.sha256 = sha256_of(request);
        let said = request.message.as_ref().map(|text| text.as_str());
        let closed = tickets::status(&ticket)? == TicketStatus::Closed;
        if closed && said.is_some() && request.then.is_none() {
            let continued = self.continuation(&transaction, &ticket, reply).await?;
            let number = schemas::ticket::ticket_number(continued.id);
            action.note = Some(format!("continued in {number}"));
            let mut first = Action::new(continued.id, at, Author::Customer, &account.name);
            first.said = said;
            first.attached = request.attachments.ids();
            tickets::open(&transaction, continued, first, &mailing).await?;
        } else {
            action.said = said;
            action.attached = request.attachments.ids();
            let then = request.then.map(|then| match then {
                Then::Close => Move::CustomerCloses,
                Then::Reopen => Move::CustomerReopens,
            });
            let says = said.filter(|_| !closed).map(|_| Move::CustomerSays);
            action.moves = match then {
                // It is opened again with these words.
                Some(Move::CustomerReopens) => vec![Move::CustomerReopens],
                _ => says.into_iter().chain(then).collect(),
            };
        }
        tickets::apply(&transaction, ticket, action, &mailing).await?;
        transaction.commit().await.context("store the reply")?;
        Ok(())
    }

    /// A new ticket about the same.
    async fn continuation(
        &self,
        transaction: &DatabaseTransaction,
        closed: &ticket::Model,
        reply: &Admitted,
    ) -> Result<ticket::Model, Failure> {
        let at = reply.written_at;
        let priority = closed.priority.parse();
        let priority = priority.context("read the priority")?;
        let due = deadlines::of(transaction, closed, priority).await?;
        Ok(ticket::Model {
            id: continuation_id(reply.reply_id),
            external_ref: None,
            status: TicketStatus::Open.to_string(),
            follows: Some(closed.id),
            stage: None,
            stage_attempts: 0,
            answer_due_at: at + due.answer,
            answered_at: None,
            resolution_due_at: at + due.resolution,
            resolved_at: None,
            closed_at: None,
            version: 1,
            trace_id: broker::current_trace_id(),
            created_at: at,
            updated_at: at,
            ..closed.clone()
        })
    }
}

fn rejected(reply: &Admitted, problem: Problem) -> Outgoing {
    let rejected = TicketRejected {
        ticket_id: reply.ticket_id,
        account_id: reply.account_id,
        reply_id: Some(reply.reply_id),
        external_ref: reply.request.external_ref.clone(),
        problem,
    };
    let said = Uuid::new_v5(&reply.reply_id, sha256_of(&reply.request).as_bytes());
    Outgoing::once(said, reply.ticket_id, &rejected)
}
