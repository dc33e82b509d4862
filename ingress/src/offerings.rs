//! `GET /v1/offerings`: what can be ordered, at the prices of the account's currency.

use std::collections::BTreeMap;

use chrono::Utc;
use entity::{account, offering, plan, price};
use schemars::JsonSchema;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use serde::Serialize;
use uuid::Uuid;
use warp::reply::Response;

use crate::call::Call;
use crate::error::ApiError;
use crate::orders::text;
use crate::reply;
use crate::schema::{Decimal, States};

/// Everything that can be ordered, on one page.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Offerings {
    items: Vec<OfferingItem>,
    /// Always null.
    next: Option<String>,
}

/// Something that can be ordered.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Offering")]
struct OfferingItem {
    code: String,
    name: String,
    description: String,
    regions: Vec<String>,
    plans: Vec<PlanItem>,
}

/// A size of an offering.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Plan")]
struct PlanItem {
    code: String,
    name: String,
    /// Without any it cannot be ordered in the currency of the account.
    prices: Vec<PriceItem>,
}

/// What a component of a plan costs.
#[derive(Clone, Serialize, JsonSchema)]
#[schemars(rename = "Price")]
struct PriceItem {
    component: String,
    description: String,
    #[schemars(with = "States<price::Charge>")]
    charge: String,
    #[schemars(with = "Decimal")]
    unit_price: String,
    currency: String,
}

/// Lists every offering with its plans and prices. Any credential may.
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    let (db, account_id) = (&call.state.db, call.account()?);
    call.query().finish(Some(()))?;
    let account = account::Entity::find_by_id(account_id).one(db).await?;
    let currency = account
        .ok_or_else(|| ApiError::not_found("account"))?
        .currency;
    let offerings = offering::Entity::find()
        .filter(offering::Column::Active.eq(true))
        .order_by_asc(offering::Column::Code)
        .all(db)
        .await?;
    let plans = plan::Entity::find()
        .filter(plan::Column::Active.eq(true))
        .order_by_asc(plan::Column::Code)
        .all(db)
        .await?;
    let prices = price::Entity::find()
        .filter(price::Column::Currency.eq(&currency))
        .filter(price::Column::ValidFrom.lte(Utc::now()))
        .order_by_asc(price::Column::ValidFrom)
        .all(db)
        .await?;
    // The newest of each component wins.
    let mut current: BTreeMap<Uuid, BTreeMap<String, PriceItem>> = BTreeMap::new();
    for price in prices {
        let item = PriceItem {
            component: price.component.clone(),
            description: price.description,
            charge: text(&price.charge),
            unit_price: price.unit_price,
            currency: price.currency,
        };
        let plan = current.entry(price.plan_id).or_default();
        plan.insert(price.component, item);
    }
    let plan_item = |plan: &plan::Model| PlanItem {
        code: plan.code.clone(),
        name: plan.name.clone(),
        prices: current
            .get(&plan.id)
            .into_iter()
            .flat_map(|prices| prices.values().cloned())
            .collect(),
    };
    let offering_item = |offering: offering::Model| OfferingItem {
        plans: plans
            .iter()
            .filter(|plan| plan.offering_id == offering.id)
            .map(plan_item)
            .collect(),
        regions: offering
            .regions
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        code: offering.code,
        name: offering.name,
        description: offering.description,
    };
    Ok(reply::ok(&Offerings {
        items: offerings.into_iter().map(offering_item).collect(),
        next: None,
    }))
}
