//! Accepts a request that becomes a message: publish, confirmed → 202. The same request under the same
//! key is accepted once, whichever way and however often it comes.

use std::time::Duration;

use broker::{Health, Outgoing, PublishError, crash_point};
use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use schemars::JsonSchema;
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
use crate::lookup::Lookup;
use crate::reply;

/// How long the broker may take to confirm a request before the caller is told to come again.
pub(crate) const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);
/// Who publishes what comes over HTTP.
pub(crate) const PUBLISHER: &str = "ingress";

/// A request to be accepted.
pub(crate) struct Asked<'a> {
    /// What it makes: its id follows from the key, if there is one.
    pub(crate) id: Uuid,
    /// Whether it has a key, under which it may have come before.
    pub(crate) keyed: bool,
    /// Hash of what is asked for.
    pub(crate) sha256: String,
    /// Where it is shown what becomes of it.
    pub(crate) location: String,
    /// Finds what was stored under the id.
    pub(crate) stored: &'a Lookup,
}

/// A request that was accepted. What becomes of it is shown at its address.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Accepted {
    id: Uuid,
    /// `accepted`.
    status: &'static str,
    links: SelfLink,
}

/// Where something is.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SelfLink {
    #[serde(rename = "self")]
    own: String,
}

/// The key of a request: the header `Idempotency-Key`, or else the caller's own reference.
///
/// # Errors
/// 422 when the header cannot be a key.
pub(crate) fn key(
    call: &Call,
    reference: Option<&ExternalRef>,
) -> Result<Option<ExternalRef>, ApiError> {
    let key = call.header("Idempotency-Key")?;
    let key = key.map(str::parse::<ExternalRef>).transpose();
    let key =
        key.map_err(|InvalidValue(reason)| ApiError::wrong_field("Idempotency-Key", reason))?;
    Ok(key.or_else(|| reference.cloned()))
}

/// The key of a request that is its reference at the same time: there are not two.
///
/// # Errors
/// 422 when there are two, or one cannot be a key.
pub(crate) fn one_key(
    call: &Call,
    reference: Option<&ExternalRef>,
) -> Result<Option<ExternalRef>, ApiError> {
    let key = key(call, reference)?;
    match reference.is_none_or(|reference| key.as_ref() == Some(reference)) {
        true => Ok(key),
        false => Err(ApiError::wrong_field(
            "external_ref",
            "must be the Idempotency-Key, if there is one",
        )),
    }
}

/// Publishes the message of a request, made from the time it was accepted at.
///
/// # Errors
/// 422 when the key belongs to another request, 503 when the broker does not confirm.
pub(crate) async fn accept(
    call: &Call,
    asked: Asked<'_>,
    message: impl FnOnce(DateTime<Utc>) -> Outgoing,
) -> Result<Response, ApiError> {
    let (state, caller) = (&call.state, call.caller()?);
    let Asked { id, sha256, .. } = &asked;
    let id = *id;
    let hash = HEXLOWER.decode(sha256.as_bytes()).ok();
    let hash = hash.and_then(|hash| hash.try_into().ok());
    let request = Request::new(caller.account_id, hash.unwrap_or_default(), Utc::now());
    let wanted = request.sha256;
    // Of the same at the same time both are published, under one id.
    let (request, new) = state.accepted.begin(id, request);
    if request.sha256 != wanted {
        return Err(ApiError::key_reused());
    }
    if request.is_confirmed() {
        return accepted(&asked, true);
    }
    if new && asked.keyed {
        let (stored, elsewhere) = tokio::join!(asked.stored.find(id), state.accepted.elsewhere(id));
        match stored.or_else(|| elsewhere.map(|hash| HEXLOWER.encode(&hash))) {
            Some(stored) if stored != *sha256 => {
                state.accepted.forget(id);
                return Err(ApiError::key_reused());
            }
            Some(_) => {
                state.accepted.confirm(id, request).await;
                return accepted(&asked, true);
            }
            None => {}
        }
    }
    let outgoing = message(request.accepted_at);
    let kind = outgoing.kind;
    match state.publisher.publish(&outgoing).await {
        Ok(()) => {
            crash_point("ingress.confirmed");
            state.accepted.confirm(id, request).await;
            tracing::info!(request.id = %id, key.id = caller.key_id, "accepted {kind} {id}");
            accepted(&asked, false)
        }
        Err(error) => {
            // Perhaps the broker has it all the same: then the same key finds it.
            state.accepted.forget(id);
            tracing::warn!(request.id = %id, "cannot accept {kind} {id}: {error}");
            Err(refused(state, &error))
        }
    }
}

fn accepted(asked: &Asked<'_>, replayed: bool) -> Result<Response, ApiError> {
    let body = Accepted {
        id: asked.id,
        status: "accepted",
        links: SelfLink {
            own: asked.location.clone(),
        },
    };
    let mut response = reply::json(StatusCode::ACCEPTED, &body);
    reply::set(&mut response, LOCATION, &asked.location);
    if replayed {
        reply::set(&mut response, "idempotency-replayed", "true");
    }
    Ok(response)
}

fn refused(state: &State, error: &PublishError) -> ApiError {
    let why = match (error, state.publisher.health()) {
        (PublishError::Unroutable(_), _) => {
            "Requests cannot be taken in: the system is not completely set up."
        }
        (_, Health::Blocked) => "Requests cannot be taken in: the broker is full.",
        _ => "Requests cannot be taken in at the moment.",
    };
    ApiError::unavailable(format!(
        "{why} Nothing was accepted; try again with the same Idempotency-Key."
    ))
}
