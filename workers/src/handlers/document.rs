//! Renders the document of an issued invoice, once, and plans its delivery.

use std::time::Duration;

use anyhow::{Context, anyhow};
use broker::{Envelope, Failure, Handled, Handler, Next, Outgoing, crash_point};
use chrono::Utc;
use entity::document;
use entity::email_delivery::{self, DeliveryState};
use entity::invoice::{self, InvoiceState};
use schemas::document::DocumentRender;
use schemas::email::EmailSend;
use schemas::topology::{self, WorkQueue};
use sea_orm::{ActiveEnum, DatabaseConnection};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::billing::content::InvoiceContent;
use crate::document::{Rendered, Renderer, TEMPLATE_VERSION};
use crate::store::{self, documents, invoices, mails, stages};

use super::{missing, permanent, show_failure};

const ISSUED_AGAIN: Duration = Duration::from_secs(5);
/// The mail that delivers an invoice.
const TEMPLATE: &str = "invoice";

/// Consumes `document.render.v1`.
pub(crate) struct RenderDocument {
    pub(crate) db: DatabaseConnection,
    pub(crate) renderer: Renderer,
}

impl Handler for RenderDocument {
    type Message = DocumentRender;

    fn queue(&self) -> WorkQueue {
        topology::DOCUMENT
    }

    async fn handle(&self, message: &Envelope<DocumentRender>) -> Handled {
        let invoice_id = message.body.invoice_id;
        let id = documents::invoice_document_id(invoice_id);
        if documents::find(&self.db, id)
            .await
            .context("find the document")?
            .is_none()
        {
            let invoice = invoices::find(&self.db, invoice_id)
                .await
                .context("find the invoice")?;
            let invoice = invoice.ok_or_else(|| missing("invoice", invoice_id))?;
            if invoice.state == InvoiceState::Voided {
                return Ok(Vec::new());
            }
            if invoice.state == InvoiceState::Draft {
                return Err(Failure::NotYet(
                    ISSUED_AGAIN,
                    anyhow!("the invoice is a draft"),
                ));
            }
            self.render(id, &invoice).await?;
        }
        let deliveries = mails::of_document(&self.db, id)
            .await
            .context("find the deliveries")?;
        let correlation_id = message.correlation_id;
        let send = |delivery: &email_delivery::Model| {
            Outgoing::once(
                delivery.id,
                correlation_id,
                &EmailSend {
                    delivery_id: delivery.id,
                },
            )
        };
        Ok(deliveries.iter().map(send).collect())
    }

    async fn failed(&self, message: &Envelope<DocumentRender>, error: &str, next: Next) {
        show_failure(
            &self.db,
            message.body.invoice_id,
            stages::RENDER,
            error,
            next,
        )
        .await;
    }
}

impl RenderDocument {
    async fn render(&self, id: Uuid, invoice: &invoice::Model) -> Result<(), Failure> {
        stages::running(&self.db, invoice.id, stages::RENDER).await?;
        let content: InvoiceContent = serde_json::from_str(&invoice.content).map_err(|error| {
            permanent(
                "unreadable_content",
                anyhow!("the content of the invoice: {error}"),
            )
        })?;
        let issuer = invoices::issuer(&self.db)
            .await
            .context("find the issuer")?;
        let logo = issuer.and_then(|issuer| issuer.logo_png);
        let rendered = self
            .renderer
            .render(&content, logo.as_deref())
            .await
            .context("render the invoice")?;
        crash_point("document.rendered");
        let Rendered {
            bytes,
            pages,
            renderer_version,
        } = rendered;
        let document = document::Model {
            id,
            invoice_id: invoice.id,
            kind: invoice.kind.to_value(),
            media_type: "application/pdf".to_owned(),
            sha256: data_encoding::HEXLOWER.encode(&Sha256::digest(&bytes)),
            bytes,
            pages: i32::try_from(pages).unwrap_or(i32::MAX),
            template_version: TEMPLATE_VERSION.to_owned(),
            renderer_version,
            created_at: Utc::now(),
        };
        let transaction = store::begin(&self.db).await?;
        // What was withdrawn meanwhile is not sent any more.
        let current = invoices::lock(&transaction, invoice.id).await;
        let current = current.context("lock the invoice")?;
        if current.is_none_or(|current| current.state == InvoiceState::Voided) {
            return Ok(());
        }
        // Another delivery of this message may have been faster: then its bytes count, and whom it
        // has planned to mail them to. The account may have other contacts by now.
        let ours = documents::insert(&transaction, document)
            .await
            .context("store the document")?;
        if ours {
            let recipients = mails::invoice_recipients(&transaction, invoice.account_id).await;
            for (address, purpose) in recipients.context("find who gets it")? {
                let to = Recipient { address, purpose };
                let delivery = delivery(id, invoice, to, &content.seller.email);
                mails::insert(&transaction, delivery)
                    .await
                    .context("plan the delivery")?;
            }
        }
        stages::done(&transaction, invoice.id, stages::RENDER).await?;
        stages::pending(&transaction, invoice.id, stages::DELIVER).await?;
        transaction.commit().await.context("store the document")?;
        Ok(())
    }
}

/// Who gets an invoice, and why.
struct Recipient {
    address: String,
    purpose: &'static str,
}

fn delivery(
    document_id: Uuid,
    invoice: &invoice::Model,
    to: Recipient,
    sender: &str,
) -> email_delivery::Model {
    let id = mails::delivery_id(document_id, TEMPLATE, to.purpose, &to.address);
    let domain = sender
        .rsplit_once('@')
        .map_or("customer-flow.invalid", |(_, domain)| domain);
    let now = Utc::now();
    email_delivery::Model {
        id,
        subject_id: invoice.id,
        story_id: invoice.order_id.unwrap_or(invoice.id),
        document_id: Some(document_id),
        account_id: invoice.account_id,
        template: TEMPLATE.to_owned(),
        purpose: to.purpose.to_owned(),
        recipient: to.address,
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
    }
}
