//! `GET /v1/resources`, `GET /v1/resources/{id}`.

use std::sync::Arc;

use entity::resource;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde_json::{Value, json};
use uuid::Uuid;
use warp::reply::Response;

use crate::State;
use crate::credentials::{Caller, Scope};
use crate::error::ApiError;
use crate::orders::text;
use crate::page::{Page, PageQuery};
use crate::reply;

/// Lists the resources of the account.
pub(crate) async fn list(
    caller: Caller,
    query: PageQuery,
    state: Arc<State>,
) -> Result<Response, ApiError> {
    caller.require(Scope::ResourcesRead)?;
    let page = query.parse()?;
    let mut rows =
        resource::Entity::find().filter(resource::Column::AccountId.eq(caller.account_id));
    if let Some(condition) = page.condition(resource::Column::CreatedAt, resource::Column::Id) {
        rows = rows.filter(condition);
    }
    let rows = rows
        .order_by_desc(resource::Column::CreatedAt)
        .order_by_desc(resource::Column::Id)
        .limit(page.limit + 1)
        .all(&state.db)
        .await?;
    Ok(reply::ok(&Page::new(
        rows,
        page,
        |row| (row.created_at, row.id),
        |row| item(&row),
    )))
}

/// Shows one resource.
pub(crate) async fn get(id: Uuid, caller: Caller, state: Arc<State>) -> Result<Response, ApiError> {
    caller.require(Scope::ResourcesRead)?;
    let found = resource::Entity::find_by_id(id)
        .filter(resource::Column::AccountId.eq(caller.account_id))
        .one(&state.db)
        .await?;
    let resource = found.ok_or_else(|| ApiError::not_found("resource"))?;
    Ok(reply::ok(&item(&resource)))
}

fn item(resource: &resource::Model) -> Value {
    json!({
        "id": resource.id,
        "status": text(&resource.state),
        "name": resource.name,
        "provider": resource.provider,
        "region": resource.region,
        "external_id": resource.external_id,
        "address": resource.address,
        "created_at": resource.created_at,
        "activated_at": resource.activated_at,
        "updated_at": resource.updated_at,
        "links": {
            "self": format!("/v1/resources/{}", resource.id),
            "order": format!("/v1/orders/{}", resource.order_id),
        },
    })
}
