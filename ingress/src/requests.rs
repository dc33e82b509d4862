//! `GET /v1/requests`, `GET /v1/requests/{id}`: what became of something that was asked for.

use chrono::{DateTime, Utc};
use entity::request::{self, RequestStatus};
use schemars::JsonSchema;
use schemas::Problem;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde::Serialize;
use uuid::Uuid;
use warp::reply::Response;

use crate::State;
use crate::call::Call;
use crate::error::ApiError;
use crate::orders::text;
use crate::page::{Page, PageRequest};
use crate::schema::States;
use crate::{reply, wait};

/// Something that was asked for. In the moment between its acceptance and its intake only `id`,
/// `status` and `requested_at` are there.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Request")]
pub(crate) struct RequestItem {
    id: Uuid,
    #[schemars(with = "States<RequestStatus>")]
    status: String,
    /// The kind of message that asks for it: `order.cancel.v1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    /// The order, resource or invoice that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject_id: Option<Uuid>,
    /// Why it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// What it made.
    #[serde(skip_serializing_if = "Option::is_none")]
    result_id: Option<Uuid>,
    /// Why it was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
    requested_at: DateTime<Utc>,
    /// When it was done or rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_at: Option<DateTime<Utc>>,
    /// The trace of the request, to quote to support.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

/// Where it is shown what becomes of a request.
pub(crate) fn location(id: Uuid) -> String {
    format!("/v1/requests/{id}")
}

/// Lists the requests of the account.
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    use request::Column;
    let mut query = call.query();
    let page = PageRequest::read(&mut query);
    let status: Option<RequestStatus> = query.one_of("status");
    let subject = query.id("subject_id");
    let page = query.finish(page)?;
    let mut rows = request::Entity::find().filter(Column::AccountId.eq(call.account()?));
    if let Some(status) = status {
        rows = rows.filter(Column::Status.eq(status));
    }
    if let Some(subject) = subject {
        rows = rows.filter(Column::SubjectId.eq(subject));
    }
    let rows = page.of(rows, Column::RequestedAt, Column::Id);
    let rows = rows.all(&call.state.db).await?;
    Ok(reply::ok(&Page::new(
        rows,
        page,
        |row| (row.requested_at, row.id),
        |row| item(&row),
    )))
}

/// Shows one request; with `Prefer: wait=N` when it has changed.
pub(crate) async fn get(call: Call) -> Result<Response, ApiError> {
    let (id, account) = (call.id("request")?, call.account()?);
    wait::for_change(&call, || show(&call.state, id, account)).await
}

async fn show(state: &State, id: Uuid, account: Uuid) -> Result<Response, ApiError> {
    let found = request::Entity::find_by_id(id).one(&state.db).await;
    if let Ok(Some(row)) = &found {
        return match row.account_id == account {
            true => Ok(reply::ok(&item(row))),
            false => Err(ApiError::not_found("request")),
        };
    }
    match (found, state.accepted.find(id, account).await) {
        (_, Some(requested_at)) => Ok(reply::ok(&early(id, requested_at))),
        (Err(error), None) => Err(error.into()),
        _ => Err(ApiError::not_found("request")),
    }
}

pub(crate) fn early(id: Uuid, requested_at: DateTime<Utc>) -> RequestItem {
    RequestItem {
        id,
        status: text(&RequestStatus::Accepted),
        kind: None,
        subject_id: None,
        note: None,
        result_id: None,
        problem: None,
        requested_at,
        decided_at: None,
        trace_id: None,
    }
}

pub(crate) fn item(row: &request::Model) -> RequestItem {
    let problem = row.problem.as_deref();
    RequestItem {
        id: row.id,
        status: text(&row.status),
        kind: Some(row.kind.clone()),
        subject_id: row.subject_id,
        note: row.note.clone(),
        result_id: row.result_id,
        problem: problem.and_then(|json| serde_json::from_str(json).ok()),
        requested_at: row.requested_at,
        decided_at: row.decided_at,
        trace_id: row.trace_id.clone(),
    }
}
