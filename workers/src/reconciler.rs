//! The reconciler: looks for what stands still and sends its current step again, so that a message
//! that was lost is a delay; opens tickets for what waits for a person; and compares our resources
//! with the servers at the providers; and plans reminders of what is not paid. It may run many times at
//! once, and deletes nothing but files that nobody has used.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context;
use broker::{Outgoing, Publisher};
use chrono::Utc;
use entity::discrepancy::DiscrepancyKind;
use entity::email_delivery::DeliveryState;
use entity::order::OrderState;
use entity::resource::{self, ResourceState};
use entity::stage;
use schemas::document::DocumentRender;
use schemas::email::EmailSend;
use schemas::invoice::{InvoiceIssue, InvoiceSettle};
use schemas::provision::ResourceProvision;
use schemas::ticket::TicketHandle;
use sea_orm::DatabaseConnection;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::handlers::ending;
use crate::provider::{Provider, ProviderError};
use crate::store::discrepancies::{self, Found};
use crate::store::tickets::attachments;
use crate::store::tickets::automatic::{self, Keeper};
use crate::store::{invoices, mails, orders, reminders, resources, stages, tickets};

/// How often it looks at most.
const INTERVAL: Duration = Duration::from_secs(10);
/// How many stages one look takes. Those that only wait in a long queue must not make it longer.
const AT_ONCE: u64 = 100;
/// How many times its patience passes between two audits of a provider.
const AUDIT_EVERY: u32 = 5;

