//! `POST /v1/orders`, `GET /v1/orders`, `GET /v1/orders/{id}`.

use std::sync::Arc;
use std::time::Duration;

use broker::{Health, Outgoing, PublishError, crash_point};
use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use entity::order::{self, OrderState};
use entity::{invoice, order_event, resource, stage};
use schemas::Problem;
use schemas::order::{MAX_QUANTITY, OrderPlace, OrderRequest, order_id};
use schemas::problem::FieldError;
use schemas::values::{ExternalRef, InvalidValue};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;
use warp::http::{HeaderValue, StatusCode};
use warp::reply::Response;

use crate::State;
use crate::accepted::Request;
use crate::credentials::{Caller, Scope};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::page::{Page, PageQuery};
use crate::reply;
use crate::routes::Authorized;

/// How long the broker may take to confirm an order before the caller is told to come again.
pub(crate) const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);
/// Who publishes orders that come over HTTP.
const PUBLISHER: &str = "ingress";

const FIELDS: [&str; 6] = [
    "offering",
    "plan",
    "quantity",
    "region",
    "name",
    "external_ref",
];

/// The steps from order to mail, in their order.
const STAGES: [&str; 5] = ["place", "provision", "issue", "render", "deliver"];

/// Accepts an order: parse → publish, confirmed → 202.
pub(crate) async fn place(
    Authorized { caller, body }: Authorized,
    key: Option<String>,
    state: Arc<State>,
) -> Result<Response, ApiError> {
    caller.require(Scope::OrdersWrite)?;
    let request = parse(&body)?;
    let key = key
        .map(|key| key.parse::<ExternalRef>())
        .transpose()
        .map_err(|InvalidValue(reason)| {
            ApiError::invalid(vec![FieldError::new("Idempotency-Key", reason)])
        })?;
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
        return Ok(accepted(id, true));
    }
    if new && key.is_some() {
        match state.lookup.find(id).await {
            Some(stored) if stored != sha256 => {
                state.accepted.forget(id);
                return Err(ApiError::key_reused());
            }
            Some(_) => {
                state.accepted.confirm(id, asked);
                return Ok(accepted(id, true));
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
            state.accepted.confirm(id, asked);
            tracing::info!(order.id = %id, key.id = caller.key_id, "accepted order {id}");
            Ok(accepted(id, false))
        }
        Err(error) => {
            // Perhaps the broker has it all the same: then the same key finds it.
            state.accepted.forget(id);
            tracing::warn!(order.id = %id, "cannot accept order {id}: {error}");
            Err(refused(&state, &error))
        }
    }
}

fn parse(body: &[u8]) -> Result<OrderRequest, ApiError> {
    let mut fields = Fields::parse(body)?;
    let offering = fields.required("offering");
    let plan = fields.required("plan");
    let quantity = fields.integer("quantity", 1, MAX_QUANTITY, 1);
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
    fields.finish(request, &FIELDS)
}

