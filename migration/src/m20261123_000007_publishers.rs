//! Partner systems that publish straight to the broker, and the accounts that they act for.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::{drop_all, references, table};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let publisher = table(
            "publisher",
            [
                text("name").primary_key().take(),
                text("kinds"),
                timestamp_with_time_zone("created_at"),
                timestamp_with_time_zone_null("revoked_at"),
            ],
        );
        manager.create_table(publisher).await?;
        let account = table("publisher_account", [text("publisher"), uuid("account_id")])
            .primary_key(Index::create().col("publisher").col("account_id"))
            .foreign_key(&mut references(
                "publisher_account",
                "account_id",
                "account",
            ))
            .to_owned();
        manager.create_table(account).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, &["publisher_account", "publisher"]).await
    }
}
