//! `GET /v1/offerings`: what can be ordered, at the prices of the account's currency.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::Utc;
use entity::{account, offering, plan, price};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use serde_json::{Value, json};
use warp::reply::Response;

use crate::State;
use crate::credentials::Caller;
use crate::error::ApiError;
use crate::orders::text;
use crate::reply;

/// Lists every offering with its plans and prices. Any key may.
pub(crate) async fn list(caller: Caller, state: Arc<State>) -> Result<Response, ApiError> {
    let account = account::Entity::find_by_id(caller.account_id)
        .one(&state.db)
        .await?;
    let currency = account
        .ok_or_else(|| ApiError::not_found("account"))?
        .currency;
    let offerings = offering::Entity::find()
        .filter(offering::Column::Active.eq(true))
        .order_by_asc(offering::Column::Code)
        .all(&state.db)
        .await?;
    let plans = plan::Entity::find()
        .filter(plan::Column::Active.eq(true))
        .order_by_asc(plan::Column::Code)
        .all(&state.db)
        .await?;
    let prices = price::Entity::find()
        .filter(price::Column::Currency.eq(&currency))
        .filter(price::Column::ValidFrom.lte(Utc::now()))
        .order_by_asc(price::Column::ValidFrom)
        .all(&state.db)
        .await?;
    // The newest of each component wins.
    let mut current: BTreeMap<_, BTreeMap<String, Value>> = BTreeMap::new();
    for price in prices {
        let item = json!({
            "component": price.component,
            "description": price.description,
            "charge": text(&price.charge),
            "unit_price": price.unit_price,
            "currency": price.currency,
        });
        current
            .entry(price.plan_id)
            .or_default()
            .insert(price.component, item);
    }
    let plan_item = |plan: &plan::Model| {
        let prices: Vec<_> = current
            .get(&plan.id)
            .into_iter()
            .flat_map(BTreeMap::values)
            .collect();
        json!({ "code": plan.code, "name": plan.name, "prices": prices })
    };
    let offering_item = |offering: &offering::Model| {
        let plans: Vec<_> = plans
            .iter()
            .filter(|plan| plan.offering_id == offering.id)
            .map(plan_item)
            .collect();
        let regions: Vec<_> = offering.regions.split_whitespace().collect();
        json!({
            "code": offering.code,
            "name": offering.name,
            "description": offering.description,
            "regions": regions,
            "plans": plans,
        })
    };
    let items: Vec<_> = offerings.iter().map(offering_item).collect();
    Ok(reply::ok(&json!({ "items": items, "next": null })))
}
