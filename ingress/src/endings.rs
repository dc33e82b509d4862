//! `POST /v1/orders/{id}/cancellations`, `POST /v1/resources/{id}/terminations`.

use broker::Outgoing;
use entity::order::{self, OrderState};
use entity::resource::{self, ResourceState};
use schemars::JsonSchema;
use schemas::order::{OrderCancel, cancellation_id};
use schemas::provision::{ResourceTerminate, termination_id};
use schemas::ticket::sha256_of;
use schemas::values::Name;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use uuid::Uuid;
use warp::reply::Response;

use crate::accept::{self, Asked, PUBLISHER};
use crate::call::Call;
use crate::error::ApiError;
use crate::requests;

/// Why something is to end.
#[derive(JsonSchema)]
pub(crate) struct Ending {
    /// In your own words.
    #[expect(dead_code, reason = "only its schema is used")]
    reason: Option<Name>,
}

/// Accepts that an order is taken back.
pub(crate) async fn cancel(call: Call) -> Result<Response, ApiError> {
    let (order_id, account_id) = (call.id("order")?, call.account()?);
    let reason = reason(&call)?;
    let known = order::Entity::find_by_id(order_id)
        .filter(order::Column::AccountId.eq(account_id))
        .one(&call.state.db)
        .await?;
    match known.map(|order| order.state) {
        Some(OrderState::Completed) => {
            return Err(ApiError::conflict(
                "The order is completed; its resources can be terminated one by one.",
            ));
        }
        Some(OrderState::Rejected) => {
            return Err(ApiError::conflict(
                "The order was rejected: there is nothing to take back.",
            ));
        }
        Some(_) => {}
        // Accepted a moment ago, and not in the database yet.
        None if call
            .state
            .accepted
            .find(order_id, account_id)
            .await
            .is_some() => {}
        None => return Err(ApiError::not_found("order")),
    }
    let id = cancellation_id(order_id);
    accept::accept(&call, once(&call, id, order_id), |at| {
        let cancel = OrderCancel {
            account_id,
            order_id,
            requested_at: Some(at),
            reason,
        };
        Outgoing::entry(PUBLISHER, id, order_id, &cancel)
    })
    .await
}

/// Accepts that a resource is given up.
pub(crate) async fn terminate(call: Call) -> Result<Response, ApiError> {
    let (resource_id, account_id) = (call.id("resource")?, call.account()?);
    let reason = reason(&call)?;
    let known = resource::Entity::find_by_id(resource_id)
        .filter(resource::Column::AccountId.eq(account_id))
        .one(&call.state.db)
        .await?;
    let known = known.ok_or_else(|| ApiError::not_found("resource"))?;
    if known.state == ResourceState::Creating {
        return Err(ApiError::conflict(
            "The resource is still being created; its order can be cancelled.",
        ));
    }
    let id = termination_id(resource_id);
    accept::accept(&call, once(&call, id, resource_id), |at| {
        let terminate = ResourceTerminate {
            account_id,
            resource_id,
            requested_at: Some(at),
            reason,
        };
        Outgoing::entry(PUBLISHER, id, known.order_id, &terminate)
    })
    .await
}

/// What ends, ends once: asked for again it is the same request.
fn once(call: &Call, id: Uuid, subject_id: Uuid) -> Asked<'_> {
    Asked {
        id,
        keyed: true,
        sha256: sha256_of(&subject_id),
        location: requests::location(id),
        stored: &call.state.requests,
    }
}

fn reason(call: &Call) -> Result<Option<Name>, ApiError> {
    let mut fields = call.fields()?;
    let reason = fields.optional("reason");
    fields.finish(Some(reason))
}
