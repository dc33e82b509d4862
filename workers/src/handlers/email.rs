//! Sends one mail, once.
//!
//! Commit `sending` → everything up to `DATA` → commit `data_sent` → the body → commit what the
//! server answered. A break between `data_sent` and the answer is ambiguous: the mail is held and
//! shown, never sent again by itself.

use std::time::Duration;

use anyhow::{Context, anyhow};
use broker::{Failure, Handled, Handler, Next, crash_point};
use chrono::Utc;
use entity::email_delivery::{self, DeliveryState};
use entity::invoice::InvoiceKind;
use lettre::address::Envelope;
use schemas::email::EmailSend;
use schemas::event::InvoiceDelivered;
use schemas::topology::{self, WorkQueue};
use sea_orm::DatabaseConnection;
use tracing::Instrument;

use crate::mail::message::MailTemplates;
use crate::mail::person::Links;
use crate::mail::{MailError, Mailer};
use crate::store::mails::Ended;
use crate::store::{self, invoices, mails, stages, tickets};

use super::compose::alone;
use super::{missing, show_failure};

/// How long everything before the body may take, and how long another worker waits when this one
/// dies before the body.
const BEFORE_BODY: Duration = Duration::from_secs(45);
const LEASE: Duration = Duration::from_secs(60);
/// How long the answer to the body may take, and a margin. RFC 5321 asks for ten minutes.
const BODY_LEASE: Duration = Duration::from_secs(11 * 60);

/// Consumes `email.send.v1`.
pub(crate) struct SendEmail {
    pub(crate) db: DatabaseConnection,
    pub(crate) mailer: Mailer,
    pub(crate) templates: MailTemplates,
    /// Where answers to mails about tickets go.
    pub(crate) support: Option<String>,
    /// How links to people are made.
    pub(crate) links: Links,
}

impl Handler for SendEmail {
    type Message = EmailSend;

    fn queue(&self) -> WorkQueue {
        topology::EMAIL
    }

    async fn handle(&self, message: &broker::Envelope<EmailSend>) -> Handled {
        let id = message.body.delivery_id;
        let found = mails::find(&self.db, id).await.context("find the mail")?;
        let delivery = found.ok_or_else(|| missing("mail", id))?;
        match delivery.state {
            DeliveryState::Queued | DeliveryState::Sending => self.send(&delivery).await?,
            DeliveryState::DataSent => self.resolve(&delivery).await?,
            DeliveryState::Sent
            | DeliveryState::Ambiguous
            | DeliveryState::Refused
            | DeliveryState::Dropped
            | DeliveryState::Undeliverable => {}
        }
        match mails::find(&self.db, id).await.context("find the mail")? {
            Some(delivery) if delivery.state == DeliveryState::Sent => {
                self.follow_ups(message, &delivery).await
            }
            _ => Ok(Vec::new()),
        }
    }

    async fn failed(&self, message: &broker::Envelope<EmailSend>, error: &str, next: Next) {
        if let Ok(Some(delivery)) = mails::find(&self.db, message.body.delivery_id).await {
            show_failure(&self.db, delivery.subject_id, stages::DELIVER, error, next).await;
        }
    }
}

impl SendEmail {
    async fn send(&self, delivery: &email_delivery::Model) -> Result<(), Failure> {
        if delivery.recipient.is_empty() {
            let reason = "the account has no mail address to send invoices to";
            return self
                .hold(
                    delivery,
                    delivery.fence,
                    DeliveryState::Undeliverable,
                    reason,
                )
                .await;
        }
        let message = match delivery.template.as_str() {
            tickets::mailing::TEMPLATE => self.compose_ticket(delivery).await?,
            mails::PERSON | mails::INVITATION => self.compose_person(delivery).await?,
            _ => self.compose_invoice(delivery).await?,
        };
        let (envelope, body) = (alone(&message, delivery)?, message.formatted());

        let transaction = store::begin(&self.db).await?;
        let Some(fence) = mails::claim(&transaction, delivery, LEASE)
            .await
            .context("claim the mail")?
        else {
            drop(transaction);
            return Err(self.busy(delivery).await?);
        };
        stages::running(&transaction, delivery.subject_id, stages::DELIVER).await?;
        transaction.commit().await.context("store the intent")?;

        let span = tracing::info_span!(
            "send mail",
            otel.kind = "client",
            messaging.message.id = delivery.message_id,
            messaging.message.body.size = body.len(),
        );
        self.transmit(delivery, fence, &envelope, &body)
            .instrument(span)
            .await
    }

    /// Both halves of sending, with the commit between them.
    async fn transmit(
        &self,
        delivery: &email_delivery::Model,
        fence: i64,
        envelope: &Envelope,
        body: &[u8],
    ) -> Result<(), Failure> {
        let begin = self.mailer.begin(envelope, &delivery.message_id);
        let begun = match tokio::time::timeout(BEFORE_BODY, begin).await {
            Ok(Ok(begun)) => begun,
            Ok(Err(error)) => return self.not_sent(delivery, fence, error).await,
            Err(_) => {
                let late = format!("the mail server took longer than {BEFORE_BODY:?}");
                return self.not_sent(delivery, fence, MailError::Later(late)).await;
            }
        };
        let noted = mails::data_sent(&self.db, delivery.id, fence, BODY_LEASE).await;
        if !noted.context("note that the body goes out")? {
            // The lease ran out: whoever took over sends it. The connection is dropped before the body.
            return Err(Failure::NotYet(
                LEASE,
                anyhow!("fenced out: another worker took over"),
            ));
        }
        crash_point("mail.data_sent");
        let finished = begun.finish(body).await;
        crash_point("mail.accepted");
        match finished {
            Ok(reply) => self.sent(delivery, fence, &reply).await,
            Err(error) => self.not_sent(delivery, fence, error).await,
        }
    }

