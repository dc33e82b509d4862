//! The worker pools: everything that happens to an accepted request.
//!
//! One handler a file in `handlers/`. A handler sees a message and the database, returns what
//! follows, and never talks to the broker. [`run`] builds the pools it is asked for and consumes
//! until shutdown.

mod billing;
mod document;
mod handlers;
mod mail;
mod parker;
mod provider;
mod reconciler;
#[cfg(test)]
mod simulation;
pub mod store;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use broker::{Broker, Consumer, Handler, Publisher};
use schemas::seal::SealKey;
use schemas::topology::{
    DEPROVISION_SIMULATED, DEPROVISION_SIMULATED_2, PROVIDER_SIMULATED, PROVIDER_SIMULATED_2, Pool,
    USAGE_SIMULATED, USAGE_SIMULATED_2, WorkQueue,
};
use sea_orm::DatabaseConnection;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

use handlers::intake::Intake;

pub use document::RendererKind;
pub use mail::MailUrl;
pub use mail::person::Links;

/// What the pools work with.
#[derive(Clone)]
pub struct Settings {
    /// The database of orders and invoices.
    pub db: DatabaseConnection,
    /// Where messages come from.
    pub broker: Broker,
    /// Where what follows goes; share one among the pools of a process.
    pub publisher: Publisher,
    /// The engine of the `document` pool.
    pub renderer: RendererKind,
    /// How many documents are rendered at once; nothing for `concurrency`, or as many as there are
    /// cores.
    pub renderers: Option<u16>,
    /// The way out of the `email` pool.
    pub mail: MailUrl,
    /// Where the simulated provider listens.
    pub simulated_provider: Url,
    /// Where the second simulated provider listens.
    pub simulated_provider_2: Url,
    /// Where mails about tickets go for the support. Nothing: they are seen in the lists alone.
    pub support: Option<String>,
    /// How links to people are made; the `email` pool needs it.
    pub links: Option<Links>,
    /// The key of our credentials at providers; without it a provider that needs one is not called.
    pub provider_key: Option<Arc<SealKey>>,
    /// How many days after the due date an invoice is reminded of, level by level. Empty: never.
    pub reminder_days: Vec<u32>,
    /// The broker users whose requests are believed to be for the account they name.
    pub trusted_publishers: Vec<String>,
    /// How long something may stand still before its step is sent again.
    pub reconcile_after: Duration,
    /// How many handlers of a pool run at once; nothing for the default of each pool.
    pub concurrency: Option<u16>,
}

/// A provider by its name in the catalogue, and the queues of what is to be created, deleted and read
/// there.
struct KnownProvider {
    name: &'static str,
    queue: WorkQueue,
    deprovision_queue: WorkQueue,
    usage_queue: WorkQueue,
    address: Url,
    provider: provider::Provider,
}

impl Settings {
    /// How many handlers of a pool run at once: by default as many as wait well together.
    fn concurrency(&self, pool: Pool) -> u16 {
        self.concurrency.unwrap_or(match pool {
            Pool::Order | Pool::Invoice => 8,
            Pool::Ticket => 4,
            Pool::Provider | Pool::Email => 16,
            // A renderer need not wait while the last document is stored and the next one is read.
            Pool::Document => self.renderers() + 2,
            Pool::Parker | Pool::Reconciler => 1,
        })
    }

    /// Every provider that there is an adapter for.
    fn providers(&self) -> anyhow::Result<Vec<KnownProvider>> {
        let simulated =
            |name, [queue, deprovision_queue, usage_queue]: [WorkQueue; 3], url: &Url| {
                let key = self.provider_key.clone();
                let credential = provider::Credential::keep(self.db.clone(), key, name);
                let adapter = provider::Simulated::new(url.clone(), credential)?;
                let provider = provider::Provider::Simulated(adapter);
                Ok(KnownProvider {
                    name,
                    queue,
                    deprovision_queue,
                    usage_queue,
                    address: url.clone(),
                    provider,
                })
            };
        [
            simulated(
                "simulated",
                [PROVIDER_SIMULATED, DEPROVISION_SIMULATED, USAGE_SIMULATED],
                &self.simulated_provider,
            ),
            simulated(
                "simulated-2",
                [
                    PROVIDER_SIMULATED_2,
                    DEPROVISION_SIMULATED_2,
                    USAGE_SIMULATED_2,
                ],
                &self.simulated_provider_2,
            ),
        ]
        .into_iter()
        .collect()
    }

    fn renderers(&self) -> u16 {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let at_once = self.renderers.or(self.concurrency);
        at_once.unwrap_or_else(|| u16::try_from(cores).unwrap_or(2))
    }
}

/// Runs pools until shutdown, then lets what runs finish.
///
/// # Errors
/// When a pool cannot be set up: its templates do not render, its renderer is not installed, its
/// mail server's certificate cannot be read. A server that is away is no error; it is waited for.
pub async fn run(
    pools: &[Pool],
    settings: Settings,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut running = JoinSet::new();
    for pool in pools {
        start(*pool, &settings, &mut running, &shutdown)
            .await
            .with_context(|| format!("start the pool {pool}"))?;
    }
    while let Some(ended) = running.join_next().await {
        ended.context("a pool panicked")?;
    }
    Ok(())
}

