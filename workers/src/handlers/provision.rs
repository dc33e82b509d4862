//! Creates one resource at its provider, once.
//!
//! Write the intent (lease, fence, client token) → call the provider → write the outcome, if the
//! fence still matches. After any attempt without a recorded outcome the provider is asked first
//! whether the resource is there. A timeout is *unknown*, not failed.

use std::time::Duration;

use anyhow::{Context, anyhow};
use broker::{Envelope, Failure, Handled, Handler, Next, Outgoing, crash_point};
use entity::order::{self, OrderState};
use entity::resource::{self, ResourceState};
use schemas::event::OrderCompleted;
use schemas::invoice::InvoiceIssue;
use schemas::provision::ResourceProvision;
use schemas::topology::WorkQueue;
use sea_orm::DatabaseConnection;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::provider::{CreateRequest, Provider, ProviderError, Server, ServerState};
use crate::store::resources::{self, Outcome};
use crate::store::{self, orders, parked, stages};

use super::{missing, permanent, show_failure};

/// How long one attempt may hold the resource: two calls and a margin. Another worker waits that
/// long after this one has died.
const LEASE: Duration = Duration::from_secs(25);
/// How long to wait here for a new server to become ready. Those that take longer wait in a queue,
/// and are asked for once at a time: they must not keep others from being made.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_POLL: Duration = Duration::from_millis(20);
const SLOWEST_POLL: Duration = Duration::from_secs(2);
const POLL_AGAIN: Duration = Duration::from_secs(5);

/// Consumes `resource.provision.v1` of one provider.
pub(crate) struct ProvisionResource {
    pub(crate) db: DatabaseConnection,
    pub(crate) provider: Provider,
    pub(crate) queue: WorkQueue,
}

impl Handler for ProvisionResource {
    type Message = ResourceProvision;

    fn queue(&self) -> WorkQueue {
        self.queue
    }

    async fn handle(&self, message: &Envelope<ResourceProvision>) -> Handled {
        let id = message.body.resource_id;
        let found = resources::find(&self.db, id)
            .await
            .context("find the resource")?;
        let resource = found.ok_or_else(|| missing("resource", id))?;
        if resource.state == ResourceState::Creating {
            self.provision(&resource).await?;
        }
        self.follow_ups(&resource).await
    }

    async fn failed(&self, message: &Envelope<ResourceProvision>, error: &str, next: Next) {
        let order_id = message.correlation_id;
        if next != Next::Parked {
            let shown = self.show_retry(message.body.resource_id, order_id).await;
            if let Err(error) = shown {
                tracing::debug!("cannot show the failed attempt: {error:#}");
            }
        }
        show_failure(&self.db, order_id, stages::PROVISION, error, next).await;
    }
}

impl ProvisionResource {
    async fn provision(&self, resource: &resource::Model) -> Result<(), Failure> {
        let Some(fence) = self.begin(resource).await? else {
            return Ok(());
        };
        let attempt = Attempt {
            handler: self,
            resource,
            fence,
        };
        crash_point("provision.intent");
        let ensured = self.ensure(resource).await;
        crash_point("provision.effect");
        let mut server = match ensured {
            Ok(server) => server,
            Err(error) => return Err(attempt.failed(error).await?),
        };
        if server.state == ServerState::Pending {
            attempt
                .record(Outcome::Created {
                    external_id: &server.external_id,
                })
                .await?;
            if resource.external_id.is_none() {
                server = self.wait_until_ready(server).await?;
            }
        }
        match &server.state {
            ServerState::Ready => {
                attempt.finish(&server).await?;
                crash_point("provision.recorded");
                Ok(())
            }
            ServerState::Pending => {
                let error = anyhow!("the server {} is not ready yet", server.external_id);
                Err(Failure::NotYet(POLL_AGAIN, error))
            }
            ServerState::Failed(reason) => {
                attempt
                    .record(Outcome::Created {
                        external_id: &server.external_id,
                    })
                    .await?;
                Err(permanent("provisioning_failed", anyhow!("{reason}")))
            }
        }
    }

    /// Writes the intent: the order is being provisioned, and this is the one attempt at it.
    /// Nothing if there is nothing left to do.
    async fn begin(&self, resource: &resource::Model) -> Result<Option<i64>, Failure> {
        let transaction = store::begin(&self.db).await?;
        let order = orders::lock(&transaction, resource.order_id)
            .await
            .context("lock the order")?;
        let order = order.ok_or_else(|| missing("order", resource.order_id))?;
        // Under the lock of the order: another delivery may have finished meanwhile.
        let current = resources::find(&transaction, resource.id)
            .await
            .context("find the resource")?;
        if current.is_none_or(|current| current.state != ResourceState::Creating) {
            return Ok(None);
        }
        // Another resource of the order waits for a person: the order goes on saying so.
        let stopped = order.state == OrderState::Failed
            && parked::stops(&transaction, order.id)
                .await
                .context("look for parked messages")?;
        if order.state != OrderState::Provisioning && !stopped {
            let to = OrderState::Provisioning;
            if !orders::advance(&transaction, &order, to, None, None).await? {
                let error = anyhow!("the order is {:?}", order.state);
                return Err(permanent("order_over", error));
            }
        }
        let claimed = resources::claim(&transaction, resource, LEASE).await;
        let Some(fence) = claimed.context("claim the resource")? else {
            drop(transaction);
            let left = resources::lease_left(&self.db, resource.id).await?;
            let error = anyhow!("another worker is at it for {left:?} at most");
            return Err(Failure::NotYet(left, error));
        };
        if !stopped {
            stages::running(&transaction, resource.order_id, stages::PROVISION).await?;
        }
        transaction.commit().await.context("store the intent")?;
        Ok(Some(fence))
    }

