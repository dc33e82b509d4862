//! Deletes one resource at its provider. Deleting is safe to repeat: what is gone is gone.

use std::time::Duration;

use anyhow::{Context, anyhow};
use broker::{Envelope, Failure, Handled, Handler, Next, crash_point};
use chrono::{DateTime, TimeDelta, Utc};
use entity::order::OrderState;
use entity::resource::{self, ResourceState};
use schemas::order::cancellation_id;
use schemas::provision::{ResourceDeprovision, termination_id};
use schemas::topology::WorkQueue;
use sea_orm::{DatabaseConnection, DbErr};

use crate::handlers::{missing, permanent, show_failure};
use crate::provider::{Provider, ProviderError};
use crate::store::resources::{self, Outcome};
use crate::store::{self, orders, requests, stages, usage};

use super::follow_ups;

/// How long one attempt may hold the resource: two calls and a margin.
const LEASE: Duration = Duration::from_secs(25);
/// How long after nothing more is created a new server may be missing from the lists of a provider: the
/// lease of the last attempt, and a minute that they lag.
const SETTLED: TimeDelta = TimeDelta::seconds(85);
const AGAIN: Duration = Duration::from_secs(5);

/// Consumes `resource.deprovision.v1` of one provider.
pub(crate) struct DeprovisionResource {
    pub(crate) db: DatabaseConnection,
    pub(crate) provider: Provider,
    pub(crate) queue: WorkQueue,
}

impl Handler for DeprovisionResource {
    type Message = ResourceDeprovision;

    fn queue(&self) -> WorkQueue {
        self.queue
    }

    async fn handle(&self, message: &Envelope<ResourceDeprovision>) -> Handled {
        let id = message.body.resource_id;
        let found = resources::find(&self.db, id).await;
        let found = found.context("find the resource")?;
        let resource = found.ok_or_else(|| missing("resource", id))?;
        if resource.state == ResourceState::Terminating {
            self.deprovision(&resource).await?;
        }
        let order = orders::find(&self.db, resource.order_id).await;
        let order = order
            .context("find the order")?
            .context("the order is gone")?;
        let resource = resources::find(&self.db, id).await;
        let resource = resource.context("find the resource")?;
        let over = resource.filter(|resource| resource.state == ResourceState::Terminated);
        Ok(follow_ups(&self.db, &order, over.as_slice()).await?)
    }

    async fn failed(&self, message: &Envelope<ResourceDeprovision>, error: &str, next: Next) {
        let id = message.body.resource_id;
        show_failure(&self.db, id, stages::TERMINATE, error, next).await;
    }
}

impl DeprovisionResource {
    async fn deprovision(&self, resource: &resource::Model) -> Result<(), Failure> {
        // Whoever is still creating it has the lease: what it made is known after that.
        let claimed = resources::claim(&self.db, resource, LEASE).await;
        let Some(fence) = claimed.context("claim the resource")? else {
            let left = resources::lease_left(&self.db, resource.id).await?;
            let error = anyhow!("another worker is at it for {left:?} at most");
            return Err(Failure::NotYet(left.max(AGAIN), error));
        };
        stages::running(&self.db, resource.id, stages::TERMINATE).await?;
        crash_point("deprovision.intent");
        let deleted = self.delete(resource).await?;
        crash_point("deprovision.effect");
        let at = match deleted {
            Ok(Deletion::Done(at)) => at,
            Ok(Deletion::NotFound) => {
                resources::record(&self.db, resource.id, fence, Outcome::Unknown).await?;
                let error = anyhow!("what became of the attempt to create it is not settled yet");
                return Err(Failure::NotYet(AGAIN, error));
            }
            Err(error) => {
                // Gives the lease back: the next attempt need not wait for its end.
                let outcome = match &resource.external_id {
                    Some(external_id) => Outcome::Created { external_id },
                    None => Outcome::Unknown,
                };
                resources::record(&self.db, resource.id, fence, outcome).await?;
                return Err(match error {
                    ProviderError::RateLimited(pause) => Failure::RateLimited(pause, error.into()),
                    ProviderError::Rejected { .. } => permanent("provider_rejected", error),
                    _ => Failure::Transient(error.into()),
                });
            }
        };
        self.finish(resource, fence, at).await?;
        crash_point("deprovision.recorded");
        Ok(())
    }

