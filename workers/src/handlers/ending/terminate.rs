//! Takes in that a resource is given up.

use anyhow::Context;
use broker::{Envelope, Failure, Handled, Handler, Outgoing, Refused, crash_point};
use entity::request::RequestStatus;
use entity::resource::{self, ResourceState};
use schemas::provision::{ResourceTerminate, termination_id};
use schemas::topology::{self, WorkQueue};
use schemas::{Message, Problem, problem};
use sea_orm::ColumnTrait;

use crate::handlers::intake::Intake;
use crate::store::{self, orders, requests, resources};

use super::{Asked, admit, follow_ups, rejected};

/// Consumes `resource.terminate.v1`.
pub(crate) struct TerminateResource {
    pub(crate) intake: Intake,
}

impl Handler for TerminateResource {
    type Message = ResourceTerminate;

    fn queue(&self) -> WorkQueue {
        topology::RESOURCE_TERMINATE
    }

    async fn handle(&self, message: &Envelope<ResourceTerminate>) -> Handled {
        let db = &self.intake.db;
        let ResourceTerminate {
            account_id,
            resource_id,
            requested_at,
            reason,
        } = &message.body;
        let at = admit(&self.intake, message, *account_id, *requested_at).await?;
        let asked = Asked {
            id: termination_id(*resource_id),
            kind: ResourceTerminate::KIND,
            account_id: *account_id,
            subject_id: *resource_id,
            reason: reason.as_ref(),
            at,
        };
        let resource = resources::find(db, *resource_id).await;
        let resource = resource.context("find the resource")?;
        let Some(resource) = resource.filter(|found| found.account_id == *account_id) else {
            return Ok(asked.unknown("resource"));
        };
        self.give_up(&asked, &resource).await?;
        crash_point("terminate.stored");
        if let Some(rejected) = rejected(db, asked.id).await? {
            return Ok(vec![rejected]);
        }
        let order = orders::find(db, resource.order_id).await;
        let order = order
            .context("find the order")?
            .context("the order is gone")?;
        let resource = resources::find(db, resource.id).await;
        let resource = resource.context("find the resource")?;
        Ok(follow_ups(db, &order, resource.as_slice()).await?)
    }

    fn refused(&self, refused: &Refused<'_>) -> Option<Outgoing> {
        self.intake.refused(refused)
    }
}

impl TerminateResource {
    async fn give_up(&self, asked: &Asked<'_>, resource: &resource::Model) -> Result<(), Failure> {
        let transaction = store::begin(&self.intake.db).await?;
        // The order first, as everywhere: its resources change under its lock.
        let order = orders::lock(&transaction, resource.order_id).await;
        order
            .context("lock the order")?
            .context("the order is gone")?;
        let current = resources::find(&transaction, resource.id).await?;
        let current = current.context("the resource is gone")?;
        let outcome = match current.state {
            ResourceState::Creating => Err(still_creating(resource)),
            ResourceState::Terminated => Ok(RequestStatus::Done),
            _ => Ok(RequestStatus::Accepted),
        };
        let may = outcome.is_ok();
        let inserted = requests::insert(&transaction, asked.row(), outcome).await;
        if !inserted.context("store the request")? {
            return Ok(());
        }
        if may {
            let this = resource::Column::Id.eq(resource.id);
            resources::give_up(&transaction, this, asked.at).await?;
        }
        transaction
            .commit()
            .await
            .context("store the termination")?;
        Ok(())
    }
}

fn still_creating(resource: &resource::Model) -> Problem {
    let detail = format!(
        "The resource is still being created; order {} can be cancelled.",
        resource.order_id
    );
    Problem::new(problem::CONFLICT, detail)
}
