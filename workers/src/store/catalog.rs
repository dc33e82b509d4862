//! The catalogue: what can be ordered and what it costs.

use chrono::{DateTime, Utc};
use entity::price::{self, Charge};
use entity::{account, offering, plan, provider_account};
use schemas::values::UnitPrice;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One price as it was when the order was placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PriceSnapshot {
    pub(crate) component: String,
    pub(crate) description: String,
    pub(crate) monthly: bool,
    /// Whether it is charged for what the meter that is called like the component has counted.
    #[serde(default)]
    pub(crate) usage: bool,
    pub(crate) unit_price: UnitPrice,
    pub(crate) tax_class: String,
}

pub(crate) async fn account(
    db: &impl ConnectionTrait,
    id: Uuid,
) -> Result<Option<account::Model>, DbErr> {
    account::Entity::find_by_id(id).one(db).await
}

pub(crate) async fn offering(
    db: &impl ConnectionTrait,
    code: &str,
) -> Result<Option<(offering::Model, provider_account::Model)>, DbErr> {
    let Some(offering) = offering::Entity::find()
        .filter(offering::Column::Code.eq(code))
        .one(db)
        .await?
    else {
        return Ok(None);
    };
    let account = provider_account::Entity::find_by_id(offering.provider_account_id)
        .one(db)
        .await?;
    Ok(account.map(|account| (offering, account)))
}

pub(crate) async fn plan(
    db: &impl ConnectionTrait,
    offering_id: Uuid,
    code: &str,
) -> Result<Option<plan::Model>, DbErr> {
    plan::Entity::find()
        .filter(plan::Column::OfferingId.eq(offering_id))
        .filter(plan::Column::Code.eq(code))
        .one(db)
        .await
}

/// The prices of a plan in a currency at a moment, one for each component.
pub(crate) async fn prices(
    db: &impl ConnectionTrait,
    plan_id: Uuid,
    currency: &str,
    at: DateTime<Utc>,
) -> anyhow::Result<Vec<PriceSnapshot>> {
    let rows = price::Entity::find()
        .filter(price::Column::PlanId.eq(plan_id))
        .filter(price::Column::Currency.eq(currency))
        .filter(price::Column::ValidFrom.lte(at))
        .order_by_asc(price::Column::Component)
        .order_by_desc(price::Column::ValidFrom)
        .all(db)
        .await?;
    let mut prices: Vec<PriceSnapshot> = Vec::new();
    for row in rows {
        // The newest of each component comes first.
        if prices
            .last()
            .is_some_and(|price| price.component == row.component)
        {
            continue;
        }
        prices.push(PriceSnapshot {
            unit_price: row
                .unit_price
                .parse()
                .map_err(|error| anyhow::anyhow!("price {}: unit_price {error}", row.id))?,
            component: row.component,
            description: row.description,
            monthly: row.charge == Charge::Monthly,
            usage: row.charge == Charge::Usage,
            tax_class: row.tax_class,
        });
    }
    Ok(prices)
}