async fn start(
    pool: Pool,
    settings: &Settings,
    running: &mut JoinSet<()>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let db = settings.db.clone();
    let intake = Intake {
        db: db.clone(),
        trusted: settings.trusted_publishers.clone(),
    };
    let mut consume = Consume {
        pool,
        settings,
        running,
        shutdown,
    };
    match pool {
        Pool::Order => {
            consume.with(handlers::ending::CancelOrder {
                intake: intake.clone(),
            });
            consume.with(handlers::ending::TerminateResource {
                intake: intake.clone(),
            });
            consume.with(handlers::order::PlaceOrder { intake });
        }
        Pool::Provider => {
            for known in settings.providers()? {
                consume.with(handlers::provision::ProvisionResource {
                    db: db.clone(),
                    provider: known.provider.clone(),
                    queue: known.queue,
                });
                consume.with(handlers::ending::DeprovisionResource {
                    db: db.clone(),
                    provider: known.provider.clone(),
                    queue: known.deprovision_queue,
                });
                consume.with(handlers::settle::ReadUsage {
                    db: db.clone(),
                    provider: known.provider,
                    queue: known.usage_queue,
                });
            }
        }
        Pool::Invoice => {
            consume.with(handlers::settle::RequestInvoice { intake });
            consume.with(handlers::settle::SettleInvoice { db: db.clone() });
            consume.with(handlers::billing::HandleInvoice { db: db.clone() });
            consume.with(handlers::invoice::IssueInvoice { db });
        }
        Pool::Document => {
            let renderer =
                document::Renderer::start(settings.renderer, settings.renderers()).await?;
            consume.with(handlers::document::RenderDocument { db, renderer });
        }
        Pool::Email => consume.with(handlers::email::SendEmail {
            db,
            mailer: mail::Mailer::new(&settings.mail)?,
            templates: mail::message::MailTemplates::new()?,
            support: settings.support.clone(),
            links: settings
                .links
                .clone()
                .context("links in mails need the pepper: set PEPPER_FILE")?,
        }),
        Pool::Ticket => {
            let support = settings.support.clone();
            consume.with(handlers::ticket::RaiseTicket {
                intake: intake.clone(),
                support: support.clone(),
            });
            consume.with(handlers::ticket::ReplyToTicket {
                intake,
                support: support.clone(),
            });
            consume.with(handlers::ticket::HandleTicket { db, support });
        }
        Pool::Parker => {
            let (broker, publisher) = (settings.broker.clone(), settings.publisher.clone());
            running.spawn(parker::run(broker, publisher, db, shutdown.clone()));
        }
        Pool::Reconciler => {
            let mut providers = settings.providers()?;
            // Two at one address are one cloud, whose servers must not be strange to either.
            providers.dedup_by(|second, first| second.address == first.address);
            let providers = providers.into_iter();
            let reconciler = reconciler::Reconciler {
                db,
                publisher: settings.publisher.clone(),
                providers: providers
                    .map(|known| (known.name, known.provider))
                    .collect(),
                patience: settings.reconcile_after,
                support: settings.support.clone(),
                reminder_days: settings.reminder_days.clone(),
            };
            running.spawn(reconciler.run(shutdown.clone()));
        }
    }
    Ok(())
}

struct Consume<'a> {
    pool: Pool,
    settings: &'a Settings,
    running: &'a mut JoinSet<()>,
    shutdown: &'a CancellationToken,
}

impl Consume<'_> {
    fn with<H: Handler>(&mut self, handler: H) {
        let consumer = Consumer::new(
            self.settings.broker.clone(),
            self.settings.publisher.clone(),
            handler,
            self.settings.concurrency(self.pool),
            store::is_outage,
        );
        self.running.spawn(consumer.run(self.shutdown.clone()));
    }
}

/// Renders invoices outside of the flow: to try a template, or to see how fast an engine is alone.
#[derive(Clone)]
pub struct Preview {
    renderer: document::Renderer,
}

impl Preview {
    /// More than anybody asks for: whoever previews decides.
    const AT_ONCE: u16 = 64;

    /// Starts an engine.
    ///
    /// # Errors
    /// When it cannot be started, or its templates do not render.
    pub async fn start(kind: RendererKind) -> anyhow::Result<Self> {
        Ok(Self {
            renderer: document::Renderer::start(kind, Self::AT_ONCE).await?,
        })
    }

    /// Renders an invoice from its content as JSON (without one, the example), with a logo as PNG.
    /// Returns the PDF and its number of pages.
    ///
    /// # Errors
    /// When the content cannot be read, or the template does not render.
    pub async fn render(
        &self,
        content: Option<&[u8]>,
        logo: Option<&[u8]>,
    ) -> anyhow::Result<(Vec<u8>, u32)> {
        let content = match content {
            Some(json) => {
                serde_json::from_slice(json).context("read the content of the invoice")?
            }
            None => document::example(schemas::values::Locale::En)?,
        };
        let rendered = self.renderer.render(&content, logo).await?;
        Ok((rendered.bytes, rendered.pages))
    }
}