fn accepted(id: Uuid, replayed: bool) -> Response {
    let location = format!("/v1/orders/{id}");
    let body = json!({ "id": id, "status": "accepted", "links": { "self": location } });
    let mut response = reply::json(StatusCode::ACCEPTED, &body);
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::from_str(&location) {
        headers.insert("location", location);
    }
    if replayed {
        headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    response
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

/// An order in a list.
#[derive(Serialize)]
struct OrderItem {
    id: Uuid,
    status: String,
    external_ref: Option<String>,
    offering: String,
    plan: String,
    quantity: i32,
    region: String,
    name: String,
    placed_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    completed_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
    trace_id: Option<String>,
    links: Value,
}

/// An order by itself: with everything that happened to it.
#[derive(Serialize)]
struct OrderDetails {
    #[serde(flatten)]
    order: OrderItem,
    stages: Vec<StageItem>,
    history: Vec<EventItem>,
    resource_ids: Vec<Uuid>,
    invoice_id: Option<Uuid>,
}

#[derive(Serialize)]
struct StageItem {
    name: &'static str,
    state: String,
    attempts: i32,
    next_attempt_at: Option<DateTime<Utc>>,
    last_error: Option<String>,
}

#[derive(Serialize)]
struct EventItem {
    version: i32,
    state: String,
    at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// The query parameters of the list.
#[derive(Deserialize)]
pub(crate) struct ListQuery {
    status: Option<String>,
    #[serde(flatten)]
    page: PageQuery,
}

/// Lists the orders of the account.
pub(crate) async fn list(
    caller: Caller,
    query: ListQuery,
    state: Arc<State>,
) -> Result<Response, ApiError> {
    use sea_orm::{ActiveEnum, Iterable};
    caller.require(Scope::OrdersRead)?;
    let page = query.page.parse()?;
    let mut rows = order::Entity::find().filter(order::Column::AccountId.eq(caller.account_id));
    if let Some(status) = query.status {
        let known = OrderState::try_from_value(&status).map_err(|_| {
            let names: Vec<_> = OrderState::iter().map(|state| state.to_value()).collect();
            ApiError::invalid(vec![FieldError::new(
                "status",
                format!("must be one of {}", names.join(", ")),
            )])
        })?;
        rows = rows.filter(order::Column::State.eq(known));
    }
    if let Some(condition) = page.condition(order::Column::PlacedAt, order::Column::Id) {
        rows = rows.filter(condition);
    }
    let rows = rows
        .order_by_desc(order::Column::PlacedAt)
        .order_by_desc(order::Column::Id)
        .limit(page.limit + 1)
        .all(&state.db)
        .await?;
    Ok(reply::ok(&Page::new(
        rows,
        page,
        |row| (row.placed_at, row.id),
        item,
    )))
}

/// Shows one order. Right after it was accepted it may not be in the database yet.
pub(crate) async fn get(id: Uuid, caller: Caller, state: Arc<State>) -> Result<Response, ApiError> {
    caller.require(Scope::OrdersRead)?;
    let order = order::Entity::find_by_id(id).one(&state.db).await;
    let order = match (order, state.accepted.find(id, caller.account_id)) {
        (Ok(Some(order)), _) if order.account_id == caller.account_id => order,
        (Ok(None) | Err(_), Some(placed_at)) => {
            return Ok(reply::ok(&json!({
                "id": id,
                "status": "accepted",
                "placed_at": placed_at,
                "trace_id": null,
                "stages": stage_items(&[]),
                "history": [{ "version": 1, "state": "accepted", "at": placed_at }],
                "resource_ids": [],
                "invoice_id": null,
                "links": { "self": format!("/v1/orders/{id}") },
            })));
        }
        (Err(error), None) => return Err(error.into()),
        _ => return Err(ApiError::not_found("order")),
    };
    let resource_ids: Vec<Uuid> = resource::Entity::find()
        .filter(resource::Column::OrderId.eq(id))
        .order_by_asc(resource::Column::Ordinal)
        .select_only()
        .column(resource::Column::Id)
        .into_tuple()
        .all(&state.db)
        .await?;
    let invoice_id: Option<Uuid> = invoice::Entity::find()
        .filter(invoice::Column::OrderId.eq(id))
        .select_only()
        .column(invoice::Column::Id)
        .into_tuple()
        .one(&state.db)
        .await?;
    let subjects = [Some(id), invoice_id].into_iter().flatten();
    let stages = stage::Entity::find()
        .filter(stage::Column::SubjectId.is_in(subjects))
        .all(&state.db)
        .await?;
    let history = order_event::Entity::find()
        .filter(order_event::Column::OrderId.eq(id))
        .order_by_asc(order_event::Column::Version)
        .all(&state.db)
        .await?;
    let mut order = item(order);
    let resource_links: Vec<_> = resource_ids
        .iter()
        .map(|id| format!("/v1/resources/{id}"))
        .collect();
    order.links["resources"] = resource_links.into();
    if let Some(invoice_id) = invoice_id {
        order.links["invoice"] = format!("/v1/invoices/{invoice_id}").into();
        order.links["pdf"] = format!("/v1/invoices/{invoice_id}/pdf").into();
    }
    let history = history.into_iter().map(|event| EventItem {
        version: event.version,
        state: text(&event.state),
        at: event.at,
        note: event.note,
    });
    let details = OrderDetails {
        order,
        stages: stage_items(&stages),
        history: history.collect(),
        resource_ids,
        invoice_id,
    };
    Ok(reply::ok(&details))
}

fn item(order: order::Model) -> OrderItem {
    OrderItem {
        id: order.id,
        status: text(&order.state),
        external_ref: order.external_ref,
        offering: order.offering,
        plan: order.plan,
        quantity: order.quantity,
        region: order.region,
        name: order.name,
        placed_at: order.placed_at,
        updated_at: order.updated_at,
        completed_at: order.completed_at,
        problem: order
            .problem
            .and_then(|json| serde_json::from_str(&json).ok()),
        trace_id: order.trace_id,
        links: json!({ "self": format!("/v1/orders/{}", order.id) }),
    }
}

/// Every stage in order, those without a row as pending.
fn stage_items(rows: &[stage::Model]) -> Vec<StageItem> {
    let item = |name| match rows.iter().find(|row| row.name == name) {
        Some(row) => StageItem {
            name,
            state: text(&row.state),
            attempts: row.attempts,
            next_attempt_at: row.next_attempt_at,
            last_error: row.last_error.clone(),
        },
        None => StageItem {
            name,
            state: text(&stage::StageState::Pending),
            attempts: 0,
            next_attempt_at: None,
            last_error: None,
        },
    };
    STAGES.map(item).into()
}

/// A state as it is called in the API, which is as it is stored.
pub(crate) fn text<S: sea_orm::ActiveEnum<Value = String>>(state: &S) -> String {
    state.to_value()
}