    /// The server, found or created.
    async fn ensure(&self, resource: &resource::Model) -> Result<Server, ProviderError> {
        if let Some(external_id) = &resource.external_id {
            return self.provider.poll(external_id).await;
        }
        if resource.outcome_unknown
            && let Some(server) = self.provider.find(&resource.client_token).await?
        {
            tracing::info!(resource.id = %resource.id, "found the server of an earlier attempt");
            return Ok(server);
        }
        let request = CreateRequest {
            client_token: &resource.client_token,
            name: &resource.name,
            sku: &resource.sku,
            region: &resource.region,
            order_id: resource.order_id.to_string(),
        };
        self.provider.create(&request).await
    }

    /// Asks until the server is ready, or patience ends. No lease is needed: asking changes nothing.
    async fn wait_until_ready(&self, mut server: Server) -> Result<Server, Failure> {
        let began = Instant::now();
        let mut interval = FIRST_POLL;
        while server.state == ServerState::Pending && began.elapsed() < PATIENCE {
            sleep(interval).await;
            interval = (interval * 2).min(SLOWEST_POLL);
            server = self.provider.poll(&server.external_id).await?;
        }
        Ok(server)
    }

    /// What follows once every resource of the order is active.
    async fn follow_ups(&self, resource: &resource::Model) -> Handled {
        let order_id = resource.order_id;
        let order = orders::find(&self.db, order_id)
            .await
            .context("find the order")?;
        let order = order.ok_or_else(|| missing("order", order_id))?;
        if order.state != OrderState::Completed {
            return Ok(Vec::new());
        }
        let resources = resources::of_order(&self.db, order_id)
            .await
            .context("find the resources")?;
        let resource_ids = resources.into_iter().map(|resource| resource.id).collect();
        let completed = OrderCompleted {
            order_id,
            account_id: order.account_id,
            resource_ids,
        };
        // Whichever resource is the last: one invoice, one fact.
        Ok(vec![
            Outgoing::once(order_id, order_id, &InvoiceIssue { order_id }),
            Outgoing::once(order_id, order_id, &completed),
        ])
    }

    /// Shows on the order that another attempt follows.
    async fn show_retry(&self, resource_id: Uuid, order_id: Uuid) -> anyhow::Result<()> {
        let transaction = store::begin(&self.db).await?;
        let unknown = resources::find(&transaction, resource_id)
            .await?
            .is_some_and(|resource| resource.outcome_unknown && resource.external_id.is_none());
        let to = if unknown {
            OrderState::NeedsReconciliation
        } else {
            OrderState::Retrying
        };
        if let Some(order) = orders::lock(&transaction, order_id).await?
            && order.state == OrderState::Provisioning
        {
            orders::advance(&transaction, &order, to, None, None).await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

/// One attempt, with the fence that it may write under.
struct Attempt<'a> {
    handler: &'a ProvisionResource,
    resource: &'a resource::Model,
    fence: i64,
}

impl Attempt<'_> {
    async fn record(&self, outcome: Outcome<'_>) -> Result<(), Failure> {
        let recorded =
            resources::record(&self.handler.db, self.resource.id, self.fence, outcome).await;
        self.fenced(recorded.context("record the outcome")?)
    }

    fn fenced(&self, recorded: bool) -> Result<(), Failure> {
        if recorded {
            return Ok(());
        }
        // The lease ran out and somebody else took over. What they do counts, not this.
        tracing::warn!(resource.id = %self.resource.id, fence = self.fence, "fenced out: another worker took over");
        Err(Failure::NotYet(
            POLL_AGAIN,
            anyhow!("fenced out: another worker took over"),
        ))
    }

    /// Records what a failed call leaves behind; returns what it means for the message.
    async fn failed(&self, error: ProviderError) -> Result<Failure, Failure> {
        let outcome = match &error {
            ProviderError::Ambiguous(_) => Outcome::Unknown,
            _ if self.resource.outcome_unknown => Outcome::Unknown,
            _ => Outcome::Nothing,
        };
        // A server that was being polled is there, whatever became of the call.
        let outcome = match &self.resource.external_id {
            Some(external_id) => Outcome::Created { external_id },
            None => outcome,
        };
        self.record(outcome).await?;
        Ok(match error {
            ProviderError::RateLimited(pause) => Failure::RateLimited(pause, error.into()),
            ProviderError::Rejected { .. } | ProviderError::Gone => {
                permanent("provider_rejected", error)
            }
            ProviderError::Unreachable(_)
            | ProviderError::Denied(_)
            | ProviderError::Ambiguous(_) => Failure::Transient(error.into()),
        })
    }

    /// Writes the outcome; the last resource completes the order.
    async fn finish(&self, server: &Server) -> Result<(), Failure> {
        let order_id = self.resource.order_id;
        let transaction = store::begin(&self.handler.db).await?;
        // The order first: two resources that finish at once must see each other.
        let order = orders::lock(&transaction, order_id)
            .await
            .context("lock the order")?;
        let order: order::Model = order.ok_or_else(|| missing("order", order_id))?;
        let outcome = Outcome::Active {
            external_id: &server.external_id,
            address: server.address.as_deref(),
        };
        let recorded = resources::record(&transaction, self.resource.id, self.fence, outcome).await;
        self.fenced(recorded.context("record the outcome")?)?;
        // An order that is taken back meanwhile does not complete any more.
        let wanted = order.state != OrderState::Cancelling;
        if wanted && resources::unfinished(&transaction, order_id).await? == 0 {
            orders::advance(&transaction, &order, OrderState::Completed, None, None).await?;
            stages::done(&transaction, order_id, stages::PROVISION).await?;
        }
        transaction.commit().await.context("store the outcome")?;
        Ok(())
    }
}