pub(crate) struct Reconciler {
    pub(crate) db: DatabaseConnection,
    pub(crate) publisher: Publisher,
    /// The name of each provider, and its adapter.
    pub(crate) providers: Vec<(&'static str, Provider)>,
    /// How long a stage may stand still before its step is sent again.
    pub(crate) patience: Duration,
    /// Where mails for the support go.
    pub(crate) support: Option<String>,
    /// How many days after the due date an invoice is reminded of, level by level.
    pub(crate) reminder_days: Vec<u32>,
}

impl Reconciler {
    /// Runs until shutdown.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let look = async {
            loop {
                match self.look().await {
                    Ok(0) => {}
                    Ok(count) => {
                        tracing::warn!("{count} stages stood still; sent their steps again")
                    }
                    Err(error) => tracing::warn!("cannot look for what stands still: {error:#}"),
                }
                match reminders::look(&self.db, &self.reminder_days).await {
                    Ok(0) => {}
                    Ok(count) => tracing::info!("{count} invoices are not paid in time; reminding"),
                    Err(error) => tracing::warn!("cannot look for what is overdue: {error:#}"),
                }
                if let Err(error) = attachments::sweep(&self.db, Utc::now()).await {
                    tracing::warn!("cannot delete files that nobody uses: {error}");
                }
                if let Err(error) = self.keep_tickets().await {
                    tracing::warn!("cannot open and close tickets: {error:#}");
                }
                tokio::time::sleep(INTERVAL.min(self.patience)).await;
            }
        };
        let audit = async {
            loop {
                tokio::time::sleep(self.patience * AUDIT_EVERY).await;
                for (name, provider) in &self.providers {
                    match self.audit(name, provider).await {
                        Ok(0) => {}
                        Ok(count) => tracing::error!(
                            "{count} new differences to {name}; see flow resource audit"
                        ),
                        Err(error) => tracing::warn!("cannot audit {name}: {error:#}"),
                    }
                }
            }
        };
        tokio::select! {
            () = async { tokio::join!(look, audit); } => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// Sends the current step of everything that stands still. Returns of how many stages.
    async fn look(&self) -> anyhow::Result<usize> {
        let mut sent = 0;
        for stage in stages::standing_still(&self.db, self.patience, AT_ONCE).await? {
            let step = current_step(&self.db, &stage).await?;
            // Only one reconciler goes on with it, and the next look comes later than this one.
            let again = !step.is_empty();
            if !stages::checked(&self.db, &stage, self.patience, again).await? || !again {
                continue;
            }
            tracing::info!(subject.id = %stage.subject_id, stage = stage.name, checks = stage.checks + 1, "sending a step again");
            self.publisher.publish_all(&step).await?;
            sent += 1;
        }
        Ok(sent)
    }

    /// Opens tickets for what waits for a person, and closes those that are over.
    async fn keep_tickets(&self) -> anyhow::Result<()> {
        let keeper = Keeper {
            db: &self.db,
            support: self.support.as_deref(),
        };
        let done = automatic::look(&keeper).await?;
        let announced: Vec<_> = done
            .iter()
            .map(|done| announce(done.ticket_id, done.cause))
            .collect();
        Ok(self.publisher.publish_all(&announced).await?)
    }

    /// Compares our resources with the servers at the provider. Returns how many differences are
    /// new.
    async fn audit(&self, name: &str, provider: &Provider) -> anyhow::Result<usize> {
        // Ours first: what is created meanwhile is on the second list only, and not settled.
        let ours = resources::at_provider(&self.db, name).await?;
        let theirs = provider.list().await.context("list the servers")?;
        let unsettled: HashSet<String> = resources::orders_under_way(&self.db, name)
            .await?
            .into_iter()
            .map(|order_id| order_id.to_string())
            .collect();
        let known: HashSet<&str> = ours
            .iter()
            .filter_map(|resource| resource.external_id.as_deref())
            .collect();
        let mut found = Vec::new();
        for server in &theirs {
            let label = server.order_label.clone();
            let settled = label
                .as_ref()
                .is_none_or(|order| !unsettled.contains(order));
            if settled && !known.contains(server.external_id.as_str()) {
                // The lists were read one after the other: look again at this one.
                if resources::with_external_id(&self.db, name, &server.external_id).await? {
                    continue;
                }
                // Lists lag: one that was deleted may still be on them.
                if matches!(
                    provider.poll(&server.external_id).await,
                    Err(ProviderError::Gone)
                ) {
                    continue;
                }
                found.push(Found {
                    kind: DiscrepancyKind::Orphan,
                    external_id: server.external_id.clone(),
                    order_label: label,
                    resource_id: None,
                });
            }
        }
        let listed: HashSet<&str> = theirs
            .iter()
            .map(|server| server.external_id.as_str())
            .collect();
        for resource in ours.iter().filter(|r| r.state == ResourceState::Active) {
            let Some(external_id) = &resource.external_id else {
                continue;
            };
            // Lists lag: the provider is asked for this one by itself.
            if !listed.contains(external_id.as_str())
                && matches!(provider.poll(external_id).await, Err(ProviderError::Gone))
            {
                found.push(Found {
                    kind: DiscrepancyKind::Ghost,
                    external_id: external_id.clone(),
                    order_label: None,
                    resource_id: Some(resource.id),
                });
            }
        }
        Ok(discrepancies::note(&self.db, name, &found).await?)
    }
}

/// What moves a stage on, by the truth in the database. Nothing while another stage is not done
/// or somebody is at it.
pub(crate) async fn current_step(
    db: &DatabaseConnection,
    stage: &stage::Model,
) -> anyhow::Result<Vec<Outgoing>> {
    let subject = stage.subject_id;
    match stage.name.as_str() {
        stages::PROVISION => {
            let mut step = Vec::new();
            for resource in resources::of_order(db, subject).await? {
                let idle = resources::lease_left(db, resource.id).await?.is_zero();
                if idle && resource.state == ResourceState::Creating {
                    step.push(provision(&resource)?);
                }
            }
            Ok(step)
        }
        stages::TERMINATE => {
            let Some(resource) = resources::find(db, subject).await? else {
                return Ok(Vec::new());
            };
            let idle = resources::lease_left(db, subject).await?.is_zero();
            let wanted = idle && resource.state == ResourceState::Terminating;
            let step = wanted.then(|| ending::deprovision(&resource));
            Ok(step.transpose()?.into_iter().collect())
        }
        stages::ISSUE => {
            let order = orders::find(db, subject).await?;
            let completed = order.is_some_and(|order| order.state == OrderState::Completed);
            let issue = InvoiceIssue { order_id: subject };
            Ok(completed
                .then(|| Outgoing::once(subject, subject, &issue))
                .into_iter()
                .collect())
        }
        stages::SETTLE => {
            let settle = InvoiceSettle {
                request_id: subject,
            };
            Ok(vec![Outgoing::once(subject, subject, &settle)])
        }
        stages::RENDER => {
            let Some(invoice) = invoices::find(db, subject).await? else {
                return Ok(Vec::new());
            };
            // Messages about an invoice belong to the story of its order.
            let story = invoice.order_id.unwrap_or(subject);
            let render = DocumentRender {
                invoice_id: subject,
            };
            Ok(vec![Outgoing::once(subject, story, &render)])
        }
        stages::DELIVER => {
            let mut step = Vec::new();
            for delivery in mails::of_subject(db, subject).await? {
                let open = [
                    DeliveryState::Queued,
                    DeliveryState::Sending,
                    DeliveryState::DataSent,
                ];
                let idle = mails::lease_left(db, delivery.id).await?.is_zero();
                if idle && open.contains(&delivery.state) {
                    let delivery_id = delivery.id;
                    let send = EmailSend { delivery_id };
                    step.push(Outgoing::once(delivery_id, delivery.story_id, &send));
                }
            }
            Ok(step)
        }
        stages::ANNOUNCE => {
            let event = tickets::event(db, subject).await?;
            Ok(event
                .map(|event| announce(event.ticket_id, subject))
                .into_iter()
                .collect())
        }
        _ => Ok(Vec::new()),
    }
}

/// Publishes what was done to a ticket.
fn announce(ticket_id: Uuid, action_id: Uuid) -> Outgoing {
    let announce = TicketHandle {
        action_id,
        ticket_id,
        handling: None,
    };
    Outgoing::once(action_id, ticket_id, &announce)
}

fn provision(resource: &resource::Model) -> anyhow::Result<Outgoing> {
    let provider = resource.provider.parse().context("read the provider")?;
    let step = ResourceProvision {
        resource_id: resource.id,
        provider,
    };
    Ok(Outgoing::once(resource.id, resource.order_id, &step))
}
