//! How things end: orders are taken back, resources are given up and deleted at their provider.

mod cancel;
mod deprovision;
mod terminate;

pub(crate) use cancel::CancelOrder;
pub(crate) use deprovision::DeprovisionResource;
pub(crate) use terminate::TerminateResource;

use anyhow::Context;
use broker::{Envelope, Failure, Outgoing};
use chrono::{DateTime, Utc};
use entity::order::{self, OrderState};
use entity::request::{self, RequestStatus};
use entity::resource::{self, ResourceState};
use schemas::event::{OrderCancelled, RequestRejected, ResourceTerminated};
use schemas::provision::ResourceDeprovision;
use schemas::values::Name;
use schemas::{Message, Problem, problem};
use sea_orm::DatabaseConnection;
use uuid::Uuid;

use crate::store::{self, requests, resources};

use super::intake::{Intake, unsaid};

/// Who asks for the end of something, and when.
struct Asked<'a> {
    id: Uuid,
    kind: &'static str,
    account_id: Uuid,
    subject_id: Uuid,
    reason: Option<&'a Name>,
    at: DateTime<Utc>,
}

impl Asked<'_> {
    fn row(&self) -> request::Model {
        request::Model {
            id: self.id,
            account_id: self.account_id,
            kind: self.kind.to_owned(),
            subject_id: Some(self.subject_id),
            external_ref: None,
            // There is nothing that a repetition could ask for otherwise.
            request_sha256: schemas::ticket::sha256_of(&self.subject_id),
            status: RequestStatus::Accepted,
            note: self.reason.map(ToString::to_string),
            requested_by: None,
            result_id: None,
            problem: None,
            trace_id: broker::current_trace_id(),
            requested_at: self.at,
            decided_at: None,
        }
    }

    /// What is said to somebody who asks for the end of what is not theirs, or not there.
    fn unknown(&self, what: &str) -> Vec<Outgoing> {
        let rejected = RequestRejected {
            request_id: self.id,
            account_id: self.account_id,
            kind: self.kind.to_owned(),
            subject_id: Some(self.subject_id),
            external_ref: None,
            problem: Problem::new(problem::NOT_FOUND, format!("There is no such {what}.")),
        };
        let said = Uuid::new_v5(&self.account_id, self.id.as_bytes());
        vec![Outgoing::once(said, self.subject_id, &rejected)]
    }
}

/// Lets a request in, and says when it was made: what the ingress says, or now.
async fn admit<M: Message>(
    intake: &Intake,
    message: &Envelope<M>,
    account_id: Uuid,
    requested_at: Option<DateTime<Utc>>,
) -> Result<DateTime<Utc>, Failure> {
    if intake.is_trusted(message.publisher.as_deref()) {
        return requested_at.ok_or_else(|| unsaid("requested_at"));
    }
    intake.admit(message, account_id).await?;
    Ok(store::now(&intake.db).await.context("ask for the time")?)
}

/// What follows from the end of some resources and perhaps of their order: the same, however often
/// it is asked.
async fn follow_ups(
    db: &DatabaseConnection,
    order: &order::Model,
    resources: &[resource::Model],
) -> anyhow::Result<Vec<Outgoing>> {
    let mut outgoing = Vec::new();
    for resource in resources {
        match resource.state {
            ResourceState::Terminating => outgoing.push(deprovision(resource)?),
            ResourceState::Terminated => {
                let terminated = ResourceTerminated {
                    resource_id: resource.id,
                    order_id: resource.order_id,
                    account_id: resource.account_id,
                    terminated_at: resource.terminated_at.unwrap_or(resource.updated_at),
                };
                outgoing.push(Outgoing::once(resource.id, order.id, &terminated));
            }
            _ => {}
        }
    }
    if order.state == OrderState::Cancelled {
        let external_ref = order.external_ref.as_deref().map(str::parse).transpose();
        let all = resources::of_order(db, order.id).await?;
        let last = all.iter().filter_map(|resource| resource.terminated_at);
        let cancelled = OrderCancelled {
            order_id: order.id,
            account_id: order.account_id,
            external_ref: external_ref.context("read the reference")?,
            cancelled_at: last.max().unwrap_or(order.updated_at),
        };
        outgoing.push(Outgoing::once(order.id, order.id, &cancelled));
    }
    Ok(outgoing)
}

/// The command to delete a resource.
pub(crate) fn deprovision(resource: &resource::Model) -> anyhow::Result<Outgoing> {
    let deprovision = ResourceDeprovision {
        resource_id: resource.id,
        provider: resource.provider.parse().context("read the provider")?,
    };
    Ok(Outgoing::once(resource.id, resource.order_id, &deprovision))
}

/// Says what became of a request that was rejected; nothing of one that was not.
async fn rejected(db: &DatabaseConnection, id: Uuid) -> anyhow::Result<Option<Outgoing>> {
    let row = requests::find(db, id).await.context("find the request")?;
    let row = row.context("the request that was just stored is gone")?;
    let story = row.subject_id.unwrap_or(row.id);
    let rejected = requests::rejection(&row).context("read why it was rejected")?;
    Ok(rejected.map(|rejected| Outgoing::once(id, story, &rejected)))
}
