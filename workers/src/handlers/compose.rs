//! What a mail says and to whom it is, read from what it tells of.

use anyhow::{Context, anyhow};
use broker::Failure;
use entity::{document, email_delivery};
use lettre::address::Envelope;
use schemas::values::Money;

use crate::billing::content::InvoiceContent;
use crate::mail::message::{InvoiceMail, Reminder};
use crate::mail::person::{About, PersonMail};
use crate::mail::ticket::TicketMail;
use crate::store::{catalog, documents, invoices, mails, people, reminders, tickets};

use super::email::SendEmail;
use super::{missing, permanent};

impl SendEmail {
    /// The mail with an invoice or a credit note, or one that reminds of an invoice.
    pub(super) async fn compose_invoice(
        &self,
        delivery: &email_delivery::Model,
    ) -> Result<lettre::Message, Failure> {
        let (db, subject) = (&self.db, delivery.subject_id);
        let reminder = reminders::find(db, subject).await;
        let reminder = reminder.context("find the reminder")?;
        let invoice_id = reminder
            .as_ref()
            .map_or(subject, |reminder| reminder.invoice_id);
        let document = self.document(delivery).await?;
        let invoice = invoices::find(db, invoice_id).await;
        let invoice = invoice.context("find the invoice")?;
        let invoice = invoice.ok_or_else(|| missing("invoice", invoice_id))?;
        let content: InvoiceContent = serde_json::from_str(&invoice.content).map_err(|error| {
            permanent(
                "unreadable_content",
                anyhow!("the content of the invoice: {error}"),
            )
        })?;
        let reminder = reminder.map(|reminder| Reminder {
            level: reminder.level,
            open: Money::new(reminder.open_minor, content.currency),
        });
        let all = mails::of_subject(db, subject).await;
        let all = all.context("find who else gets it")?;
        let with = |purpose: &str| {
            let of = all.iter().filter(|mail| mail.purpose == purpose);
            let addresses = of.map(|mail| mail.recipient.as_str());
            addresses.filter(|address| !address.is_empty()).collect()
        };
        let mail = InvoiceMail {
            content: &content,
            reminder,
            to: with(mails::DELIVERY),
            cc: with(mails::COPY),
            message_id: &delivery.message_id,
            pdf: document.bytes,
        };
        self.templates
            .invoice(mail)
            .map_err(|error| permanent("unsendable", error))
    }

    pub(super) async fn document(
        &self,
        delivery: &email_delivery::Model,
    ) -> Result<document::Model, Failure> {
        let id = delivery.document_id.unwrap_or_default();
        let document = documents::find(&self.db, id).await;
        let document = document.context("find the document")?;
        document.ok_or_else(|| missing("document", id))
    }

    pub(super) async fn compose_ticket(
        &self,
        delivery: &email_delivery::Model,
    ) -> Result<lettre::Message, Failure> {
        let db = &self.db;
        let (ticket, said) = (delivery.story_id, delivery.subject_id);
        let ticket = tickets::find(db, ticket).await.context("find the ticket")?;
        let ticket = ticket.ok_or_else(|| missing("ticket", delivery.story_id))?;
        let talk = tickets::talk(db, ticket.id).await;
        let talk = talk.context("find what was said")?;
        let position = talk.iter().position(|message| message.id == said);
        let position = position.ok_or_else(|| missing("message", said))?;
        let (before, rest) = talk.split_at(position);
        let before = mails::thread(db, before, &delivery.purpose).await;
        let account = catalog::account(db, ticket.account_id).await;
        let account = account.context("find the account")?;
        let account = account.ok_or_else(|| missing("account", ticket.account_id))?;
        let issuer = invoices::issuer(db).await.context("find the seller")?;
        let attached = tickets::attachments::of_message(db, said).await;
        let mail = TicketMail {
            attached: attached.context("find the files")?,
            said: rest.first().context("the message is gone")?,
            ticket: &ticket,
            account: &account,
            issuer: &issuer.context("there is no seller")?,
            to_support: delivery.purpose == tickets::mailing::SUPPORT,
            recipient: &delivery.recipient,
            message_id: &delivery.message_id,
            before: before.context("find the thread")?,
            reply_to: self.support.as_deref(),
        };
        self.templates
            .ticket(mail)
            .map_err(|error| permanent("unsendable", error))
    }

    pub(super) async fn compose_person(
        &self,
        delivery: &email_delivery::Model,
    ) -> Result<lettre::Message, Failure> {
        let (db, subject) = (&self.db, delivery.subject_id);
        let about = match delivery.template.as_str() {
            mails::INVITATION => {
                let found = people::invitation(db, subject).await;
                let found = found.context("find the invitation")?;
                found.map(|(invitation, account)| About::Invitation(invitation, account))
            }
            _ => {
                let found = people::token(db, subject).await;
                let found = found.context("find the token")?;
                found.map(|(token, user)| About::Token(token, user))
            }
        };
        let about = about.ok_or_else(|| missing("token or invitation", subject))?;
        let issuer = invoices::issuer(db).await.context("find the seller")?;
        let mail = PersonMail {
            about: &about,
            links: &self.links,
            issuer: &issuer.context("there is no seller")?,
            recipient: &delivery.recipient,
            message_id: &delivery.message_id,
        };
        self.templates
            .person(mail)
            .map_err(|error| permanent("unsendable", error))
    }
}

/// The envelope of a mail that names several people and goes to one of them: each has a delivery of
/// their own, so that one who is refused does not keep it from the others.
pub(super) fn alone(
    message: &lettre::Message,
    delivery: &email_delivery::Model,
) -> Result<Envelope, Failure> {
    let unsendable = |error: anyhow::Error| permanent("unsendable", error);
    let recipient = delivery.recipient.parse();
    let recipient = recipient.map_err(|error| unsendable(anyhow!("read the address: {error}")))?;
    Envelope::new(message.envelope().from().cloned(), vec![recipient])
        .map_err(|error| unsendable(error.into()))
}
