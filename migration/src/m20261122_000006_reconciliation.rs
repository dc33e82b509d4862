//! What the reconciler needs: since when a stage should have moved, and what it found at providers.
//! And when parked messages go back.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::{drop_all, plain, table};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [
            big_integer_null("check_at_ms"),
            big_integer("pause_ms").default(0).take(),
            integer("checks").default(0).take(),
        ] {
            let add = Table::alter().table("stage").add_column(column).to_owned();
            manager.alter_table(add).await?;
        }
        let due = plain("stage", &["state", "check_at_ms"]);
        manager.create_index(due).await?;

        let replay_at = timestamp_with_time_zone_null("replay_at");
        let add = Table::alter()
            .table("parked_message")
            .add_column(replay_at)
            .to_owned();
        manager.alter_table(add).await?;

        let discrepancy = table(
            "discrepancy",
            [
                uuid("id").primary_key().take(),
                text("kind"),
                text("provider"),
                text("external_id"),
                text_null("order_label"),
                uuid_null("resource_id"),
                timestamp_with_time_zone("first_seen_at"),
                timestamp_with_time_zone("last_seen_at"),
                timestamp_with_time_zone_null("resolved_at"),
            ],
        );
        manager.create_table(discrepancy).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, &["discrepancy"]).await?;
        let index = Index::drop()
            .name("stage_state_check_at_ms")
            .table("stage")
            .to_owned();
        manager.drop_index(index).await?;
        for (table, column) in [
            ("stage", "check_at_ms"),
            ("stage", "pause_ms"),
            ("stage", "checks"),
            ("parked_message", "replay_at"),
        ] {
            let drop = Table::alter().table(table).drop_column(column).to_owned();
            manager.alter_table(drop).await?;
        }
        Ok(())
    }
}
