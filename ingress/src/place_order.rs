//! `POST /v1/orders`.

use std::time::Duration;

use broker::{Health, Outgoing, PublishError, crash_point};
use chrono::Utc;
use data_encoding::HEXLOWER;
use schemars::JsonSchema;
use schemas::order::{MAX_QUANTITY, OrderPlace, OrderRequest, order_id};
use schemas::values::{ExternalRef, InvalidValue};
use serde::Serialize;
use uuid::Uuid;
use warp::http::StatusCode;
use warp::http::header::LOCATION;
use warp::reply::Response;

use crate::State;
use crate::accepted::Request;
use crate::call::Call;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::reply;

/// How long the broker may take to confirm an order before the caller is told to come again.
pub(crate) const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);
/// Who publishes orders that come over HTTP.
const PUBLISHER: &str = "ingress";

/// Accepts an order: parse → publish, confirmed → 202.
pub(crate) async fn place(call: Call) -> Result<Response, ApiError> {
    let (state, caller) = (&call.state, call.caller()?);
    let request = parse(call.fields()?)?;
    let key = call.header("Idempotency-Key")?;
    let key = key.map(str::parse::<ExternalRef>).transpose();
    let key =
        key.map_err(|InvalidValue(reason)| ApiError::wrong_field("Idempotency-Key", reason))?;
    // Without a key the caller's own reference, if any, makes the request repeatable.
    let key = key.or_else(|| request.external_ref.clone());
    let id = order_id(caller.account_id, key.as_ref());
    let sha256 = request.sha256();

    let hash = HEXLOWER.decode(sha256.as_bytes()).ok();
    let hash = hash.and_then(|hash| hash.try_into().ok());
    let asked = Request::new(caller.account_id, hash.unwrap_or_default(), Utc::now());
    let wanted = asked.sha256;
    // Of the same at the same time both are published, under one id.
    let (asked, new) = state.accepted.begin(id, asked);
    if asked.sha256 != wanted {
        return Err(ApiError::key_reused());
    }
    if asked.is_confirmed() {
        return accepted(id, true);
    }
    if new && key.is_some() {
        let (stored, elsewhere) = tokio::join!(state.lookup.find(id), state.accepted.elsewhere(id));
        match stored.or_else(|| elsewhere.map(|hash| HEXLOWER.encode(&hash))) {
            Some(stored) if stored != sha256 => {
                state.accepted.forget(id);
                return Err(ApiError::key_reused());
            }
            Some(_) => {
                state.accepted.confirm(id, asked).await;
                return accepted(id, true);
            }
            None => {}
        }
    }

    let place = OrderPlace {
        order_id: Some(id),
        account_id: caller.account_id,
        placed_at: Some(asked.placed_at),
        request,
    };
    let outgoing = Outgoing::entry(PUBLISHER, id, id, &place);
    match state.publisher.publish(&outgoing).await {
        Ok(()) => {
            crash_point("ingress.confirmed");
            state.accepted.confirm(id, asked).await;
            tracing::info!(order.id = %id, key.id = caller.key_id, "accepted order {id}");
            accepted(id, false)
        }
        Err(error) => {
            // Perhaps the broker has it all the same: then the same key finds it.
            state.accepted.forget(id);
            tracing::warn!(order.id = %id, "cannot accept order {id}: {error}");
            Err(refused(state, &error))
        }
    }
}

fn parse(mut fields: Fields) -> Result<OrderRequest, ApiError> {
    let offering = fields.required("offering");
    let plan = fields.required("plan");
    let quantity = fields.integer("quantity", (1, MAX_QUANTITY), 1);
    let region = fields.required("region");
    let name = fields.required("name");
    let external_ref = fields.optional("external_ref");
    let request = (|| {
        Some(OrderRequest {
            offering: offering?,
            plan: plan?,
            quantity: quantity?,
            region: region?,
            name: name?,
            external_ref,
        })
    })();
    fields.finish(request)
}

/// A request that was accepted. What becomes of it is shown at its address.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Accepted {
    id: Uuid,
    /// `accepted`.
    status: &'static str,
    links: SelfLink,
}

/// Where a thing is.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SelfLink {
    #[serde(rename = "self")]
    own: String,
}

fn accepted(id: Uuid, replayed: bool) -> Result<Response, ApiError> {
    let location = format!("/v1/orders/{id}");
    let body = Accepted {
        id,
        status: "accepted",
        links: SelfLink {
            own: location.clone(),
        },
    };
    let mut response = reply::json(StatusCode::ACCEPTED, &body);
    reply::set(&mut response, LOCATION, &location);
    if replayed {
        reply::set(&mut response, "idempotency-replayed", "true");
    }
    Ok(response)
}

fn refused(state: &State, error: &PublishError) -> ApiError {
    let why = match (error, state.publisher.health()) {
        (PublishError::Unroutable(_), _) => {
            "Orders cannot be taken in: the system is not completely set up."
        }
        (_, Health::Blocked) => "Orders cannot be taken in: the broker is full.",
        _ => "Orders cannot be taken in at the moment.",
    };
    ApiError::unavailable(format!(
        "{why} Nothing was accepted; try again with the same Idempotency-Key."
    ))
}
