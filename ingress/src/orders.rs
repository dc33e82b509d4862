//! `GET /v1/orders`, `GET /v1/orders/{id}`.

use chrono::{DateTime, Utc};
use entity::order::{self, OrderState};
use entity::stage::{self, StageState};
use entity::{invoice, order_event, resource};
use schemars::JsonSchema;
use schemas::Problem;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::Serialize;
use uuid::Uuid;
use warp::reply::Response;

use crate::State;
use crate::call::Call;
use crate::error::ApiError;
use crate::page::{Page, PageRequest};
use crate::schema::States;
use crate::{reply, wait};

/// The steps from order to mail, in their order.
const STAGES: [&str; 5] = ["place", "provision", "issue", "render", "deliver"];

/// An order. In the moment between its acceptance and its intake only `id`, `status`, `placed_at` and
/// `links` are there.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OrderSummary")]
pub(crate) struct OrderItem {
    id: Uuid,
    #[schemars(with = "States<OrderState>")]
    status: String,
    /// The caller's own reference.
    external_ref: Option<String>,
    #[serde(flatten)]
    asked: Option<Asked>,
    placed_at: DateTime<Utc>,
    completed_at: Option<DateTime<Utc>>,
    /// Why it was rejected or has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
    /// The trace of the request, to quote to support.
    trace_id: Option<String>,
    links: OrderLinks,
}

/// What was ordered.
#[derive(Serialize, JsonSchema)]
struct Asked {
    offering: String,
    plan: String,
    quantity: i32,
    region: String,
    name: String,
    updated_at: DateTime<Utc>,
}

/// Where an order and what it made are.
#[derive(Default, Serialize, JsonSchema)]
struct OrderLinks {
    #[serde(rename = "self")]
    own: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invoice: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pdf: Option<String>,
}

/// An order with everything that happened to it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Order")]
pub(crate) struct OrderDetails {
    #[serde(flatten)]
    order: OrderItem,
    /// The steps from the order to the mail, in their order.
    stages: Vec<StageItem>,
    /// Every state that it was in.
    history: Vec<EventItem>,
    resource_ids: Vec<Uuid>,
    invoice_id: Option<Uuid>,
}

/// How far one step is.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Stage")]
pub(crate) struct StageItem {
    /// `place`, `provision`, `issue`, `render` or `deliver`.
    name: &'static str,
    #[schemars(with = "States<StageState>")]
    state: String,
    attempts: i32,
    /// When it is tried again by itself.
    next_attempt_at: Option<DateTime<Utc>>,
    last_error: Option<String>,
}

/// One state that an order was in.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OrderEvent")]
struct EventItem {
    /// Counts from 1.
    version: i32,
    #[schemars(with = "States<OrderState>")]
    state: String,
    at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// Lists the orders of the account.
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    let mut query = call.query();
    let page = PageRequest::read(&mut query);
    let status: Option<OrderState> = query.one_of("status");
    let page = query.finish(page)?;
    let mut rows = order::Entity::find().filter(order::Column::AccountId.eq(call.account()?));
    if let Some(status) = status {
        rows = rows.filter(order::Column::State.eq(status));
    }
    let rows = page.of(rows, order::Column::PlacedAt, order::Column::Id);
    let rows = rows.all(&call.state.db).await?;
    Ok(reply::ok(&Page::new(
        rows,
        page,
        |row| (row.placed_at, row.id),
        item,
    )))
}

/// Shows one order; with `Prefer: wait=N` when it has changed.
pub(crate) async fn get(call: Call) -> Result<Response, ApiError> {
    let (id, account) = (call.id("order")?, call.account()?);
    wait::for_change(&call, || show(&call.state, id, account)).await
}

/// Right after an order was accepted it may not be in the database yet.
async fn show(state: &State, id: Uuid, account: Uuid) -> Result<Response, ApiError> {
    let order = order::Entity::find_by_id(id).one(&state.db).await;
    let order = match &order {
        Ok(Some(_)) => (order, None),
        _ => (order, state.accepted.find(id, account).await),
    };
    let order = match order {
        (Ok(Some(order)), _) if order.account_id == account => order,
        (Ok(None) | Err(_), Some(placed_at)) => return Ok(reply::ok(&early(id, placed_at))),
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
    let resource_link = |id: &Uuid| format!("/v1/resources/{id}");
    order.links.resources = Some(resource_ids.iter().map(resource_link).collect());
    order.links.invoice = invoice_id.map(|id| format!("/v1/invoices/{id}"));
    order.links.pdf = invoice_id.map(|id| format!("/v1/invoices/{id}/pdf"));
    let history = history.into_iter().map(|event| EventItem {
        version: event.version,
        state: text(&event.state),
        at: event.at,
        note: event.note,
    });
    Ok(reply::ok(&OrderDetails {
        order,
        stages: stage_items(&STAGES, &stages),
        history: history.collect(),
        resource_ids,
        invoice_id,
    }))
}

/// An order that is accepted, and that no worker has taken in yet.
fn early(id: Uuid, placed_at: DateTime<Utc>) -> OrderDetails {
    let status = text(&OrderState::Accepted);
    OrderDetails {
        order: OrderItem {
            id,
            status: status.clone(),
            external_ref: None,
            asked: None,
            placed_at,
            completed_at: None,
            problem: None,
            trace_id: None,
            links: OrderLinks {
                own: format!("/v1/orders/{id}"),
                ..OrderLinks::default()
            },
        },
        stages: stage_items(&STAGES, &[]),
        history: vec![EventItem {
            version: 1,
            state: status,
            at: placed_at,
            note: None,
        }],
        resource_ids: Vec::new(),
        invoice_id: None,
    }
}

fn item(order: order::Model) -> OrderItem {
    OrderItem {
        id: order.id,
        status: text(&order.state),
        external_ref: order.external_ref,
        asked: Some(Asked {
            offering: order.offering,
            plan: order.plan,
            quantity: order.quantity,
            region: order.region,
            name: order.name,
            updated_at: order.updated_at,
        }),
        placed_at: order.placed_at,
        completed_at: order.completed_at,
        problem: order
            .problem
            .and_then(|json| serde_json::from_str(&json).ok()),
        trace_id: order.trace_id,
        links: OrderLinks {
            own: format!("/v1/orders/{}", order.id),
            ..OrderLinks::default()
        },
    }
}

/// Every stage in order, those without a row as pending.
pub(crate) fn stage_items(names: &[&'static str], rows: &[stage::Model]) -> Vec<StageItem> {
    let item = |name: &&'static str| match rows.iter().find(|row| row.name == *name) {
        Some(row) => StageItem {
            name,
            state: text(&row.state),
            attempts: row.attempts,
            next_attempt_at: row.next_attempt_at,
            last_error: row.last_error.clone(),
        },
        None => StageItem {
            name,
            state: text(&StageState::Pending),
            attempts: 0,
            next_attempt_at: None,
            last_error: None,
        },
    };
    names.iter().map(item).collect()
}

/// A state as it is called in the API, which is as it is stored.
pub(crate) fn text<S: sea_orm::ActiveEnum<Value = String>>(state: &S) -> String {
    state.to_value()
}
