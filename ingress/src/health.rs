//! `GET /healthz`: the process lives. `GET /readyz`: whether it can do its work, and what of it not.

use std::time::Duration;

use broker::Health;
use schemars::JsonSchema;
use serde::Serialize;
use warp::http::StatusCode;
use warp::reply::Response;

use crate::call::Call;
use crate::error::ApiError;
use crate::reply;

/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// That the process lives.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Alive {
    /// `ok`.
    status: &'static str,
}

/// What works.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Readiness {
    /// `ready`, `degraded` or `unavailable`.
    status: &'static str,
    checks: Checks,
    /// What does not work.
    degraded: Vec<&'static str>,
}

/// The neighbours of the ingress.
#[derive(Serialize, JsonSchema)]
struct Checks {
    /// `up`, `blocked` or `down`.
    broker: &'static str,
    /// `up` or `down`.
    database: &'static str,
    /// `up` or `down`; null if each ingress is by itself.
    cache: Option<&'static str>,
}

/// The process lives.
pub(crate) async fn alive(_: Call) -> Result<Response, ApiError> {
    Ok(reply::json(StatusCode::OK, &Alive { status: "ok" }))
}

/// Ready while the broker takes orders. Without the database known credentials still place orders,
/// but nothing can be read: degraded.
pub(crate) async fn ready(call: Call) -> Result<Response, ApiError> {
    let (database, cache) = tokio::join!(
        tokio::time::timeout(PATIENCE, call.state.db.ping()),
        call.state.cache.is_up()
    );
    let database = matches!(database, Ok(Ok(())));
    let broker = call.state.publisher.health();
    let mut degraded = Vec::new();
    if !database {
        degraded.push("reading orders, invoices and resources");
        degraded.push("credentials that were not used in the last ten minutes");
    }
    if broker != Health::Up {
        degraded.push("placing orders");
    }
    if cache == Some(false) {
        degraded.push("sharing limits and accepted orders with other ingresses");
    }
    let (code, status) = match (broker, degraded.is_empty()) {
        (Health::Up, true) => (StatusCode::OK, "ready"),
        (Health::Up, false) => (StatusCode::OK, "degraded"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    let broker = match broker {
        Health::Up => "up",
        Health::Blocked => "blocked",
        Health::Down => "down",
    };
    let word = |up| if up { "up" } else { "down" };
    let body = Readiness {
        status,
        checks: Checks {
            broker,
            database: word(database),
            cache: cache.map(word),
        },
        degraded,
    };
    Ok(reply::json(code, &body))
}
