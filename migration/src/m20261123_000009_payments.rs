//! What was paid. A payment is never changed; one that was wrong is taken back by another one.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, DbBackend};

use crate::{drop_all, plain, references, table, unique};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let payment = table(
            "payment",
            [
                uuid("id").primary_key().take(),
                uuid("invoice_id"),
                uuid("account_id"),
                text("currency"),
                big_integer("amount_minor"),
                date("received_on"),
                text("reference"),
                text_null("note"),
                text("recorded_by"),
                timestamp_with_time_zone("recorded_at"),
            ],
        )
        .foreign_key(&mut references("payment", "invoice_id", "invoice"))
        .take();
        manager.create_table(payment).await?;
        for index in [
            unique("payment", &["invoice_id", "reference"]),
            plain("payment", &["account_id", "received_on"]),
        ] {
            manager.create_index(index).await?;
        }
        let connection = manager.get_connection();
        for statement in triggers(manager.get_database_backend()) {
            connection.execute_unprepared(&statement).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, &["payment"]).await
    }
}

fn triggers(backend: DbBackend) -> Vec<String> {
    match backend {
        DbBackend::Postgres => vec![
            "CREATE TRIGGER payment_kept BEFORE UPDATE OR DELETE ON payment
             FOR EACH ROW EXECUTE FUNCTION refuse_change()"
                .to_owned(),
            "CREATE TRIGGER payment_kept_whole BEFORE TRUNCATE ON payment
             EXECUTE FUNCTION refuse_change()"
                .to_owned(),
        ],
        _ => ["UPDATE", "DELETE"]
            .map(|event| {
                format!(
                    "CREATE TRIGGER payment_kept_{event} BEFORE {event} ON payment
                     BEGIN SELECT RAISE(ABORT, 'a payment is kept as it is'); END"
                )
            })
            .into(),
    }
}
