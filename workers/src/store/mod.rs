//! Every query of the workers, as functions over a connection or a transaction.
//!
//! Locks are taken in one order: account, order, resource, invoice, number series, ticket, stage.
//! Transactions are short and hold nothing remote.

pub mod catalog;
pub mod discrepancies;
pub mod documents;
pub mod invoices;
pub mod mails;
pub mod orders;
pub mod parked;
pub mod payments;
pub(crate) mod people;
pub mod provider_accounts;
pub mod publishers;
pub(crate) mod reminders;
pub(crate) mod requests;
pub mod resources;
pub mod stages;
pub mod tickets;
pub(crate) mod usage;

use chrono::{DateTime, Utc};
use sea_orm::sea_query::SimpleExpr;
use sea_orm::{
    ActiveModelTrait, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    EntityTrait, IntoActiveModel, RuntimeErr, SqlxError, Statement, TryInsertResult,
};

/// Begins a transaction that is going to write.
///
/// # Errors
/// When the database cannot be reached.
pub async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    #[cfg(test)]
    crate::simulation::point("begin").await;
    entity::begin(db).await
}

/// Inserts a row unless one with its primary key is there already. Tells whether it did.
///
/// # Errors
/// When the database refuses the row for another reason, or cannot be reached.
pub async fn insert_once<A>(db: &impl ConnectionTrait, row: A) -> Result<bool, DbErr>
where
    A: ActiveModelTrait + Send,
    <A::Entity as EntityTrait>::Model: IntoActiveModel<A>,
{
    let inserted = A::Entity::insert(row)
        .on_conflict_do_nothing()
        .exec_without_returning(db)
        .await?;
    Ok(matches!(inserted, TryInsertResult::Inserted(count) if count > 0))
}

/// The clock of the database in milliseconds, as an expression. Leases are judged by it alone:
/// the clocks of workers differ.
pub(crate) fn now_ms(db: &impl ConnectionTrait) -> SimpleExpr {
    SimpleExpr::Custom(now_ms_sql(db.get_database_backend()).into())
}

pub(crate) fn now_ms_sql(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Postgres => "(extract(epoch from clock_timestamp()) * 1000)::bigint",
        _ => "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
    }
}

/// The time by the clock of the database.
pub(crate) async fn now(db: &impl ConnectionTrait) -> Result<DateTime<Utc>, DbErr> {
    let backend = db.get_database_backend();
    let sql = format!("SELECT {} AS now_ms", now_ms_sql(backend));
    let row = db
        .query_one_raw(Statement::from_string(backend, sql))
        .await?;
    let now_ms = row.ok_or_else(no_clock)?.try_get("", "now_ms")?;
    DateTime::from_timestamp_millis(now_ms).ok_or_else(no_clock)
}

fn no_clock() -> DbErr {
    DbErr::Type("the clock of the database".to_owned())
}

/// Whether an error means that the database is away, rather than that something is wrong with a
/// message. Then consuming pauses.
pub fn is_outage(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| match cause.downcast_ref::<DbErr>() {
            Some(DbErr::ConnectionAcquire(_) | DbErr::Conn(_)) => true,
            Some(
                DbErr::Query(RuntimeErr::SqlxError(error))
                | DbErr::Exec(RuntimeErr::SqlxError(error)),
            ) => sqlx_outage(error),
            _ => false,
        })
}

fn sqlx_outage(error: &SqlxError) -> bool {
    match error {
        SqlxError::Io(_) | SqlxError::Tls(_) | SqlxError::Protocol(_) => true,
        SqlxError::PoolTimedOut | SqlxError::PoolClosed | SqlxError::WorkerCrashed => true,
        SqlxError::Database(refused) => refused.code().is_some_and(|code| {
            // PostgreSQL: connection, resources, shutdown, I/O, read-only standby, a transaction that
            // stood still, somebody else's locks. SQLite: read-only, I/O error, full disk.
            // https://www.postgresql.org/docs/current/errcodes-appendix.html
            // https://www.sqlite.org/rescode.html
            ["08", "53", "57P", "58"]
                .iter()
                .any(|class| code.starts_with(class) && code.len() == 5)
                || ["25006", "25P03", "55P03"].contains(&&*code)
                || code
                    .parse::<u32>()
                    .is_ok_and(|code| code < 10_000 && matches!(code & 0xff, 8 | 10 | 13))
        }),
        _ => false,
    }
}
