//! Resources and the leases under which they are created.

use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::order::{self, OrderState};
use entity::resource::{self, ResourceState};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, ExprTrait, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, QueryTrait,
};
use uuid::Uuid;

use super::{now_ms, stages};

pub(crate) async fn find(
    db: &impl ConnectionTrait,
    id: Uuid,
) -> Result<Option<resource::Model>, DbErr> {
    resource::Entity::find_by_id(id).one(db).await
}

pub(crate) async fn of_order(
    db: &impl ConnectionTrait,
    order_id: Uuid,
) -> Result<Vec<resource::Model>, DbErr> {
    resource::Entity::find()
        .filter(resource::Column::OrderId.eq(order_id))
        .order_by_asc(resource::Column::Ordinal)
        .all(db)
        .await
}

/// The resources that a provider should have.
pub(crate) async fn at_provider(
    db: &impl ConnectionTrait,
    provider: &str,
) -> Result<Vec<resource::Model>, DbErr> {
    resource::Entity::find()
        .filter(resource::Column::Provider.eq(provider))
        .filter(resource::Column::ExternalId.is_not_null())
        .filter(resource::Column::State.ne(ResourceState::Terminated))
        .all(db)
        .await
}

/// Whether a server of a provider is a resource of ours.
pub(crate) async fn with_external_id(
    db: &impl ConnectionTrait,
    provider: &str,
    external_id: &str,
) -> Result<bool, DbErr> {
    let count = resource::Entity::find()
        .filter(resource::Column::Provider.eq(provider))
        .filter(resource::Column::ExternalId.eq(external_id))
        .filter(resource::Column::State.ne(ResourceState::Terminated))
        .count(db)
        .await?;
    Ok(count > 0)
}

/// The orders whose resources at a provider are still being created or deleted by itself: a server of
/// theirs may not be known yet.
pub(crate) async fn orders_under_way(
    db: &impl ConnectionTrait,
    provider: &str,
) -> Result<Vec<Uuid>, DbErr> {
    let over = [
        OrderState::Failed,
        OrderState::Rejected,
        OrderState::Cancelled,
    ];
    let alive = order::Entity::find()
        .select_only()
        .column(order::Column::Id)
        .filter(order::Column::State.is_not_in(over))
        .into_query();
    resource::Entity::find()
        .select_only()
        .column(resource::Column::OrderId)
        .distinct()
        .filter(resource::Column::Provider.eq(provider))
        .filter(
            resource::Column::State.is_in([ResourceState::Creating, ResourceState::Terminating]),
        )
        .filter(resource::Column::OrderId.in_subquery(alive))
        .into_tuple()
        .all(db)
        .await
}

/// How many resources of the order are not active yet.
pub(crate) async fn unfinished(db: &impl ConnectionTrait, order_id: Uuid) -> Result<u64, DbErr> {
    resource::Entity::find()
        .filter(resource::Column::OrderId.eq(order_id))
        .filter(resource::Column::State.eq(ResourceState::Creating))
        .count(db)
        .await
}

/// Takes the right to act on a resource, for `lease` by the clock of the database: one holder at a
/// time. Returns the fence of the new holder, or nothing while another one holds it.
///
/// From here on the outcome of an attempt is unknown until it is recorded.
pub(crate) async fn claim(
    db: &impl ConnectionTrait,
    resource: &resource::Model,
    lease: Duration,
) -> Result<Option<i64>, DbErr> {
    let fence = resource.fence + 1;
    let free = Condition::any()
        .add(resource::Column::LeaseUntilMs.is_null())
        .add(resource::Column::LeaseUntilMs.into_expr().lt(now_ms(db)));
    let claimed = resource::Entity::update_many()
        .col_expr(resource::Column::Fence, Expr::value(fence))
        .col_expr(resource::Column::LeaseUntilMs, until(db, lease))
        .col_expr(resource::Column::OutcomeUnknown, Expr::value(true))
        .col_expr(resource::Column::UpdatedAt, Expr::value(Utc::now()))
        .filter(resource::Column::Id.eq(resource.id))
        .filter(resource::Column::Fence.eq(resource.fence))
        .filter(resource::Column::State.eq(resource.state))
        .filter(free)
        .exec(db)
        .await?;
    Ok((claimed.rows_affected > 0).then_some(fence))
}

fn until(db: &impl ConnectionTrait, lease: Duration) -> sea_orm::sea_query::SimpleExpr {
    now_ms(db).add(i64::try_from(lease.as_millis()).unwrap_or(i64::MAX))
}

