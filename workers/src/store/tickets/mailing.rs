//! Who gets a mail when something is said in a ticket.

use chrono::Utc;
use entity::email_delivery::{self, DeliveryState};
use entity::ticket_message::Author;
use entity::{ticket, ticket_message};
use sea_orm::{ConnectionTrait, DbErr};
use uuid::Uuid;

use crate::store::{catalog, invoices, mails, stages};

/// The text of these mails.
pub(crate) const TEMPLATE: &str = "ticket";
/// To whom they go.
pub(crate) const CUSTOMER: &str = "customer";
pub(crate) const SUPPORT: &str = "support";

/// Whom mails can go to.
pub(crate) struct Mailing<'a> {
    customer: Option<String>,
    support: Option<&'a str>,
    /// The sender's part behind the `@`; nothing while there is no seller.
    domain: Option<String>,
}

impl<'a> Mailing<'a> {
    /// The addresses for tickets of an account.
    pub(crate) async fn of(
        db: &impl ConnectionTrait,
        account_id: Uuid,
        support: Option<&'a str>,
    ) -> Result<Self, DbErr> {
        let account = catalog::account(db, account_id).await?;
        let issuer = invoices::issuer(db).await?;
        let domain = issuer.and_then(|issuer| {
            let (_, domain) = issuer.email.rsplit_once('@')?;
            Some(domain.to_owned())
        });
        Ok(Self {
            customer: account.and_then(|account| account.email),
            support,
            domain,
        })
    }

    /// Plans the mails about something that was said: the first one is confirmed to the customer,
    /// who gets what the support says; the support gets the rest. A note goes to nobody.
    pub(super) async fn plan(
        &self,
        db: &impl ConnectionTrait,
        ticket: &ticket::Model,
        message: &ticket_message::Model,
    ) -> Result<(), DbErr> {
        let first = message.version == 1;
        let to_customer = match message.author {
            Author::Support => !message.internal,
            Author::Customer => first,
            Author::System => false,
        };
        let to_support = message.author != Author::Support;
        let to = [
            (CUSTOMER, to_customer.then_some(self.customer.as_deref())),
            (SUPPORT, to_support.then_some(self.support)),
        ];
        let Some(domain) = &self.domain else {
            return Ok(());
        };
        for (purpose, recipient) in to {
            let Some(recipient) = recipient.flatten() else {
                continue;
            };
            let id = mails::delivery_id(message.id, TEMPLATE, purpose, recipient);
            let now = Utc::now();
            let planned = email_delivery::Model {
                id,
                subject_id: message.id,
                story_id: ticket.id,
                document_id: None,
                account_id: ticket.account_id,
                template: TEMPLATE.to_owned(),
                purpose: purpose.to_owned(),
                recipient: recipient.to_owned(),
                message_id: format!("<{id}@{domain}>"),
                state: DeliveryState::Queued,
                attempts: 0,
                fence: 0,
                lease_until_ms: None,
                smtp_reply: None,
                last_error: None,
                sent_at: None,
                created_at: now,
                updated_at: now,
            };
            mails::insert(db, planned).await?;
            stages::pending(db, message.id, stages::DELIVER).await?;
        }
        Ok(())
    }
}
