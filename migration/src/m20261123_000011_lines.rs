//! A line of a draft cannot be moved to an invoice that is issued either.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, DbBackend};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let create = match manager.get_database_backend() {
            DbBackend::Postgres => {
                "CREATE TRIGGER invoice_line_moved BEFORE UPDATE ON invoice_line
                 FOR EACH ROW WHEN (NEW.invoice_id IS DISTINCT FROM OLD.invoice_id)
                 EXECUTE FUNCTION refuse_change()"
            }
            _ => {
                "CREATE TRIGGER invoice_line_moved BEFORE UPDATE ON invoice_line
                 WHEN NEW.invoice_id IS NOT OLD.invoice_id
                 BEGIN SELECT RAISE(ABORT, 'invoice_line is kept as it is'); END"
            }
        };
        let connection = manager.get_connection();
        connection.execute_unprepared(create).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let drop = match manager.get_database_backend() {
            DbBackend::Postgres => "DROP TRIGGER invoice_line_moved ON invoice_line",
            _ => "DROP TRIGGER invoice_line_moved",
        };
        let connection = manager.get_connection();
        connection.execute_unprepared(drop).await.map(|_| ())
    }
}
