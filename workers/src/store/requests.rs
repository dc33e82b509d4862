//! What was asked for about what is there already, and what became of it.

use chrono::Utc;
use entity::request::{self, RequestStatus};
use schemas::Problem;
use schemas::event::RequestRejected;
use sea_orm::sea_query::{Expr, SimpleExpr};
use sea_orm::{ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter};
use uuid::Uuid;

/// One request.
///
/// # Errors
/// When the database cannot be reached.
pub(crate) async fn find(
    db: &impl ConnectionTrait,
    id: Uuid,
) -> Result<Option<request::Model>, DbErr> {
    request::Entity::find_by_id(id).one(db).await
}

/// Writes a request down, with what it comes to if that is known. False if it is there already.
///
/// # Errors
/// When the database cannot be reached.
pub(crate) async fn insert(
    db: &impl ConnectionTrait,
    mut row: request::Model,
    outcome: Result<RequestStatus, Problem>,
) -> Result<bool, DbErr> {
    match outcome {
        Ok(status) => row.status = status,
        Err(problem) => {
            row.status = RequestStatus::Rejected;
            row.problem = serde_json::to_string(&problem).ok();
        }
    }
    if row.status != RequestStatus::Accepted {
        row.decided_at = Some(Utc::now());
    }
    super::insert_once(db, request::ActiveModel::from(row).reset_all()).await
}

/// Notes that what was asked for is done.
///
/// # Errors
/// When the database cannot be reached.
pub(crate) async fn done(db: &impl ConnectionTrait, id: Uuid) -> Result<(), DbErr> {
    decide(db, id, RequestStatus::Done, None).await
}

/// Notes what a request has made.
///
/// # Errors
/// When the database cannot be reached.
pub(crate) async fn made(db: &impl ConnectionTrait, id: Uuid, result: Uuid) -> Result<(), DbErr> {
    let result = (request::Column::ResultId, Expr::value(result));
    decide(db, id, RequestStatus::Done, Some(result)).await
}

/// Notes why a request cannot be done.
///
/// # Errors
/// When the database cannot be reached.
pub(crate) async fn reject(
    db: &impl ConnectionTrait,
    id: Uuid,
    problem: &Problem,
) -> Result<(), DbErr> {
    let problem = serde_json::to_string(problem).unwrap_or_default();
    let problem = (request::Column::Problem, Expr::value(problem));
    decide(db, id, RequestStatus::Rejected, Some(problem)).await
}

async fn decide(
    db: &impl ConnectionTrait,
    id: Uuid,
    status: RequestStatus,
    also: Option<(request::Column, SimpleExpr)>,
) -> Result<(), DbErr> {
    use request::Column;
    let mut update = request::Entity::update_many()
        .col_expr(Column::Status, Expr::value(status))
        .col_expr(Column::DecidedAt, Expr::value(Utc::now()))
        .filter(Column::Id.eq(id))
        .filter(Column::Status.eq(RequestStatus::Accepted));
    if let Some((column, value)) = also {
        update = update.col_expr(column, value);
    }
    update.exec(db).await.map(drop)
}

/// What is said of a request that cannot be done; nothing if it can.
///
/// # Errors
/// When the stored problem cannot be read.
pub(crate) fn rejection(row: &request::Model) -> anyhow::Result<Option<RequestRejected>> {
    let Some(problem) = &row.problem else {
        return Ok(None);
    };
    let external_ref = row.external_ref.as_deref().map(str::parse).transpose()?;
    Ok(Some(RequestRejected {
        request_id: row.id,
        account_id: row.account_id,
        kind: row.kind.clone(),
        subject_id: row.subject_id,
        external_ref,
        problem: serde_json::from_str(problem)?,
    }))
}
