//! The handlers, one a file.

pub(crate) mod billing;
mod compose;
pub(crate) mod document;
pub(crate) mod email;
pub(crate) mod ending;
pub(crate) mod intake;
pub(crate) mod invoice;
pub(crate) mod order;
pub(crate) mod provision;
pub(crate) mod settle;
pub(crate) mod ticket;

use anyhow::anyhow;
use broker::{Failure, Next};
use sea_orm::DatabaseConnection;
use uuid::Uuid;

use crate::store::stages;

/// Trying again cannot help: parked under `reason`.
fn permanent(reason: &'static str, error: impl Into<anyhow::Error>) -> Failure {
    Failure::Permanent(reason, error.into())
}

/// A row that every earlier step must have written is not there.
fn missing(what: &str, id: Uuid) -> Failure {
    permanent("unknown_subject", anyhow!("there is no {what} {id}"))
}

/// Makes a failed attempt visible on a stage. A database that is away must not get in the way.
async fn show_failure(
    db: &DatabaseConnection,
    subject: Uuid,
    stage: &str,
    error: &str,
    next: Next,
) {
    let shown = match next {
        Next::Retry(at) => stages::retrying(db, subject, stage, at, error).await,
        Next::Parked => stages::failed(db, subject, stage, error).await,
    };
    if let Err(error) = shown {
        tracing::debug!("cannot show the failed attempt: {error}");
    }
}
