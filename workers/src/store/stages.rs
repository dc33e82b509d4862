//! How far each step has come, for those who wait.

use chrono::{DateTime, Utc};
use entity::stage::{self, StageState};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, Set};
use uuid::Uuid;

/// The order is read, checked and priced. Subject: the order.
pub const PLACE: &str = "place";
/// Its resources are created. Subject: the order.
pub const PROVISION: &str = "provision";
/// Its invoice is issued. Subject: the order.
pub const ISSUE: &str = "issue";
/// The invoice is rendered. Subject: the invoice.
pub const RENDER: &str = "render";
/// The invoice is mailed. Subject: the invoice.
pub const DELIVER: &str = "deliver";

/// The stages whose subject is the order, in their order.
pub const OF_ORDER: [&str; 3] = [PLACE, PROVISION, ISSUE];
/// The stages whose subject is the invoice, in their order.
pub const OF_INVOICE: [&str; 2] = [RENDER, DELIVER];

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

/// An attempt failed; the next is at about `at`.
pub(crate) async fn retrying(
    db: &impl ConnectionTrait,
    subject: Uuid,
    name: &str,
    at: DateTime<Utc>,
    error: &str,
) -> Result<(), DbErr> {
    let mut row = row(subject, name, StageState::Retrying, 1);
    row.next_attempt_at = Set(Some(at));
    row.last_error = Set(Some(shortened(error)));
    write(db, row, update()).await
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
        updated_at: Set(Utc::now()),
    }
}

/// What an existing row takes over from a new one: all but the number of attempts.
fn update() -> OnConflict {
    use stage::Column::{LastError, NextAttemptAt, State, UpdatedAt};
    OnConflict::columns([stage::Column::SubjectId, stage::Column::Name])
        .update_columns([State, NextAttemptAt, LastError, UpdatedAt])
        .to_owned()
}

/// Writes the row, but never over a stage that is done: whoever comes late does not turn it back.
async fn write(
    db: &impl ConnectionTrait,
    row: stage::ActiveModel,
    mut update: OnConflict,
) -> Result<(), DbErr> {
    update.action_and_where(stage::Column::State.ne(StageState::Done));
    let written = stage::Entity::insert(row)
        .on_conflict(update)
        .exec_without_returning(db)
        .await;
    match written {
        Ok(_) | Err(DbErr::RecordNotInserted) => Ok(()),
        Err(error) => Err(error),
    }
}

fn shortened(error: &str) -> String {
    match error.char_indices().nth(MAX_ERROR) {
        Some((end, _)) => format!("{}…", error.get(..end).unwrap_or_default()),
        None => error.to_owned(),
    }
}
