//! Orders and their history.

use chrono::Utc;
use entity::order::{self, OrderState};
use entity::order_event;
use schemas::Problem;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter,
    QuerySelect, Set,
};
use uuid::Uuid;

use super::stages;

/// The moves an order can make. Everything else is refused, whoever asks.
pub(crate) fn allowed(from: OrderState, to: OrderState) -> bool {
    use OrderState::*;
    match from {
        Accepted => matches!(to, Queued | Rejected | Failed),
        Queued => matches!(to, Provisioning | Retrying | Failed | Cancelling),
        Provisioning => matches!(
            to,
            Completed | Retrying | NeedsReconciliation | Failed | Cancelling
        ),
        Retrying | NeedsReconciliation => {
            matches!(
                to,
                Provisioning | Retrying | NeedsReconciliation | Completed | Failed | Cancelling
            )
        }
        // Parked, not over: a replay goes on.
        Failed => matches!(to, Queued | Provisioning | Completed | Cancelling),
        Cancelling => to == Cancelled,
        Completed | Rejected | Cancelled => false,
    }
}

pub(crate) async fn find(
    db: &impl ConnectionTrait,
    id: Uuid,
) -> Result<Option<order::Model>, DbErr> {
    order::Entity::find_by_id(id).one(db).await
}

/// The order, locked until the transaction ends.
pub(crate) async fn lock(
    db: &impl ConnectionTrait,
    id: Uuid,
) -> Result<Option<order::Model>, DbErr> {
    order::Entity::find_by_id(id).lock_exclusive().one(db).await
}

/// Another order of the account that has this reference.
pub(crate) async fn with_external_ref(
    db: &impl ConnectionTrait,
    account_id: Uuid,
    external_ref: &str,
) -> Result<Option<Uuid>, DbErr> {
    order::Entity::find()
        .filter(order::Column::AccountId.eq(account_id))
        .filter(order::Column::ExternalRef.eq(external_ref))
        .select_only()
        .column(order::Column::Id)
        .into_tuple()
        .one(db)
        .await
}

/// Inserts an order that was just taken in, with its first events. False if it is there already.
pub(crate) async fn insert(
    db: &impl ConnectionTrait,
    order: order::Model,
    note: Option<&str>,
) -> Result<bool, DbErr> {
    let (id, placed_at, state) = (order.id, order.placed_at, order.state);
    let now = order.updated_at;
    let row = order::ActiveModel {
        version: Set(2),
        ..order.into()
    };
    if !super::insert_once(db, row.reset_all()).await? {
        return Ok(false);
    }
    let event = |version, state, note: Option<&str>, at| order_event::Model {
        order_id: id,
        version,
        state,
        note: note.map(str::to_owned),
        at,
    };
    add_event(db, event(1, OrderState::Accepted, None, placed_at)).await?;
    add_event(db, event(2, state, note, now)).await?;
    Ok(true)
}

/// Moves an order that was read before. False if somebody else has moved it meanwhile.
pub(crate) async fn advance(
    db: &impl ConnectionTrait,
    order: &order::Model,
    to: OrderState,
    note: Option<&str>,
    problem: Option<&Problem>,
) -> Result<bool, DbErr> {
    if !allowed(order.state, to) {
        return Ok(false);
    }
    let now = Utc::now();
    let problem = problem.map(|problem| serde_json::to_string(problem).unwrap_or_default());
    let mut update = order::Entity::update_many()
        .col_expr(order::Column::State, sea_orm::sea_query::Expr::value(to))
        .col_expr(
            order::Column::Version,
            order::Column::Version.into_expr().add(1),
        )
        .col_expr(
            order::Column::Problem,
            sea_orm::sea_query::Expr::value(problem),
        )
        .col_expr(
            order::Column::UpdatedAt,
            sea_orm::sea_query::Expr::value(now),
        )
        .filter(order::Column::Id.eq(order.id))
        .filter(order::Column::Version.eq(order.version));
    if to == OrderState::Completed {
        update = update.col_expr(
            order::Column::CompletedAt,
            sea_orm::sea_query::Expr::value(now),
        );
    }
    if update.exec(db).await?.rows_affected == 0 {
        return Ok(false);
    }
    let event = order_event::Model {
        order_id: order.id,
        version: order.version + 1,
        state: to,
        note: note.map(str::to_owned),
        at: now,
    };
    add_event(db, event).await?;
    Ok(true)
}

async fn add_event(db: &impl ConnectionTrait, event: order_event::Model) -> Result<(), DbErr> {
    let row = order_event::ActiveModel::from(event).reset_all();
    order_event::Entity::insert(row)
        .exec_without_returning(db)
        .await
        .map(|_| ())
}

/// The stages that a new order has before it.
pub(crate) async fn plan_stages(db: &impl ConnectionTrait, order_id: Uuid) -> Result<(), DbErr> {
    stages::done(db, order_id, stages::PLACE).await?;
    stages::pending(db, order_id, stages::PROVISION).await?;
    stages::pending(db, order_id, stages::ISSUE).await
}

#[cfg(test)]
mod tests {
    use sea_orm::Iterable;

    use super::*;

    #[test]
    fn finished_orders_stay_as_they_are() {
        for to in OrderState::iter() {
            for over in [
                OrderState::Completed,
                OrderState::Rejected,
                OrderState::Cancelled,
            ] {
                assert!(!allowed(over, to), "{over:?} → {to:?}");
            }
            assert!(!allowed(to, OrderState::Accepted), "{to:?} → Accepted");
        }
    }

    #[test]
    fn every_state_but_the_last_ones_can_be_left() {
        for from in OrderState::iter() {
            let over = [
                OrderState::Completed,
                OrderState::Rejected,
                OrderState::Cancelled,
            ]
            .contains(&from);
            assert_eq!(
                OrderState::iter().any(|to| allowed(from, to)),
                !over,
                "{from:?}"
            );
        }
    }
}
