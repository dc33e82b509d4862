//! How far each step has come, for those who wait.

use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::stage::{self, StageState};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder,
    QuerySelect, Set,
};
use uuid::Uuid;

use super::now_ms;

/// The order is read, checked and priced. Subject: the order.
pub const PLACE: &str = "place";
/// Its resources are created. Subject: the order.
pub const PROVISION: &str = "provision";
/// Its invoice is issued. Subject: the order.
pub const ISSUE: &str = "issue";
/// An invoice that was asked for is issued. Subject: the request.
pub const SETTLE: &str = "settle";
/// The invoice is rendered. Subject: the invoice.
pub const RENDER: &str = "render";
/// The invoice is mailed, or what was said in a ticket. Subject: the invoice or the message.
pub const DELIVER: &str = "deliver";
/// A resource is deleted at its provider. Subject: the resource.
pub const TERMINATE: &str = "terminate";
/// What was done to a ticket from the command line or by itself is published. Subject: what was done.
pub const ANNOUNCE: &str = "announce";

/// The states that a stage leaves by itself.
const MOVING: [StageState; 3] = [
    StageState::Pending,
    StageState::Running,
    StageState::Retrying,
];
/// The states that a stage never leaves.
const OVER: [StageState; 2] = [StageState::Done, StageState::Cancelled];
/// The longest pause between two checks of a stage is its patience times two to this power.
const MOST_DOUBLINGS: i32 = 8;

/// The longest error text that is kept for a stage, in characters.
const MAX_ERROR: usize = 500;

/// A stage that lies ahead. Changes nothing if it is known already.
pub(crate) async fn pending(
    db: &impl ConnectionTrait,
    subject: Uuid,
    name: &str,
) -> Result<(), DbErr> {
    super::insert_once(db, row(subject, name, StageState::Pending, 0))
        .await
        .map(|_| ())
}

/// Another attempt begins.
pub(crate) async fn running(
    db: &impl ConnectionTrait,
    subject: Uuid,
    name: &str,
) -> Result<(), DbErr> {
    let attempts = stage::Column::Attempts;
    // Several resources of one order make one attempt together.
    let running = stage::Column::State.into_expr().eq(StageState::Running);
    let count = Expr::case(running, attempts.into_expr()).finally(attempts.into_expr().add(1));
    let update = update().value(attempts, count).to_owned();
    write(db, row(subject, name, StageState::Running, 1), update).await
}

/// The stage is done.
pub(crate) async fn done(
    db: &impl ConnectionTrait,
    subject: Uuid,
    name: &str,
) -> Result<(), DbErr> {
    let attempts = stage::Column::Attempts;
    // What is done without having been shown as running took one attempt.
    let at_least_one = Expr::case(attempts.into_expr().eq(0), 1).finally(attempts.into_expr());
    let update = update().value(attempts, at_least_one).to_owned();
    let done = row(subject, name, StageState::Done, 1);
    stage::Entity::insert(done)
        .on_conflict(update)
        .exec_without_returning(db)
        .await
        .map(|_| ())
}

