//! `ticket.raise.v1`.

use anyhow::{Context, anyhow};
use broker::{Envelope, Failure, Handled, Handler, Outgoing, Refused, crash_point};
use chrono::{DateTime, Utc};
use entity::account;
use entity::ticket_message::Author;
use entity::{invoice, order, resource, ticket};
use schemas::event::TicketRejected;
use schemas::ticket::{TicketRaise, TicketRequest, TicketStatus, sha256_of, ticket_id};
use schemas::topology::{self, WorkQueue};
use schemas::{Problem, problem};
use sea_orm::EntityTrait;
use uuid::Uuid;

use crate::handlers::intake::{Intake, missing_reference, unsaid};
use crate::handlers::permanent;
use crate::store::tickets::mailing::Mailing;
use crate::store::tickets::{self, Action, attachments, deadlines};
use crate::store::{self, catalog};

use super::follow_ups;

/// Consumes `ticket.raise.v1`.
pub(crate) struct RaiseTicket {
    pub(crate) intake: Intake,
    /// Where mails for the support go.
    pub(crate) support: Option<String>,
}

/// A ticket that somebody may raise.
struct Admitted {
    ticket_id: Uuid,
    account_id: Uuid,
    raised_at: DateTime<Utc>,
    request: TicketRequest,
}

impl Handler for RaiseTicket {
    type Message = TicketRaise;

    fn queue(&self) -> WorkQueue {
        topology::TICKET
    }

    async fn handle(&self, message: &Envelope<TicketRaise>) -> Handled {
        let raise = self.admit(message).await?;
        let db = &self.intake.db;
        let account = catalog::account(db, raise.account_id).await;
        let account = account.context("find the account")?;
        let Some(account) = account.filter(|account| account.active) else {
            let error = anyhow!("there is no active account {}", raise.account_id);
            return Err(permanent("unknown_account", error));
        };
        if let Err(problem) = self.subject_is_there(&raise).await? {
            return Ok(vec![rejected(&raise, problem)]);
        }
        self.open(&account, &raise).await?;
        crash_point("ticket.stored");
        let event = tickets::event(db, raise.ticket_id).await;
        let event = event.context("find the ticket")?;
        let event = event.context("the ticket that was just stored is gone")?;
        if event.request_sha256 != sha256_of(&raise.request) {
            let detail = "The ticket under this key asks for something else.";
            let problem = Problem::new(problem::KEY_REUSED, detail);
            return Ok(vec![rejected(&raise, problem)]);
        }
        Ok(follow_ups(db, raise.ticket_id).await?)
    }

    fn refused(&self, refused: &Refused<'_>) -> Option<Outgoing> {
        self.intake.refused(refused)
    }
}

impl RaiseTicket {
    async fn admit(&self, message: &Envelope<TicketRaise>) -> Result<Admitted, Failure> {
        let TicketRaise {
            ticket_id: id,
            account_id,
            raised_at,
            request,
        } = message.body.clone();
        let (ticket_id, raised_at) = if self.intake.is_trusted(message.publisher.as_deref()) {
            id.zip(raised_at)
                .ok_or_else(|| unsaid("ticket_id and raised_at"))?
        } else {
            self.intake.admit(message, account_id).await?;
            let key = request.external_ref.as_ref();
            let key = key.ok_or_else(missing_reference)?;
            let now = store::now(&self.intake.db).await;
            (
                ticket_id(account_id, Some(key)),
                now.context("ask for the time")?,
            )
        };
        Ok(Admitted {
            ticket_id,
            account_id,
            raised_at,
            request,
        })
    }

    /// Whether everything that the ticket is about is there, and the account's. The inner error is for
    /// the customer.
    async fn subject_is_there(&self, raise: &Admitted) -> Result<Result<(), Problem>, Failure> {
        let db = &self.intake.db;
        let TicketRequest {
            order_id,
            resource_id,
            invoice_id,
            ..
        } = raise.request;
        let unknown = |field: &str, id: Uuid| {
            let detail = format!("{field}: there is no such thing as {id}.");
            Ok(Err(Problem::new(problem::UNKNOWN_SUBJECT, detail)))
        };
        if let Some(id) = order_id {
            let found = order::Entity::find_by_id(id).one(db).await?;
            if found.is_none_or(|row| row.account_id != raise.account_id) {
                return unknown("order_id", id);
            }
        }
        if let Some(id) = resource_id {
            let found = resource::Entity::find_by_id(id).one(db).await?;
            if found.is_none_or(|row| row.account_id != raise.account_id) {
                return unknown("resource_id", id);
            }
        }
        if let Some(id) = invoice_id {
            let found = invoice::Entity::find_by_id(id).one(db).await?;
            if found.is_none_or(|row| row.account_id != raise.account_id) {
                return unknown("invoice_id", id);
            }
        }
        let named = raise.request.attachments.ids();
        match attachments::missing(db, raise.account_id, named).await? {
            Some(id) => unknown("attachments", id),
            None => Ok(Ok(())),
        }
    }

    async fn open(&self, account: &account::Model, raise: &Admitted) -> Result<(), Failure> {
        let db = &self.intake.db;
        let request = &raise.request;
        let mut ticket = ticket::Model {
            id: raise.ticket_id,
            account_id: raise.account_id,
            external_ref: request.external_ref.as_ref().map(ToString::to_string),
            subject: request.subject.to_string(),
            category: request.category.to_string(),
            priority: request.priority.to_string(),
            status: TicketStatus::Open.to_string(),
            order_id: request.order_id,
            resource_id: request.resource_id,
            invoice_id: request.invoice_id,
            follows: None,
            stage: None,
            stage_attempts: 0,
            assignee: None,
            answer_due_at: raise.raised_at,
            answered_at: None,
            resolution_due_at: raise.raised_at,
            resolved_at: None,
            closed_at: None,
            version: 1,
            trace_id: broker::current_trace_id(),
            created_at: raise.raised_at,
            updated_at: raise.raised_at,
        };
        let due = deadlines::of(db, &ticket, request.priority).await?;
        ticket.answer_due_at += due.answer;
        ticket.resolution_due_at += due.resolution;
        let mut action = Action::new(
            raise.ticket_id,
            raise.raised_at,
            Author::Customer,
            &account.name,
        );
        action.said = Some(request.message.as_str());
        action.attached = request.attachments.ids();
        action.sha256 = sha256_of(request);
        let transaction = store::begin(db).await?;
        let mailing = Mailing::of(&transaction, account.id, self.support.as_deref()).await?;
        let opened = tickets::open(&transaction, ticket, action, &mailing).await;
        if opened.context("store the ticket")? {
            transaction.commit().await.context("store the ticket")?;
        }
        Ok(())
    }
}

fn rejected(raise: &Admitted, problem: Problem) -> Outgoing {
    let rejected = TicketRejected {
        ticket_id: raise.ticket_id,
        account_id: raise.account_id,
        reply_id: None,
        external_ref: raise.request.external_ref.clone(),
        problem,
    };
    // What is refused under a key of something else is another fact than what became of that.
    let said = Uuid::new_v5(&raise.ticket_id, sha256_of(&raise.request).as_bytes());
    Outgoing::once(said, raise.ticket_id, &rejected)
}
