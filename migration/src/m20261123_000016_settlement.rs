//! Until when a resource is invoiced, and what its meters said.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::{drop_all, references, table};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["billed_until", "settled_at"] {
            let add = Table::alter()
                .table("resource")
                .add_column(timestamp_with_time_zone_null(column))
                .to_owned();
            manager.alter_table(add).await?;
        }
        let connection = manager.get_connection();
        connection
            .execute_unprepared(
                "UPDATE resource SET billed_until = (
                   SELECT MAX(l.period_end) FROM invoice i JOIN invoice_line l ON l.invoice_id = i.id
                   WHERE i.order_id = resource.order_id)",
            )
            .await?;
        let meter = table(
            "meter",
            [
                uuid("resource_id"),
                text("name"),
                text("counter"),
                timestamp_with_time_zone("billed_until"),
            ],
        )
        .primary_key(Index::create().col("resource_id").col("name"))
        .foreign_key(&mut references("meter", "resource_id", "resource"))
        .take();
        manager.create_table(meter).await?;
        let reading = table(
            "usage_record",
            [
                uuid("reading_id"),
                uuid("resource_id"),
                text("meter"),
                text("unit"),
                text("counter"),
                timestamp_with_time_zone("read_at"),
            ],
        )
        .primary_key(
            Index::create()
                .col("reading_id")
                .col("resource_id")
                .col("meter"),
        )
        .foreign_key(&mut references("usage_record", "resource_id", "resource"))
        .take();
        manager.create_table(reading).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, &["usage_record", "meter"]).await?;
        for column in ["billed_until", "settled_at"] {
            let drop = Table::alter()
                .table("resource")
                .drop_column(column)
                .to_owned();
            manager.alter_table(drop).await?;
        }
        Ok(())
    }
}