/// An attempt failed; the next is at about `at`. Says nothing of a stage that waits for a person:
/// another attempt has to begin first.
pub(crate) async fn retrying(
    db: &impl ConnectionTrait,
    subject: Uuid,
    name: &str,
    at: DateTime<Utc>,
    error: &str,
) -> Result<(), DbErr> {
    let mut row = row(subject, name, StageState::Retrying, 1);
    row.next_attempt_at = Set(Some(at));
    let pause = (at - Utc::now()).to_std().unwrap_or_default();
    row.pause_ms = Set(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
    row.last_error = Set(Some(shortened(error)));
    let mut update = update();
    update.action_and_where(stage::Column::State.ne(StageState::Failed));
    write(db, row, update).await
}

/// It failed and waits for a person.
pub(crate) async fn failed(
    db: &impl ConnectionTrait,
    subject: Uuid,
    name: &str,
    error: &str,
) -> Result<(), DbErr> {
    let mut row = row(subject, name, StageState::Failed, 1);
    row.last_error = Set(Some(shortened(error)));
    write(db, row, update()).await
}

fn row(subject: Uuid, name: &str, state: StageState, attempts: i32) -> stage::ActiveModel {
    stage::ActiveModel {
        subject_id: Set(subject),
        name: Set(name.to_owned()),
        state: Set(state),
        attempts: Set(attempts),
        next_attempt_at: Set(None),
        last_error: Set(None),
        pause_ms: Set(0),
        check_at_ms: Set(None),
        checks: Set(0),
        updated_at: Set(Utc::now()),
    }
}

/// What an existing row takes over from a new one: all but the number of attempts.
fn update() -> OnConflict {
    use stage::Column::{CheckAtMs, Checks, LastError, NextAttemptAt, PauseMs, State, UpdatedAt};
    OnConflict::columns([stage::Column::SubjectId, stage::Column::Name])
        .update_columns([
            State,
            NextAttemptAt,
            LastError,
            PauseMs,
            CheckAtMs,
            Checks,
            UpdatedAt,
        ])
        .to_owned()
}

/// A stage that is not needed any more, unless it is done already.
pub(crate) async fn cancelled(
    db: &impl ConnectionTrait,
    subject: Uuid,
    name: &str,
) -> Result<(), DbErr> {
    write(db, row(subject, name, StageState::Cancelled, 0), update()).await
}

/// Writes the row, but never over a stage that is over: whoever comes late does not turn it back.
async fn write(
    db: &impl ConnectionTrait,
    row: stage::ActiveModel,
    mut update: OnConflict,
) -> Result<(), DbErr> {
    update.action_and_where(stage::Column::State.is_not_in(OVER));
    let written = stage::Entity::insert(row)
        .on_conflict(update)
        .exec_without_returning(db)
        .await;
    match written {
        Ok(_) | Err(DbErr::RecordNotInserted) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A stage, locked until the transaction ends.
pub(crate) async fn lock(
    db: &impl ConnectionTrait,
    subject: Uuid,
    name: &str,
) -> Result<Option<stage::Model>, DbErr> {
    stage::Entity::find_by_id((subject, name.to_owned()))
        .lock_exclusive()
        .one(db)
        .await
}

/// It waits for its step to be sent again, now.
pub(crate) async fn to_be_sent_again(
    db: &impl ConnectionTrait,
    subject: Uuid,
    name: &str,
) -> Result<(), DbErr> {
    let mut row = row(subject, name, StageState::Pending, 0);
    row.check_at_ms = Set(Some(0));
    write(db, row, update()).await
}

/// Stages that stand still: that have not moved for `patience`, or for longer where they said so.
/// The most overdue first.
///
/// Only the clock of the database counts: a stage is given its time when it is first seen here.
pub(crate) async fn standing_still(
    db: &impl ConnectionTrait,
    patience: Duration,
    limit: u64,
) -> Result<Vec<stage::Model>, DbErr> {
    use stage::Column;
    let patience = i64::try_from(patience.as_millis()).unwrap_or(i64::MAX);
    let first_look = now_ms(db).add(patience).add(Column::PauseMs.into_expr());
    stage::Entity::update_many()
        .col_expr(Column::CheckAtMs, first_look)
        .filter(Column::State.is_in(MOVING))
        .filter(Column::CheckAtMs.is_null())
        .exec(db)
        .await?;
    stage::Entity::find()
        .filter(Column::State.is_in(MOVING))
        .filter(Column::CheckAtMs.into_expr().lte(now_ms(db)))
        .order_by_asc(Column::CheckAtMs)
        .limit(limit)
        .all(db)
        .await
}

/// Puts the next look at a stage off: by `patience` while its step cannot be done yet, and twice
/// as long after each time that it was sent again. False if somebody else has done so, or it moved.
pub(crate) async fn checked(
    db: &impl ConnectionTrait,
    stage: &stage::Model,
    patience: Duration,
    sent_again: bool,
) -> Result<bool, DbErr> {
    use stage::Column;
    let doublings = if sent_again {
        stage.checks.clamp(0, MOST_DOUBLINGS)
    } else {
        0
    };
    let pause = i64::try_from(patience.as_millis()).unwrap_or(i64::MAX) << doublings;
    let checks = stage.checks + i32::from(sent_again);
    let put_off = stage::Entity::update_many()
        .col_expr(Column::CheckAtMs, now_ms(db).add(pause))
        .col_expr(Column::Checks, Expr::value(checks))
        .filter(Column::SubjectId.eq(stage.subject_id))
        .filter(Column::Name.eq(&stage.name))
        .filter(Column::State.is_in(MOVING))
        .filter(Column::CheckAtMs.eq(stage.check_at_ms))
        .exec(db)
        .await?;
    Ok(put_off.rows_affected > 0)
}

fn shortened(error: &str) -> String {
    match error.char_indices().nth(MAX_ERROR) {
        Some((end, _)) => format!("{}…", error.get(..end).unwrap_or_default()),
        None => error.to_owned(),
    }
}
