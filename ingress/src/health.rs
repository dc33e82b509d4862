//! `GET /healthz`: the process lives. `GET /readyz`: whether it can do its work, and what of it not.

use std::sync::Arc;
use std::time::Duration;

use broker::Health;
use serde_json::json;
use warp::http::StatusCode;
use warp::reply::Response;

use crate::State;
use crate::reply;

/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The process lives.
pub(crate) fn alive() -> Response {
    reply::ok(&json!({ "status": "ok" }))
}

/// Ready while the broker takes orders. Without the database known credentials still place orders,
/// but nothing can be read: degraded.
pub(crate) async fn ready(state: Arc<State>) -> Response {
    let database = tokio::time::timeout(PATIENCE, state.db.ping()).await;
    let database = matches!(database, Ok(Ok(())));
    let broker = state.publisher.health();
    let mut degraded = Vec::new();
    if !database {
        degraded.push("reading orders, invoices and resources");
        degraded.push("credentials that were not used in the last ten minutes");
    }
    if broker != Health::Up {
        degraded.push("placing orders");
    }
    let (status, word) = match (broker, database) {
        (Health::Up, true) => (StatusCode::OK, "ready"),
        (Health::Up, false) => (StatusCode::OK, "degraded"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    let broker = match broker {
        Health::Up => "up",
        Health::Blocked => "blocked",
        Health::Down => "down",
    };
    let body = json!({
        "status": word,
        "checks": { "broker": broker, "database": if database { "up" } else { "down" } },
        "degraded": degraded,
    });
    reply::json(status, &body)
}
