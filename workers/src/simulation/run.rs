//! The workers: one of each handler, as `flow worker` builds them, with fakes for neighbours.

use std::sync::Arc;

use broker::{Failure, Handled, Handler, Next};
use schemas::link::LinkKey;
use schemas::topology::{PROVIDER_SIMULATED, Pool};
use sea_orm::DatabaseConnection;

use super::cloud::Cloud;
use super::message::{PUBLISHER, Stored};
use super::post::Post;
use crate::document::Renderer;
use crate::handlers::intake::Intake;
use crate::handlers::{document, email, invoice, order, provision};
use crate::mail::person::Links;
use crate::mail::{Mailer, message::MailTemplates};
use crate::provider::Provider;

/// After so many failed attempts, or waits, the loop parks a message.
const MAX_ATTEMPTS: u32 = 8;
const MAX_WAITS: u32 = 250;

/// One handler of each kind.
pub(super) struct Workers {
    order: Arc<order::PlaceOrder>,
    provider: Arc<provision::ProvisionResource>,
    invoice: Arc<invoice::IssueInvoice>,
    document: Arc<document::RenderDocument>,
    email: Arc<email::SendEmail>,
}

impl Workers {
    pub(super) fn new(db: &DatabaseConnection, cloud: Arc<Cloud>, post: Arc<Post>) -> Self {
        let db = || db.clone();
        Self {
            order: Arc::new(order::PlaceOrder {
                intake: Intake {
                    db: db(),
                    trusted: vec![PUBLISHER.to_owned()],
                },
            }),
            provider: Arc::new(provision::ProvisionResource {
                db: db(),
                provider: Provider::Fake(cloud),
                queue: PROVIDER_SIMULATED,
            }),
            invoice: Arc::new(invoice::IssueInvoice { db: db() }),
            document: Arc::new(document::RenderDocument {
                db: db(),
                renderer: Renderer::fake(),
            }),
            email: Arc::new(email::SendEmail {
                db: db(),
                mailer: Mailer::Fake(post),
                templates: MailTemplates::new().unwrap(),
                support: None,
                links: Links {
                    key: LinkKey::new([0; 32]),
                    public_url: "http://127.0.0.1:8080".parse().unwrap(),
                },
            }),
        }
    }

    /// Gives a message to the handler of its queue.
    pub(super) async fn handle(self: Arc<Self>, message: Stored) -> Handled {
        match message.queue.pool {
            Pool::Order => handle(&*self.order, &message).await,
            Pool::Provider => handle(&*self.provider, &message).await,
            Pool::Invoice => handle(&*self.invoice, &message).await,
            Pool::Document => handle(&*self.document, &message).await,
            Pool::Email => handle(&*self.email, &message).await,
            Pool::Ticket | Pool::Parker | Pool::Reconciler => unreachable!("no part of an order"),
        }
    }

    /// Tells the handler of a message what becomes of it.
    pub(super) async fn failed(&self, message: &Stored, error: &str, next: Next) {
        match message.queue.pool {
            Pool::Order => failed(&*self.order, message, error, next).await,
            Pool::Provider => failed(&*self.provider, message, error, next).await,
            Pool::Invoice => failed(&*self.invoice, message, error, next).await,
            Pool::Document => failed(&*self.document, message, error, next).await,
            Pool::Email => failed(&*self.email, message, error, next).await,
            Pool::Ticket | Pool::Parker | Pool::Reconciler => unreachable!("no part of an order"),
        }
    }
}

async fn handle<H: Handler>(handler: &H, message: &Stored) -> Handled {
    assert_eq!(handler.queue(), message.queue);
    handler.handle(&message.decode()).await
}

async fn failed<H: Handler>(handler: &H, message: &Stored, error: &str, next: Next) {
    handler.failed(&message.decode(), error, next).await;
}

/// What the loop does with a failed message; the times are left to the schedule.
pub(super) enum Disposition {
    Retry(Stored),
    Park(&'static str),
}

impl Disposition {
    pub(super) fn of(failure: &Failure, message: &Stored) -> Self {
        let mut copy = message.clone();
        match failure {
            Failure::Permanent(reason, _) => return Self::Park(reason),
            Failure::Transient(_) => copy.attempt += 1,
            Failure::RateLimited(..) | Failure::NotYet(..) => copy.waits += 1,
            Failure::Unavailable(error) => panic!("the database is never away here: {error:#}"),
        }
        match copy {
            _ if copy.attempt >= MAX_ATTEMPTS => Self::Park("attempts_exhausted"),
            _ if copy.waits >= MAX_WAITS => Self::Park("not_ready"),
            _ => Self::Retry(copy),
        }
    }
}
