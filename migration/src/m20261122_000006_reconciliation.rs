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
            timestamp_with_time_zone_null("check_at"),
            integer("checks").default(0).take(),
        ] {
            let add = Table::alter().table("stage").add_column(column).to_owned();
            manager.alter_table(add).await?;
        }
        // What was on its way before this migration is looked at too.
        let existing = Query::update()
            .table("stage")
            .value("check_at", Expr::column("updated_at"))
            .and_where(Expr::column("state").is_in(["pending", "running", "retrying"]))
            .to_owned();
        manager.execute(existing).await?;
        manager.create_index(plain("stage", &["check_at"])).await?;

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
            .name("stage_check_at")
            .table("stage")
            .to_owned();
        manager.drop_index(index).await?;
        for (table, column) in [
            ("stage", "check_at"),
            ("stage", "checks"),
            ("parked_message", "replay_at"),
        ] {
            let drop = Table::alter().table(table).drop_column(column).to_owned();
            manager.alter_table(drop).await?;
        }
        Ok(())
    }
}