    /// Deletes the server, if there is one, after the last word of its meters is kept: once it is
    /// deleted nobody can read them.
    async fn delete(
        &self,
        resource: &resource::Model,
    ) -> Result<Result<Deletion, ProviderError>, DbErr> {
        let external_id = match self.external_id(resource).await {
            Ok(Ok(external_id)) => external_id,
            Ok(Err(deletion)) => return Ok(Ok(deletion)),
            Err(error) => return Ok(Err(error)),
        };
        match self.provider.usage(&external_id).await {
            Ok(said) => usage::read(&self.db, resource.id, resource.id, &said, Utc::now()).await?,
            // What has no meters, or is gone, says nothing.
            Err(ProviderError::Gone | ProviderError::Rejected { .. }) => {}
            Err(error) => return Ok(Err(error)),
        }
        let deleted = self.provider.delete(&external_id).await;
        Ok(deleted.map(Deletion::Done))
    }

    /// What the provider calls the server; or that there is none to delete.
    async fn external_id(
        &self,
        resource: &resource::Model,
    ) -> Result<Result<String, Deletion>, ProviderError> {
        if let Some(external_id) = &resource.external_id {
            return Ok(Ok(external_id.clone()));
        }
        if !resource.outcome_unknown {
            return Ok(Err(Deletion::Done(None)));
        }
        // Somebody may have created it without being able to say so.
        Ok(match self.provider.find(&resource.client_token).await? {
            Some(server) => Ok(server.external_id),
            None if is_settled(resource) => Err(Deletion::Done(None)),
            None => Err(Deletion::NotFound),
        })
    }

    /// Writes down that it is deleted; with the last resource an order that is taken back is over.
    async fn finish(
        &self,
        resource: &resource::Model,
        fence: i64,
        at: Option<DateTime<Utc>>,
    ) -> Result<(), Failure> {
        // A provider that does not say when has had it no longer than until it was asked.
        let at = at.or(resource.terminating_since).unwrap_or_else(Utc::now);
        let at = at.max(resource.activated_at.unwrap_or(at));
        let transaction = store::begin(&self.db).await?;
        let order = orders::lock(&transaction, resource.order_id).await;
        let order = order
            .context("lock the order")?
            .context("the order is gone")?;
        let recorded = resources::terminated(&transaction, resource.id, fence, at).await;
        if !recorded.context("record the end")? {
            let error = anyhow!("fenced out: another worker took over");
            return Err(Failure::NotYet(AGAIN, error));
        }
        stages::done(&transaction, resource.id, stages::TERMINATE).await?;
        requests::done(&transaction, termination_id(resource.id)).await?;
        let left = resources::of_order(&transaction, order.id).await?;
        let mut left = left.iter().map(|resource| resource.state);
        if order.state == OrderState::Cancelling
            && left.all(|state| state == ResourceState::Terminated)
        {
            orders::advance(&transaction, &order, OrderState::Cancelled, None, None).await?;
            requests::done(&transaction, cancellation_id(order.id)).await?;
        }
        transaction.commit().await.context("store the end")?;
        Ok(())
    }
}

/// What became of a server.
enum Deletion {
    /// There is none. When the provider deleted it, if it says.
    Done(Option<DateTime<Utc>>),
    /// It is not found, but may show up.
    NotFound,
}

/// Whether an attempt to create the resource must have shown up by now.
fn is_settled(resource: &resource::Model) -> bool {
    let since = resource.terminating_since.unwrap_or(resource.updated_at);
    Utc::now() - since > SETTLED
}