/// How long the lease of a resource still lasts, by the clock of the database.
pub(crate) async fn lease_left(db: &impl ConnectionTrait, id: Uuid) -> Result<Duration, DbErr> {
    let left: Option<Option<i64>> = resource::Entity::find_by_id(id)
        .select_only()
        .expr_as(
            resource::Column::LeaseUntilMs.into_expr().sub(now_ms(db)),
            "left",
        )
        .into_tuple()
        .one(db)
        .await?;
    Ok(Duration::from_millis(
        left.flatten()
            .and_then(|left| u64::try_from(left).ok())
            .unwrap_or(0),
    ))
}

/// Records what became of an attempt, if the writer still holds the lease. False: it was fenced out.
pub(crate) async fn record(
    db: &impl ConnectionTrait,
    id: Uuid,
    fence: i64,
    outcome: Outcome<'_>,
) -> Result<bool, DbErr> {
    use resource::Column;
    let now = Utc::now();
    let mut update = resource::Entity::update_many()
        .col_expr(Column::LeaseUntilMs, Expr::value(None::<i64>))
        .col_expr(Column::UpdatedAt, Expr::value(now))
        .filter(Column::Id.eq(id))
        .filter(Column::Fence.eq(fence))
        .filter(Column::State.is_in([ResourceState::Creating, ResourceState::Terminating]));
    if !matches!(outcome, Outcome::Unknown) {
        update = update.col_expr(Column::OutcomeUnknown, Expr::value(false));
    }
    if let Outcome::Created { external_id } | Outcome::Active { external_id, .. } = outcome {
        update = update.col_expr(Column::ExternalId, Expr::value(external_id));
    }
    if let Outcome::Active { address, .. } = outcome {
        // What is given up meanwhile is not in use any more.
        let creating = Column::State.into_expr().eq(ResourceState::Creating);
        let state = Expr::case(creating, Expr::value(ResourceState::Active));
        update = update
            .col_expr(
                Column::State,
                state.finally(Column::State.into_expr()).into(),
            )
            .col_expr(Column::Address, Expr::value(address))
            .col_expr(Column::ActivatedAt, Expr::value(now));
    }
    Ok(update.exec(db).await?.rows_affected > 0)
}

/// Gives resources up that are there or on their way, and says that they are to be deleted. Which of
/// them, the condition says.
pub(crate) async fn give_up(
    db: &impl ConnectionTrait,
    which: sea_orm::sea_query::SimpleExpr,
    at: DateTime<Utc>,
) -> Result<(), DbErr> {
    use resource::Column;
    let alive = [
        ResourceState::Creating,
        ResourceState::Active,
        ResourceState::Suspended,
        ResourceState::Lost,
    ];
    let ids: Vec<Uuid> = resource::Entity::find()
        .filter(which)
        .filter(Column::State.is_in(alive))
        .select_only()
        .column(Column::Id)
        .into_tuple()
        .all(db)
        .await?;
    resource::Entity::update_many()
        .col_expr(Column::State, Expr::value(ResourceState::Terminating))
        .col_expr(Column::TerminatingSince, Expr::value(at))
        .col_expr(Column::UpdatedAt, Expr::value(Utc::now()))
        .filter(Column::Id.is_in(ids.iter().copied()))
        .exec(db)
        .await?;
    for id in ids {
        stages::pending(db, id, stages::TERMINATE).await?;
    }
    Ok(())
}

/// Records that a resource is deleted, if the writer still holds the lease. False: it was fenced out.
pub(crate) async fn terminated(
    db: &impl ConnectionTrait,
    id: Uuid,
    fence: i64,
    at: DateTime<Utc>,
) -> Result<bool, DbErr> {
    use resource::Column;
    let terminated = resource::Entity::update_many()
        .col_expr(Column::State, Expr::value(ResourceState::Terminated))
        .col_expr(Column::TerminatedAt, Expr::value(at))
        .col_expr(Column::LeaseUntilMs, Expr::value(None::<i64>))
        .col_expr(Column::OutcomeUnknown, Expr::value(false))
        .col_expr(Column::UpdatedAt, Expr::value(Utc::now()))
        .filter(Column::Id.eq(id))
        .filter(Column::Fence.eq(fence))
        .filter(Column::State.eq(ResourceState::Terminating))
        .exec(db)
        .await?;
    Ok(terminated.rows_affected > 0)
}

/// What became of an attempt to create a resource. Every one gives the lease back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome<'a> {
    /// Certainly nothing was created.
    Nothing,
    /// Nobody knows: the provider did not answer, or not with sense.
    Unknown,
    /// It exists, but is not ready.
    Created { external_id: &'a str },
    /// It exists and is ready.
    Active {
        external_id: &'a str,
        address: Option<&'a str>,
    },
}
