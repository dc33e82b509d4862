//! Credit notes: documents of their own, numbered in series of their own, that name the invoice they
//! correct. And when a document was first handed out.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, DbBackend};

use crate::{plain, unique};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in [
            ("invoice", text("kind").default("invoice").take()),
            ("invoice", uuid_null("corrects")),
            ("invoice", timestamp_with_time_zone_null("fetched_at")),
            ("issuer", text("credit_note_prefix").default("CN-").take()),
        ] {
            let add = Table::alter().table(table).add_column(column).to_owned();
            manager.alter_table(add).await?;
        }
        let old = Index::drop()
            .name("invoice_issuer_id_year_sequence")
            .table("invoice")
            .to_owned();
        manager.drop_index(old).await?;
        for index in [
            unique("invoice", &["issuer_id", "kind", "year", "sequence"]),
            plain("invoice", &["corrects"]),
        ] {
            manager.create_index(index).await?;
        }
        let create = match manager.get_database_backend() {
            DbBackend::Postgres => {
                "CREATE TRIGGER invoice_kind_kept BEFORE UPDATE ON invoice
                 FOR EACH ROW WHEN (NEW.kind IS DISTINCT FROM OLD.kind
                   OR NEW.corrects IS DISTINCT FROM OLD.corrects)
                 EXECUTE FUNCTION refuse_change()"
            }
            _ => {
                "CREATE TRIGGER invoice_kind_kept BEFORE UPDATE ON invoice
                 WHEN NEW.kind IS NOT OLD.kind OR NEW.corrects IS NOT OLD.corrects
                 BEGIN SELECT RAISE(ABORT, 'an invoice stays what it is'); END"
            }
        };
        let connection = manager.get_connection();
        connection.execute_unprepared(create).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let drop = match manager.get_database_backend() {
            DbBackend::Postgres => "DROP TRIGGER invoice_kind_kept ON invoice",
            _ => "DROP TRIGGER invoice_kind_kept",
        };
        manager.get_connection().execute_unprepared(drop).await?;
        for index in ["invoice_issuer_id_kind_year_sequence", "invoice_corrects"] {
            let drop = Index::drop().name(index).table("invoice").to_owned();
            manager.drop_index(drop).await?;
        }
        for (table, column) in [
            ("invoice", "kind"),
            ("invoice", "corrects"),
            ("invoice", "fetched_at"),
            ("issuer", "credit_note_prefix"),
        ] {
            let drop = Table::alter().table(table).drop_column(column).to_owned();
            manager.alter_table(drop).await?;
        }
        manager
            .create_index(unique("invoice", &["issuer_id", "year", "sequence"]))
            .await
    }
}
