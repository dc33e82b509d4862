//! What an invoice has charged. Of those that are there already it is not known: they are given back by
//! hand.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::{drop_all, references, table};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let billed = table(
            "billed_period",
            [
                uuid("invoice_id"),
                uuid("resource_id"),
                text("meter"),
                timestamp_with_time_zone("start"),
                timestamp_with_time_zone("end"),
                text_null("counter_start"),
                text_null("counter_end"),
            ],
        )
        .primary_key(
            Index::create()
                .col("invoice_id")
                .col("resource_id")
                .col("meter"),
        )
        .foreign_key(&mut references("billed_period", "invoice_id", "invoice"))
        .foreign_key(&mut references("billed_period", "resource_id", "resource"))
        .take();
        manager.create_table(billed).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, &["billed_period"]).await
    }
}
