//! The HTTP side of the provider.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use warp::http::{Response, StatusCode};
use warp::{Filter, Rejection, Reply};

use super::state::{CreateFault, CreateServer, Faults, Server, State};

/// Longer than any client waits.
const HANG: Duration = Duration::from_secs(600);

/// The server types: name, cores, memory in GiB, price for a month in EUR.
const TYPES: [(&str, u32, u32, &str); 3] = [
    ("sim-s", 2, 4, "4.5100"),
    ("sim-m", 4, 8, "8.9600"),
    ("sim-l", 8, 16, "17.8300"),
];

type Answer = Result<Response<String>, Infallible>;

pub(super) fn routes(
    state: Arc<State>,
) -> impl Filter<Extract = (impl Reply,), Error = Infallible> + Clone + Send + Sync + 'static {
    let state = warp::any().map(move || state.clone());
    let down = warp::path("v1").and(state.clone()).and_then(unavailable);
    let stranger = warp::path("v1")
        .and(warp::header::optional::<String>("authorization"))
        .and(state.clone())
        .and_then(unauthorized);
    let types = warp::path!("v1" / "server-types")
        .and(warp::get())
        .and(state.clone())
        .then(list_types);
    let create = warp::path!("v1" / "servers")
        .and(warp::post())
        .and(warp::header::optional::<String>("idempotency-token"))
        .and(warp::body::json())
        .and(state.clone())
        .then(create);
    let list = warp::path!("v1" / "servers")
        .and(warp::get())
        .and(warp::query::<HashMap<String, String>>())
        .and(state.clone())
        .then(list);
    let get = warp::path!("v1" / "servers" / u64)
        .and(warp::get())
        .and(state.clone())
        .then(get);
    let delete = warp::path!("v1" / "servers" / u64)
        .and(warp::delete())
        .and(state.clone())
        .then(delete);
    let usage = warp::path!("v1" / "servers" / u64 / "usage")
        .and(warp::get())
        .and(state.clone())
        .then(usage);
    let action = warp::path!("v1" / "actions" / u64)
        .and(warp::get())
        .and(state.clone())
        .then(action);
    let faults = warp::path!("control" / "faults")
        .and(warp::get())
        .and(state.clone())
        .then(get_faults);
    let set_faults = warp::path!("control" / "faults")
        .and(warp::put())
        .and(warp::body::json())
        .and(state.clone())
        .then(set_faults);
    let ledger = warp::path!("control" / "ledger")
        .and(warp::get())
        .and(state)
        .then(ledger);
    down.or(stranger)
        .or(types)
        .or(create)
        .or(list)
        .or(get)
        .or(delete)
        .or(usage)
        .or(action)
        .or(faults)
        .or(set_faults)
        .or(ledger)
        .recover(refused)
}

/// Answers for a provider that is down, and leaves everything else to the others.
async fn unavailable(state: Arc<State>) -> Result<Response<String>, Rejection> {
    match state.faults().down {
        true => Ok(error(StatusCode::SERVICE_UNAVAILABLE, "fault", "down")),
        false => Err(warp::reject()),
    }
}

/// Answers whoever does not carry the token, if there is one.
async fn unauthorized(
    given: Option<String>,
    state: Arc<State>,
) -> Result<Response<String>, Rejection> {
    let token = state.faults().token.clone();
    match token.is_none_or(|token| given == Some(format!("Bearer {token}"))) {
        true => Err(warp::reject()),
        false => Ok(error(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "unable to authenticate",
        )),
    }
}

async fn refused(rejection: Rejection) -> Answer {
    let (status, message) = match rejection.find::<warp::body::BodyDeserializeError>() {
        Some(error) => (StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
        None => (StatusCode::NOT_FOUND, "no such resource".to_owned()),
    };
    Ok(error(status, "invalid_input", &message))
}

fn answer(status: StatusCode, body: &Value) -> Response<String> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(body.to_string())
        .unwrap_or_default()
}

fn error(status: StatusCode, code: &str, message: &str) -> Response<String> {
    answer(
        status,
        &json!({ "error": { "code": code, "message": message } }),
    )
}

fn server_json(server: &Server) -> Value {
    let created = &server.created;
    let [_, a, b, c] = u32::try_from(created.id).unwrap_or(0).to_be_bytes();
    json!({
        "id": created.id,
        "name": created.name,
        "server_type": created.server_type,
        "region": created.region,
        "labels": created.labels,
        "client_token": created.client_token,
        "status": server.status(),
        "address": format!("10.{a}.{b}.{c}"),
        "created": created.at,
    })
}

fn action_json(server: &Server) -> Value {
    let error = (server.action_status() == "error").then(
        || json!({ "code": "placement_error", "message": "no host has room for this server" }),
    );
    json!({ "id": server.created.id, "command": "create_server", "status": server.action_status(), "error": error })
}

fn deletion_json(id: u64, at: DateTime<Utc>) -> Value {
    json!({ "id": id, "command": "delete_server", "status": "success", "finished": at, "error": null })
}

async fn delayed(state: &State) {
    let latency = state.faults().latency_ms;
    tokio::time::sleep(Duration::from_millis(latency)).await;
}

async fn list_types(state: Arc<State>) -> Response<String> {
    delayed(&state).await;
    let types: Vec<_> = TYPES
        .iter()
        .map(|(name, cores, memory, monthly)| {
            json!({ "name": name, "cores": cores, "memory_gib": memory,
                    "price": { "currency": "EUR", "monthly_net": monthly } })
        })
        .collect();
    answer(StatusCode::OK, &json!({ "server_types": types }))
}

