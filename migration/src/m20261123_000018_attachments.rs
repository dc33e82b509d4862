//! Files of tickets.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::{drop_all, plain, references, table};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let attachment = table(
            "attachment",
            [
                uuid("id").primary_key().take(),
                uuid("account_id"),
                text("name"),
                text("media_type"),
                big_integer("size"),
                text("sha256"),
                timestamp_with_time_zone("uploaded_at"),
                // The last one: what comes before is read without it.
                blob("bytes"),
            ],
        )
        .foreign_key(&mut references("attachment", "account_id", "account"))
        .take();
        manager.create_table(attachment).await?;
        let used = table(
            "ticket_attachment",
            [
                uuid("message_id"),
                uuid("attachment_id"),
                integer("position"),
            ],
        )
        .primary_key(Index::create().col("message_id").col("attachment_id"))
        .foreign_key(&mut references(
            "ticket_attachment",
            "message_id",
            "ticket_message",
        ))
        .foreign_key(&mut references(
            "ticket_attachment",
            "attachment_id",
            "attachment",
        ))
        .take();
        manager.create_table(used).await?;
        for index in [
            plain("attachment", &["account_id", "uploaded_at", "id"]),
            plain("attachment", &["uploaded_at"]),
            plain("ticket_attachment", &["attachment_id"]),
        ] {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, &["ticket_attachment", "attachment"]).await
    }
}