    /// Somebody else holds the mail.
    async fn busy(&self, delivery: &email_delivery::Model) -> Result<Failure, Failure> {
        let left = mails::lease_left(&self.db, delivery.id).await?;
        Ok(Failure::NotYet(
            left,
            anyhow!("another worker is at it for {left:?} at most"),
        ))
    }

    async fn sent(
        &self,
        delivery: &email_delivery::Model,
        fence: i64,
        reply: &str,
    ) -> Result<(), Failure> {
        let transaction = store::begin(&self.db).await?;
        // Of two mails that tell of the same, the one that ends last must see the other.
        let subject = delivery.subject_id;
        stages::lock(&transaction, subject, stages::DELIVER).await?;
        let ended = Ended {
            state: DeliveryState::Sent,
            smtp_reply: Some(reply),
            error: None,
            sent_at: Some(Utc::now()),
        };
        mails::end(&transaction, delivery.id, fence, ended)
            .await
            .context("store that it was sent")?;
        match mails::left(&transaction, subject).await? {
            None => stages::done(&transaction, subject, stages::DELIVER).await?,
            Some(left) if mails::is_held(&left) => {
                let reason = left.last_error.unwrap_or_default();
                stages::failed(&transaction, subject, stages::DELIVER, &reason).await?;
            }
            Some(_) => {}
        }
        transaction
            .commit()
            .await
            .context("store that it was sent")?;
        Ok(())
    }

    async fn not_sent(
        &self,
        delivery: &email_delivery::Model,
        fence: i64,
        error: MailError,
    ) -> Result<(), Failure> {
        let reason = error.to_string();
        match error {
            MailError::Ambiguous(_) => {
                self.hold(delivery, fence, DeliveryState::Ambiguous, &reason)
                    .await
            }
            MailError::Refused(_) => {
                self.hold(delivery, fence, DeliveryState::Refused, &reason)
                    .await
            }
            MailError::Later(_) => {
                let ended = Ended {
                    state: DeliveryState::Queued,
                    smtp_reply: None,
                    error: Some(&reason),
                    sent_at: None,
                };
                mails::end(&self.db, delivery.id, fence, ended)
                    .await
                    .context("store the attempt")?;
                Err(Failure::Transient(anyhow!("send the mail: {reason}")))
            }
        }
    }

    /// A state that only a person can change, with its reason.
    async fn hold(
        &self,
        delivery: &email_delivery::Model,
        fence: i64,
        state: DeliveryState,
        reason: &str,
    ) -> Result<(), Failure> {
        let transaction = store::begin(&self.db).await?;
        let ended = Ended {
            state,
            smtp_reply: None,
            error: Some(reason),
            sent_at: None,
        };
        let ended = mails::end(&transaction, delivery.id, fence, ended).await;
        if !ended.context("store the outcome")? {
            // Whoever was at it has come to an end meanwhile. That counts, not this.
            return Ok(());
        }
        stages::failed(&transaction, delivery.subject_id, stages::DELIVER, reason).await?;
        transaction.commit().await.context("store the outcome")?;
        tracing::error!(mail.id = %delivery.id, reason, "mail {} is held: {state:?}", delivery.id);
        Ok(())
    }

    /// An earlier attempt had begun to send the body and never said how it ended.
    async fn resolve(&self, delivery: &email_delivery::Model) -> Result<(), Failure> {
        if !mails::lease_left(&self.db, delivery.id).await?.is_zero() {
            return Err(self.busy(delivery).await?);
        }
        match self.mailer.was_accepted(&delivery.message_id) {
            Some(true) => self.sent(delivery, delivery.fence, "found").await,
            Some(false) => {
                let error = MailError::Later("an earlier attempt broke off".to_owned());
                self.not_sent(delivery, delivery.fence, error).await
            }
            None => {
                let reason =
                    "an earlier attempt broke off between the body and the server's answer";
                self.hold(delivery, delivery.fence, DeliveryState::Ambiguous, reason)
                    .await
            }
        }
    }

    async fn follow_ups(
        &self,
        message: &broker::Envelope<EmailSend>,
        delivery: &email_delivery::Model,
    ) -> Handled {
        if delivery.document_id.is_none() {
            return Ok(Vec::new());
        }
        let invoice = invoices::find(&self.db, delivery.subject_id).await;
        let invoice = invoice.context("find the invoice")?;
        if invoice.is_none_or(|invoice| invoice.kind == InvoiceKind::CreditNote) {
            return Ok(Vec::new());
        }
        let document = self.document(delivery).await?;
        Ok(vec![message.follow_up(&InvoiceDelivered {
            invoice_id: delivery.subject_id,
            account_id: delivery.account_id,
            delivery_id: delivery.id,
            document_sha256: document.sha256,
            delivered_at: delivery.sent_at.unwrap_or_default(),
        })])
    }
}
