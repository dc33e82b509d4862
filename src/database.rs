//! Opens the database.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use migration::Migrator;
use sea_orm::{ConnectOptions, Database, DatabaseConnection};
use sea_orm_migration::MigratorTrait;
use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use url::Url;

/// How long a query may wait for a connection, and a connection for the server.
const PATIENCE: Duration = Duration::from_secs(5);
/// Half a dozen processes fit into the hundred connections that PostgreSQL has by default.
const POSTGRES_CONNECTIONS: u32 = 12;

/// Opens the database at `url`. PostgreSQL is connected to when it is first needed, so that a
/// process starts while the server is away; the file of SQLite is opened here.
///
/// # Errors
/// When the URL cannot be used or the file cannot be opened.
pub(crate) async fn connect(url: &str) -> anyhow::Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(url);
    options
        .sqlx_logging(false)
        .acquire_timeout(PATIENCE)
        .connect_timeout(PATIENCE);
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path
            .trim_start_matches("//")
            .split('?')
            .next()
            .unwrap_or_default();
        if let Some(folder) = Path::new(path).parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("make the folder {}", folder.display()))?;
        }
        // One connection: writers would only wait for each other, and lose the order doing it.
        options
            .max_connections(1)
            .min_connections(1)
            .test_before_acquire(false);
        options.map_sqlx_sqlite_opts(|sqlite| {
            sqlite
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                // A commit is on disk when it returns: messages are acknowledged after it.
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(Duration::from_secs(10))
                .foreign_keys(true)
                // REPLACE deletes rows. What refuses a deletion is not asked without this.
                .pragma("recursive_triggers", "ON")
        });
    } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        // Whoever finds out later shows the URL with its password.
        Url::parse(url).context("read DATABASE_URL")?;
        options
            .max_connections(POSTGRES_CONNECTIONS)
            .min_connections(0)
            .connect_lazy(true)
            .statement_timeout(Duration::from_secs(30))
            // Long before others lose patience with the locks of a process that stands still, and
            // before a message is blamed for the locks of somebody else.
            .map_sqlx_postgres_opts(|postgres| {
                postgres.options([
                    ("idle_in_transaction_session_timeout", "10s"),
                    ("lock_timeout", "15s"),
                ])
            })
            .test_before_acquire(false)
            .test_before_acquire_if_idle_for(Duration::from_secs(10));
    } else {
        bail!("DATABASE_URL must begin with postgres:// or sqlite:");
    }
    Database::connect(options)
        .await
        .context("open the database")
}

/// Brings the database to the current version.
///
/// # Errors
/// When the database cannot be reached or refuses a migration.
pub(crate) async fn migrate(db: &DatabaseConnection) -> anyhow::Result<()> {
    Migrator::up(db, None).await.context("migrate the database")
}

#[cfg(test)]
mod tests {
    use sea_orm::ConnectionTrait;

    use super::*;

    #[tokio::test]
    async fn what_must_not_be_deleted_cannot_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("flow.db").display());
        let db = connect(&url).await.unwrap();
        for statement in [
            "CREATE TABLE kept (id INTEGER PRIMARY KEY, text TEXT)",
            "CREATE TRIGGER kept_delete BEFORE DELETE ON kept
             BEGIN SELECT RAISE(ABORT, 'kept as it is'); END",
            "INSERT INTO kept VALUES (1, 'a'), (2, 'b')",
        ] {
            db.execute_unprepared(statement).await.unwrap();
        }
        for statement in [
            "REPLACE INTO kept VALUES (1, 'x')",
            "INSERT OR REPLACE INTO kept VALUES (1, 'x')",
            "UPDATE OR REPLACE kept SET id = 1 WHERE id = 2",
        ] {
            let refused = db.execute_unprepared(statement).await;
            let reason = refused.expect_err(statement).to_string();
            assert!(reason.contains("kept as it is"), "{reason}");
        }
    }
}
