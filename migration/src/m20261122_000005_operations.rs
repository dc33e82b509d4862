//! What operators work with: parked messages and the audit trail.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::{drop_all, plain, table, unique};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let parked_message = table(
            "parked_message",
            [
                uuid("id").primary_key().take(),
                text("queue"),
                uuid("message_id"),
                uuid("correlation_id"),
                uuid_null("account_id"),
                text("kind"),
                text("reason"),
                text("error"),
                integer("attempts"),
                text_null("publisher"),
                text("origin_exchange"),
                text("origin_routing_key"),
                text("version"),
                text("headers"),
                blob("body"),
                text_null("trace_id"),
                text("state"),
                text_null("decided_by"),
                text_null("note"),
                timestamp_with_time_zone_null("decided_at"),
                timestamp_with_time_zone("parked_at"),
            ],
        );
        manager.create_table(parked_message).await?;
        // The same parking, delivered twice, is one row; parked again after a replay is another.
        manager
            .create_index(unique(
                "parked_message",
                &["queue", "message_id", "parked_at"],
            ))
            .await?;
        manager
            .create_index(plain("parked_message", &["state", "parked_at"]))
            .await?;
        manager
            .create_index(plain("parked_message", &["correlation_id"]))
            .await?;

        let audit_entry = table(
            "audit_entry",
            [
                uuid("id").primary_key().take(),
                timestamp_with_time_zone("at"),
                text("actor"),
                text("action"),
                text("subject"),
                text_null("note"),
                text_null("trace_id"),
            ],
        );
        manager.create_table(audit_entry).await?;
        manager
            .create_index(plain("audit_entry", &["subject"]))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, &["audit_entry", "parked_message"]).await
    }
}
