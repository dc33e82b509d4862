//! What is not invoiced yet: months of resources, and what their meters said.

use chrono::{DateTime, Utc};
use entity::request::{self, RequestStatus};
use entity::resource::{self, ResourceState};
use entity::{billed_period, meter, usage_record};
use rust_decimal::Decimal;
use schemas::Message;
use schemas::invoice::InvoiceRequest;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect,
};
use uuid::Uuid;

use crate::billing::content::BilledPeriod;
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

/// Notes that the resources of an order are invoiced by its first invoice.
pub(crate) async fn billed_by_order(
    db: &impl ConnectionTrait,
    invoice_id: Uuid,
    order_id: Uuid,
    period: BilledPeriod,
) -> Result<(), DbErr> {
    use resource::Column;
    let resources = resource::Entity::find()
        .filter(Column::OrderId.eq(order_id))
        .filter(Column::BilledUntil.is_null())
        .all(db)
        .await?;
    for resource in &resources {
        move_on(db, resource, period.end).await?;
        remember(
            db,
            months(invoice_id, resource.id, period.start, period.end),
        )
        .await?;
    }
    Ok(())
}

/// Notes that a resource is invoiced up to a moment, if it still stands where it was read. False: another
/// invoice was faster.
pub(crate) async fn billed(
    db: &impl ConnectionTrait,
    invoice_id: Uuid,
    resource: &resource::Model,
    until: DateTime<Utc>,
) -> Result<bool, DbErr> {
    let start = resource.billed_until.unwrap_or(until);
    remember(db, months(invoice_id, resource.id, start, until)).await?;
    move_on(db, resource, until).await
}

/// Moves the end of what is invoiced of a resource, if it still stands where it was read.
async fn move_on(
    db: &impl ConnectionTrait,
    resource: &resource::Model,
    until: DateTime<Utc>,
) -> Result<bool, DbErr> {
    use resource::Column;
    let as_read = match resource.billed_until {
        Some(until) => Column::BilledUntil.eq(until),
        None => Column::BilledUntil.is_null(),
    };
    let billed = resource::Entity::update_many()
        .col_expr(Column::BilledUntil, Expr::value(until))
        .filter(Column::Id.eq(resource.id))
        .filter(as_read)
        .exec(db)
        .await?;
    Ok(billed.rows_affected == 1)
}

fn months(
    invoice_id: Uuid,
    resource_id: Uuid,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
) -> billed_period::Model {
    billed_period::Model {
        invoice_id,
        resource_id,
        meter: String::new(),
        start,
        end,
        counter_start: None,
        counter_end: None,
    }
}

async fn remember(db: &impl ConnectionTrait, row: billed_period::Model) -> Result<(), DbErr> {
    billed_period::Entity::insert(billed_period::ActiveModel::from(row).reset_all())
        .exec_without_returning(db)
        .await
        .map(drop)
}

/// Gives back what an invoice has charged, so that another one charges it. False, and nothing is done, if
/// a later invoice goes on where this one ends.
pub(crate) async fn give_back(db: &impl ConnectionTrait, invoice_id: Uuid) -> Result<bool, DbErr> {
    let charged = billed_period::Entity::find()
        .filter(billed_period::Column::InvoiceId.eq(invoice_id))
        .all(db)
        .await?;
    for row in &charged {
        if !is_last(db, row).await? {
            return Ok(false);
        }
    }
    for row in &charged {
        if !take_back(db, row).await? {
            // Somebody was faster: all of it is undone, and looked at again.
            return Err(DbErr::RecordNotUpdated);
        }
    }
    Ok(true)
}

/// Whether nothing was charged after this.
async fn is_last(db: &impl ConnectionTrait, row: &billed_period::Model) -> Result<bool, DbErr> {
    if row.meter.is_empty() {
        let resource = resource::Entity::find_by_id(row.resource_id)
            .one(db)
            .await?;
        return Ok(resource.is_some_and(|resource| resource.billed_until == Some(row.end)));
    }
    let key = (row.resource_id, row.meter.clone());
    let meter = meter::Entity::find_by_id(key).one(db).await?;
    Ok(meter.is_some_and(|meter| {
        meter.billed_until == row.end && Some(meter.counter) == row.counter_end
    }))
}

async fn take_back(db: &impl ConnectionTrait, row: &billed_period::Model) -> Result<bool, DbErr> {
    let taken = match (&row.counter_start, &row.counter_end) {
        (Some(before), Some(after)) => {
            meter::Entity::update_many()
                .col_expr(meter::Column::Counter, Expr::value(before.clone()))
                .col_expr(meter::Column::BilledUntil, Expr::value(row.start))
                .filter(meter::Column::ResourceId.eq(row.resource_id))
                .filter(meter::Column::Name.eq(&row.meter))
                .filter(meter::Column::Counter.eq(after))
                .exec(db)
                .await?
        }
        _ => {
            resource::Entity::update_many()
                .col_expr(resource::Column::BilledUntil, Expr::value(row.start))
                .filter(resource::Column::Id.eq(row.resource_id))
                .filter(resource::Column::BilledUntil.eq(row.end))
                .exec(db)
                .await?
        }
    };
    resource::Entity::update_many()
        .col_expr(
            resource::Column::SettledAt,
            Expr::value(None::<DateTime<Utc>>),
        )
        .filter(resource::Column::Id.eq(row.resource_id))
        .exec(db)
        .await?;
    Ok(taken.rows_affected == 1)
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
    invoice_id: Uuid,
    resource_id: Uuid,
    said: &Metered,
) -> Result<bool, DbErr> {
    use meter::Column;
    let charged = billed_period::Model {
        invoice_id,
        resource_id,
        meter: said.name.clone(),
        start: said.since,
        end: said.read_at,
        counter_start: Some(said.before.to_string()),
        counter_end: Some(said.now.to_string()),
    };
    remember(db, charged).await?;
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