async fn create(
    token: Option<String>,
    request: CreateServer,
    state: Arc<State>,
) -> Response<String> {
    delayed(&state).await;
    if !TYPES.iter().any(|(name, ..)| *name == request.server_type) {
        let message = format!("there is no server type {}", request.server_type);
        return error(StatusCode::UNPROCESSABLE_ENTITY, "invalid_input", &message);
    }
    let fault = state.faults().create.pop_front();
    let effect = match &fault {
        None | Some(CreateFault::ActionFails | CreateFault::Truncated) => true,
        Some(CreateFault::Status { after_effect, .. } | CreateFault::Hang { after_effect }) => {
            *after_effect
        }
    };
    let mut created = None;
    if effect {
        let fails = fault == Some(CreateFault::ActionFails);
        match state.create(request, token, fails) {
            Ok(server) => created = Some(server),
            Err(failed) => {
                return error(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "server_error",
                    &failed.to_string(),
                );
            }
        }
    }
    let body = created
        .map(|server| json!({ "server": server_json(&server), "action": action_json(&server) }));
    match fault {
        Some(CreateFault::Status {
            status,
            retry_after,
            ..
        }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = error(status, "fault", "switched on");
            if let Some(seconds) = retry_after {
                response.headers_mut().insert("retry-after", seconds.into());
            }
            response
        }
        Some(CreateFault::Hang { .. }) => {
            tokio::time::sleep(HANG).await;
            error(StatusCode::GATEWAY_TIMEOUT, "fault", "hung")
        }
        Some(CreateFault::Truncated) => {
            let whole = body.unwrap_or_default().to_string();
            let half: String = whole.chars().take(whole.len() / 2).collect();
            let mut response = answer(StatusCode::ACCEPTED, &Value::Null);
            *response.body_mut() = half;
            response
        }
        Some(CreateFault::ActionFails) | None => {
            answer(StatusCode::ACCEPTED, &body.unwrap_or_default())
        }
    }
}

async fn list(query: HashMap<String, String>, state: Arc<State>) -> Response<String> {
    delayed(&state).await;
    let wanted = |server: &&Server| {
        let created = &server.created;
        let label = query.get("label").and_then(|label| label.split_once('='));
        server.listed()
            && query.get("name").is_none_or(|name| *name == created.name)
            && query
                .get("client_token")
                .is_none_or(|token| Some(token) == created.client_token.as_ref())
            && label
                .is_none_or(|(key, value)| created.labels.get(key).is_some_and(|has| has == value))
    };
    let servers: Vec<_> = state
        .servers()
        .by_id
        .values()
        .filter(wanted)
        .map(server_json)
        .collect();
    answer(StatusCode::OK, &json!({ "servers": servers }))
}

fn found(server: Option<&Server>, body: impl FnOnce(&Server) -> Value) -> Response<String> {
    match server {
        Some(server) => answer(StatusCode::OK, &body(server)),
        None => error(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is no such server",
        ),
    }
}

async fn get(id: u64, state: Arc<State>) -> Response<String> {
    delayed(&state).await;
    found(
        state.servers().by_id.get(&id),
        |server| json!({ "server": server_json(server) }),
    )
}

async fn delete(id: u64, state: Arc<State>) -> Response<String> {
    delayed(&state).await;
    let fault = state.faults().delete.pop_front();
    let effect = match &fault {
        Some(CreateFault::Status { after_effect, .. } | CreateFault::Hang { after_effect }) => {
            *after_effect
        }
        _ => true,
    };
    let deleted = if effect { state.delete(id) } else { Ok(None) };
    match (fault, deleted) {
        (Some(CreateFault::Status { status, .. }), _) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            error(status, "fault", "switched on")
        }
        (Some(CreateFault::Hang { .. }), _) => {
            tokio::time::sleep(HANG).await;
            error(StatusCode::GATEWAY_TIMEOUT, "fault", "hung")
        }
        (_, Ok(Some(at))) => answer(StatusCode::OK, &json!({ "action": deletion_json(id, at) })),
        (_, Ok(None)) => error(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is no such server",
        ),
        (_, Err(failed)) => error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            &failed.to_string(),
        ),
    }
}

async fn usage(id: u64, state: Arc<State>) -> Response<String> {
    delayed(&state).await;
    // Traffic grows with age, so that two readings differ and never shrink.
    found(state.servers().by_id.get(&id), |server| {
        let age = (chrono::Utc::now() - server.created.at)
            .num_seconds()
            .max(0);
        json!({ "usage": [{ "meter": "traffic", "unit": "GiB", "quantity": format!("{}.{:03}", age / 1000, age % 1000) }] })
    })
}

async fn action(id: u64, state: Arc<State>) -> Response<String> {
    delayed(&state).await;
    let servers = state.servers();
    match servers.deleted.get(&id) {
        Some(at) => answer(StatusCode::OK, &json!({ "action": deletion_json(id, *at) })),
        None => found(
            servers.by_id.get(&id),
            |server| json!({ "action": action_json(server) }),
        ),
    }
}

async fn get_faults(state: Arc<State>) -> Response<String> {
    answer(StatusCode::OK, &json!(*state.faults()))
}

async fn set_faults(faults: Faults, state: Arc<State>) -> Response<String> {
    *state.faults() = faults;
    answer(StatusCode::OK, &json!({}))
}

async fn ledger(state: Arc<State>) -> Response<String> {
    answer(
        StatusCode::OK,
        &json!({ "entries": state.ledger.entries() }),
    )
}
