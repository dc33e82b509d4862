//! What is not invoiced yet: months of resources, and what their meters said.

use chrono::{DateTime, Utc};
use entity::request::{self, RequestStatus};
use entity::resource::{self, ResourceState};
use entity::{meter, usage_record};
use rust_decimal::Decimal;
use schemas::Message;
use schemas::invoice::InvoiceRequest;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect,
};
use uuid::Uuid;

use crate::billing::unbilled::Metered;
use crate::provider::Meter;

/// The resources of an account that something may be owed for. The first invoice of a resource is that
/// of its order.
pub(crate) async fn unsettled(
    db: &impl ConnectionTrait,
    account_id: Uuid,
) -> Result<Vec<resource::Model>, DbErr> {
    use resource::Column;
    let alive = [
        ResourceState::Active,
        ResourceState::Suspended,
        ResourceState::Terminating,
        ResourceState::Terminated,
    ];
    resource::Entity::find()
        .filter(Column::AccountId.eq(account_id))
        .filter(Column::State.is_in(alive))
        .filter(Column::BilledUntil.is_not_null())
        .filter(Column::SettledAt.is_null())
        .order_by_asc(Column::CreatedAt)
        .order_by_asc(Column::Id)
        .all(db)
        .await
}

/// Notes until when the resources of an order are invoiced by its first invoice.
pub(crate) async fn billed_by_order(
    db: &impl ConnectionTrait,
    order_id: Uuid,
    until: DateTime<Utc>,
) -> Result<(), DbErr> {
    resource::Entity::update_many()
        .col_expr(resource::Column::BilledUntil, Expr::value(until))
        .filter(resource::Column::OrderId.eq(order_id))
        .filter(resource::Column::BilledUntil.is_null())
        .exec(db)
        .await
        .map(drop)
}

/// Notes that a resource is invoiced up to a moment, if it still stands where it was read. False: another
/// invoice was faster.
pub(crate) async fn billed(
    db: &impl ConnectionTrait,
    resource: &resource::Model,
    until: DateTime<Utc>,
) -> Result<bool, DbErr> {
    use resource::Column;
    let billed = resource::Entity::update_many()
        .col_expr(Column::BilledUntil, Expr::value(until))
        .filter(Column::Id.eq(resource.id))
        .filter(Column::BilledUntil.eq(resource.billed_until))
        .exec(db)
        .await?;
    Ok(billed.rows_affected == 1)
}

/// Notes that nothing will be owed for a resource any more.
pub(crate) async fn settled(db: &impl ConnectionTrait, id: Uuid) -> Result<(), DbErr> {
    use resource::Column;
    resource::Entity::update_many()
        .col_expr(Column::SettledAt, Expr::value(Utc::now()))
        .filter(Column::Id.eq(id))
        .filter(Column::State.eq(ResourceState::Terminated))
        .exec(db)
        .await
        .map(drop)
}

/// Notes what a meter said when it was invoiced, if it still stands where it was read. False: another
/// invoice was faster.
pub(crate) async fn metered(
    db: &impl ConnectionTrait,
    resource_id: Uuid,
    said: &Metered,
) -> Result<bool, DbErr> {
    use meter::Column;
    let row = meter::Model {
        resource_id,
        name: said.name.clone(),
        counter: said.now.to_string(),
        billed_until: said.read_at,
    };
    if said.before.is_zero()
        && super::insert_once(db, meter::ActiveModel::from(row).reset_all()).await?
    {
        return Ok(true);
    }
    let moved = meter::Entity::update_many()
        .col_expr(Column::Counter, Expr::value(said.now.to_string()))
        .col_expr(Column::BilledUntil, Expr::value(said.read_at))
        .filter(Column::ResourceId.eq(resource_id))
        .filter(Column::Name.eq(&said.name))
        .filter(Column::Counter.eq(said.before.to_string()))
        .filter(Column::BilledUntil.eq(said.since))
        .exec(db)
        .await?;
    Ok(moved.rows_affected == 1)
}

/// What the meters of a resource said when they were last invoiced.
pub(crate) async fn meters(
    db: &impl ConnectionTrait,
    resource_id: Uuid,
) -> Result<Vec<meter::Model>, DbErr> {
    meter::Entity::find()
        .filter(meter::Column::ResourceId.eq(resource_id))
        .all(db)
        .await
}

/// Stores what the meters of a resource said, once for each reading.
pub(crate) async fn read(
    db: &impl ConnectionTrait,
    reading_id: Uuid,
    resource_id: Uuid,
    said: &[Meter],
    at: DateTime<Utc>,
) -> Result<(), DbErr> {
    let none = [Meter {
        name: String::new(),
        unit: String::new(),
        counter: Decimal::ZERO,
    }];
    // One that has no meter was read all the same.
    let said = if said.is_empty() { &none } else { said };
    for meter in said {
        let row = usage_record::Model {
            reading_id,
            resource_id,
            meter: meter.name.clone(),
            unit: meter.unit.clone(),
            counter: meter.counter.to_string(),
            read_at: at,
        };
        super::insert_once(db, usage_record::ActiveModel::from(row).reset_all()).await?;
    }
    Ok(())
}

/// What was read for a request for an invoice, and of resources before they were deleted.
pub(crate) async fn readings(
    db: &impl ConnectionTrait,
    request_id: Uuid,
    resources: &[resource::Model],
) -> Result<Vec<usage_record::Model>, DbErr> {
    use usage_record::Column;
    let ids: Vec<Uuid> = resources.iter().map(|resource| resource.id).collect();
    let for_this = Condition::any()
        .add(Column::ReadingId.eq(request_id))
        .add(Column::ReadingId.is_in(ids.iter().copied()));
    usage_record::Entity::find()
        .filter(Column::ResourceId.is_in(ids))
        .filter(for_this)
        .all(db)
        .await
}

/// Whether an earlier request for an invoice of the account is still under way.
pub(crate) async fn waits_for(
    db: &impl ConnectionTrait,
    row: &request::Model,
) -> Result<Option<Uuid>, DbErr> {
    use request::Column;
    let earlier = Condition::any()
        .add(Column::RequestedAt.lt(row.requested_at))
        .add(
            Condition::all()
                .add(Column::RequestedAt.eq(row.requested_at))
                .add(Column::Id.lt(row.id)),
        );
    request::Entity::find()
        .filter(Column::AccountId.eq(row.account_id))
        .filter(Column::Kind.eq(InvoiceRequest::KIND))
        .filter(Column::Status.eq(RequestStatus::Accepted))
        .filter(earlier)
        .select_only()
        .column(Column::Id)
        .into_tuple()
        .one(db)
        .await
}
