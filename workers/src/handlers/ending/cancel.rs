//! Takes an order back, before or while its resources are created.

use anyhow::{Context, anyhow};
use broker::{Envelope, Failure, Handled, Handler, Outgoing, Refused, crash_point};
use entity::order::{self, OrderState};
use entity::request::RequestStatus;
use schemas::order::{OrderCancel, cancellation_id};
use schemas::topology::{self, WorkQueue};
use schemas::{Message, Problem, problem};
use sea_orm::{ColumnTrait, DatabaseTransaction};
use std::time::Duration;

use crate::handlers::intake::Intake;
use crate::store::{self, orders, requests, resources, stages};

use super::{Asked, admit, follow_ups, rejected};

/// How long an order may still be on its way when it is taken back.
const ORDER_AGAIN: Duration = Duration::from_secs(5);

/// Consumes `order.cancel.v1`.
pub(crate) struct CancelOrder {
    pub(crate) intake: Intake,
}

impl Handler for CancelOrder {
    type Message = OrderCancel;

    fn queue(&self) -> WorkQueue {
        topology::ORDER_CANCEL
    }

    async fn handle(&self, message: &Envelope<OrderCancel>) -> Handled {
        let db = &self.intake.db;
        let cancel = &message.body;
        let at = admit(
            &self.intake,
            message,
            cancel.account_id,
            cancel.requested_at,
        )
        .await?;
        let asked = Asked {
            id: cancellation_id(cancel.order_id),
            kind: OrderCancel::KIND,
            account_id: cancel.account_id,
            subject_id: cancel.order_id,
            reason: cancel.reason.as_ref(),
            at,
        };
        let order = orders::find(db, cancel.order_id).await;
        let Some(order) = order.context("find the order")? else {
            if self.intake.is_trusted(message.publisher.as_deref()) {
                // An ingress took it in a moment ago: it is on its way.
                return Err(Failure::NotYet(
                    ORDER_AGAIN,
                    anyhow!("the order is not there"),
                ));
            }
            return Ok(asked.unknown("order"));
        };
        if order.account_id != cancel.account_id {
            return Ok(asked.unknown("order"));
        }
        self.take_back(&asked).await?;
        crash_point("cancel.stored");
        if let Some(rejected) = rejected(db, asked.id).await? {
            return Ok(vec![rejected]);
        }
        let order = orders::find(db, order.id).await.context("find the order")?;
        let order = order.context("the order is gone")?;
        let resources = resources::of_order(db, order.id).await;
        Ok(follow_ups(db, &order, &resources.context("find the resources")?).await?)
    }

    fn refused(&self, refused: &Refused<'_>) -> Option<Outgoing> {
        self.intake.refused(refused)
    }
}

impl CancelOrder {
    async fn take_back(&self, asked: &Asked<'_>) -> Result<(), Failure> {
        let transaction = store::begin(&self.intake.db).await?;
        let order = orders::lock(&transaction, asked.subject_id).await;
        let order = order
            .context("lock the order")?
            .context("the order is gone")?;
        let outcome = match order.state {
            OrderState::Cancelled => Ok(RequestStatus::Done),
            OrderState::Cancelling => Ok(RequestStatus::Accepted),
            _ if orders::allowed(order.state, OrderState::Cancelling) => {
                Ok(RequestStatus::Accepted)
            }
            state => Err(too_late(state)),
        };
        let may = outcome.is_ok();
        let inserted = requests::insert(&transaction, asked.row(), outcome).await;
        if !inserted.context("store the request")? {
            return Ok(());
        }
        if may {
            cancel(&transaction, &order, asked).await?;
        }
        transaction
            .commit()
            .await
            .context("store the cancellation")?;
        Ok(())
    }
}

/// Nothing more is created, and what there is goes away.
async fn cancel(
    transaction: &DatabaseTransaction,
    order: &order::Model,
    asked: &Asked<'_>,
) -> Result<(), Failure> {
    let note = asked.reason.map(|reason| reason.as_str());
    if !orders::advance(transaction, order, OrderState::Cancelling, note, None).await? {
        return Ok(());
    }
    for stage in [stages::PROVISION, stages::ISSUE] {
        stages::cancelled(transaction, order.id, stage).await?;
    }
    let of_order = entity::resource::Column::OrderId.eq(order.id);
    resources::give_up(transaction, of_order, asked.at).await?;
    Ok(())
}

fn too_late(state: OrderState) -> Problem {
    let detail = match state {
        OrderState::Completed => {
            "The order is completed; its resources can be terminated one by one."
        }
        _ => "The order was rejected: there is nothing to take back.",
    };
    Problem::new(problem::CONFLICT, detail)
}
