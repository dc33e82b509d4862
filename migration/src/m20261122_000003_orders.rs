//! Orders, the resources they make, and how far each step has come.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::{drop_all, plain, references, table, unique};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let order = table(
            "order",
            [
                uuid("id").primary_key().take(),
                uuid("account_id"),
                text_null("external_ref"),
                text("offering"),
                text("plan"),
                integer("quantity"),
                text("region"),
                text("name"),
                text("request_sha256"),
                text_null("prices"),
                text("state"),
                integer("version"),
                text_null("problem"),
                text_null("trace_id"),
                timestamp_with_time_zone("placed_at"),
                timestamp_with_time_zone("updated_at"),
                timestamp_with_time_zone_null("completed_at"),
            ],
        )
        .foreign_key(&mut references("order", "account_id", "account"))
        .take();
        manager.create_table(order).await?;
        manager
            .create_index(unique("order", &["account_id", "external_ref"]))
            .await?;
        manager
            .create_index(plain("order", &["account_id", "placed_at", "id"]))
            .await?;

        let order_event = table(
            "order_event",
            [
                uuid("order_id"),
                integer("version"),
                text("state"),
                text_null("note"),
                timestamp_with_time_zone("at"),
            ],
        )
        .primary_key(Index::create().col("order_id").col("version"))
        .foreign_key(&mut references("order_event", "order_id", "order"))
        .take();
        manager.create_table(order_event).await?;

        let resource = table(
            "resource",
            [
                uuid("id").primary_key().take(),
                uuid("order_id"),
                integer("ordinal"),
                uuid("account_id"),
                text("provider"),
                uuid("provider_account_id"),
                text("sku"),
                text("region"),
                text("name"),
                text("client_token"),
                text("state"),
                text_null("external_id"),
                text_null("address"),
                boolean("outcome_unknown"),
                big_integer("fence"),
                big_integer_null("lease_until_ms"),
                timestamp_with_time_zone_null("activated_at"),
                timestamp_with_time_zone("created_at"),
                timestamp_with_time_zone("updated_at"),
            ],
        )
        .foreign_key(&mut references("resource", "order_id", "order"))
        .foreign_key(&mut references("resource", "account_id", "account"))
        .foreign_key(&mut references(
            "resource",
            "provider_account_id",
            "provider_account",
        ))
        .take();
        manager.create_table(resource).await?;
        manager
            .create_index(unique("resource", &["order_id", "ordinal"]))
            .await?;
        manager
            .create_index(unique("resource", &["client_token"]))
            .await?;
        // No two of our resources are the same thing at the provider.
        manager
            .create_index(unique("resource", &["provider_account_id", "external_id"]))
            .await?;
        manager
            .create_index(plain("resource", &["account_id", "created_at", "id"]))
            .await?;

        let stage = table(
            "stage",
            [
                uuid("subject_id"),
                text("name"),
                text("state"),
                integer("attempts"),
                timestamp_with_time_zone_null("next_attempt_at"),
                text_null("last_error"),
                timestamp_with_time_zone("updated_at"),
            ],
        )
        .primary_key(Index::create().col("subject_id").col("name"))
        .take();
        manager.create_table(stage).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, &["stage", "resource", "order_event", "order"]).await
    }
}
