//! `GET /v1/resources`, `GET /v1/resources/{id}`.

use chrono::{DateTime, Utc};
use entity::resource::{self, ResourceState};
use schemars::JsonSchema;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde::Serialize;
use uuid::Uuid;
use warp::reply::Response;

use crate::call::Call;
use crate::error::ApiError;
use crate::orders::text;
use crate::page::{Page, PageRequest};
use crate::reply;
use crate::schema::States;

/// A resource at a provider.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Resource")]
pub(crate) struct ResourceItem {
    id: Uuid,
    #[schemars(with = "States<ResourceState>")]
    status: String,
    name: String,
    provider: String,
    region: String,
    /// What the provider calls it.
    external_id: Option<String>,
    /// Its IP address.
    address: Option<String>,
    created_at: DateTime<Utc>,
    /// When it was first usable; from then on it is billed.
    activated_at: Option<DateTime<Utc>>,
    /// When the provider deleted it; until then it is billed.
    #[serde(skip_serializing_if = "Option::is_none")]
    terminated_at: Option<DateTime<Utc>>,
    updated_at: DateTime<Utc>,
    links: ResourceLinks,
}

/// Where a resource and its order are.
#[derive(Serialize, JsonSchema)]
struct ResourceLinks {
    #[serde(rename = "self")]
    own: String,
    order: String,
}

/// Lists the resources of the account.
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    let mut query = call.query();
    let page = PageRequest::read(&mut query);
    let page = query.finish(page)?;
    let rows = resource::Entity::find().filter(resource::Column::AccountId.eq(call.account()?));
    let rows = page.of(rows, resource::Column::CreatedAt, resource::Column::Id);
    let rows = rows.all(&call.state.db).await?;
    Ok(reply::ok(&Page::new(
        rows,
        page,
        |row| (row.created_at, row.id),
        item,
    )))
}

/// Shows one resource.
pub(crate) async fn get(call: Call) -> Result<Response, ApiError> {
    let found = resource::Entity::find_by_id(call.id("resource")?)
        .filter(resource::Column::AccountId.eq(call.account()?))
        .one(&call.state.db)
        .await?;
    let resource = found.ok_or_else(|| ApiError::not_found("resource"))?;
    Ok(reply::ok(&item(resource)))
}

fn item(resource: resource::Model) -> ResourceItem {
    ResourceItem {
        id: resource.id,
        status: text(&resource.state),
        name: resource.name,
        provider: resource.provider,
        region: resource.region,
        external_id: resource.external_id,
        address: resource.address,
        created_at: resource.created_at,
        activated_at: resource.activated_at,
        terminated_at: resource.terminated_at,
        updated_at: resource.updated_at,
        links: ResourceLinks {
            own: format!("/v1/resources/{}", resource.id),
            order: format!("/v1/orders/{}", resource.order_id),
        },
    }
}
