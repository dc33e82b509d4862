//! The catalogue: what can be ordered, where it is created, and what it costs.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::{drop_all, references, table, unique};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let provider_account = table(
            "provider_account",
            [
                uuid("id").primary_key().take(),
                text("provider"),
                text("name"),
                boolean("active"),
            ],
        );
        manager.create_table(provider_account).await?;
        manager
            .create_index(unique("provider_account", &["provider", "name"]))
            .await?;

        let offering = table(
            "offering",
            [
                uuid("id").primary_key().take(),
                text("code").unique_key().take(),
                text("name"),
                text("description"),
                uuid("provider_account_id"),
                text("regions"),
                boolean("active"),
            ],
        )
        .foreign_key(&mut references(
            "offering",
            "provider_account_id",
            "provider_account",
        ))
        .take();
        manager.create_table(offering).await?;

        let plan = table(
            "plan",
            [
                uuid("id").primary_key().take(),
                uuid("offering_id"),
                text("code"),
                text("name"),
                text("sku"),
                boolean("active"),
            ],
        )
        .foreign_key(&mut references("plan", "offering_id", "offering"))
        .take();
        manager.create_table(plan).await?;
        manager
            .create_index(unique("plan", &["offering_id", "code"]))
            .await?;

        let price = table(
            "price",
            [
                uuid("id").primary_key().take(),
                uuid("plan_id"),
                text("component"),
                text("description"),
                text("charge"),
                text("currency"),
                text("unit_price"),
                text("tax_class"),
                timestamp_with_time_zone("valid_from"),
            ],
        )
        .foreign_key(&mut references("price", "plan_id", "plan"))
        .take();
        manager.create_table(price).await?;
        manager
            .create_index(unique(
                "price",
                &["plan_id", "currency", "component", "valid_from"],
            ))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, &["price", "plan", "offering", "provider_account"]).await
    }
}
