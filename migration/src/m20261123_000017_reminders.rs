//! Reminders of invoices that are not paid in time.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::{drop_all, references, table, unique};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let reminder = table(
            "reminder",
            [
                uuid("id").primary_key().take(),
                uuid("invoice_id"),
                integer("level"),
                big_integer("open_minor"),
                date("sent_on"),
            ],
        )
        .foreign_key(&mut references("reminder", "invoice_id", "invoice"))
        .take();
        manager.create_table(reminder).await?;
        manager
            .create_index(unique("reminder", &["invoice_id", "level"]))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, &["reminder"]).await
    }
}
