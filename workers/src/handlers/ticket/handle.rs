//! `ticket.handle.v1`.

use anyhow::Context;
use broker::{Envelope, Handled, Handler, Next};
use schemas::ticket::{Handling, TicketHandle};
use schemas::topology::{self, WorkQueue};
use sea_orm::DatabaseConnection;

use crate::handlers::{missing, show_failure};
use crate::store::tickets::mailing::Mailing;
use crate::store::{self, stages, tickets};

use super::follow_ups;

/// Consumes `ticket.handle.v1`.
pub(crate) struct HandleTicket {
    pub(crate) db: DatabaseConnection,
    /// Where mails for the support go.
    pub(crate) support: Option<String>,
}

impl Handler for HandleTicket {
    type Message = TicketHandle;

    fn queue(&self) -> WorkQueue {
        topology::TICKET_HANDLE
    }

    async fn handle(&self, message: &Envelope<TicketHandle>) -> Handled {
        let TicketHandle {
            action_id,
            ticket_id,
            handling,
        } = &message.body;
        let Some(Handling { by, at, request }) = handling else {
            // It is done. The stage is too, once what follows is published: if that fails the message
            // comes again.
            stages::done(&self.db, *action_id, stages::ANNOUNCE).await?;
            return Ok(follow_ups(&self.db, *action_id).await?);
        };
        let transaction = store::begin(&self.db).await?;
        let ticket = tickets::lock(&transaction, *ticket_id).await;
        let ticket = ticket.context("lock the ticket")?;
        let ticket = ticket.ok_or_else(|| missing("ticket", *ticket_id))?;
        let support = self.support.as_deref();
        let mailing = Mailing::of(&transaction, ticket.account_id, support).await?;
        let action = tickets::handling(*action_id, *at, by.as_str(), request);
        tickets::apply(&transaction, ticket, action, &mailing).await?;
        transaction.commit().await.context("store what was done")?;
        Ok(follow_ups(&self.db, *action_id).await?)
    }

    async fn failed(&self, message: &Envelope<TicketHandle>, error: &str, next: Next) {
        if message.body.handling.is_none() {
            let subject = message.body.action_id;
            show_failure(&self.db, subject, stages::ANNOUNCE, error, next).await;
        }
    }
}
