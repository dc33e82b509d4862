//! How orders and resources end: requests to cancel and terminate, and when billing stops.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::{drop_all, plain, references, table};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["terminating_since", "terminated_at"] {
            let add = Table::alter()
                .table("resource")
                .add_column(timestamp_with_time_zone_null(column))
                .to_owned();
            manager.alter_table(add).await?;
        }
        let request = table(
            "request",
            [
                uuid("id").primary_key().take(),
                uuid("account_id"),
                text("kind"),
                uuid_null("subject_id"),
                text_null("external_ref"),
                text("request_sha256"),
                text("status"),
                text_null("note"),
                text_null("requested_by"),
                uuid_null("result_id"),
                text_null("problem"),
                text_null("trace_id"),
                timestamp_with_time_zone("requested_at"),
                timestamp_with_time_zone_null("decided_at"),
            ],
        )
        .foreign_key(&mut references("request", "account_id", "account"))
        .take();
        manager.create_table(request).await?;
        for index in [
            plain("request", &["subject_id"]),
            plain("request", &["account_id", "requested_at", "id"]),
        ] {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, &["request"]).await?;
        for column in ["terminating_since", "terminated_at"] {
            let drop = Table::alter()
                .table("resource")
                .drop_column(column)
                .to_owned();
            manager.alter_table(drop).await?;
        }
        Ok(())
    }
}
