//! What keys may be used from where, when they were used, and with which pepper they are hashed;
//! accounts that change, and who changed what.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::{drop_all, plain, table};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in [
            ("account", integer("version").default(1).take()),
            ("api_key", text("networks").default("").take()),
            ("api_key", timestamp_with_time_zone_null("last_used_at")),
            ("api_key", text_null("created_by")),
            ("audit_entry", uuid_null("account_id")),
            ("audit_entry", text_null("credential")),
            ("audit_entry", text_null("before")),
            ("audit_entry", text_null("after")),
            ("audit_entry", uuid_null("message_id")),
        ] {
            let add = Table::alter().table(table).add_column(column).to_owned();
            manager.alter_table(add).await?;
        }
        // What is in it follows from the pepper from now on.
        let rename = Table::alter()
            .table("api_key")
            .rename_column("secret_sha256", "secret_hash")
            .to_owned();
        manager.alter_table(rename).await?;
        let audit = plain("audit_entry", &["account_id", "at"]);
        manager.create_index(audit).await?;
        let setting = table(
            "setting",
            [text("name").primary_key().take(), text("value")],
        );
        manager.create_table(setting).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, &["setting"]).await?;
        let index = Index::drop()
            .name("audit_entry_account_id_at")
            .table("audit_entry")
            .to_owned();
        manager.drop_index(index).await?;
        let rename = Table::alter()
            .table("api_key")
            .rename_column("secret_hash", "secret_sha256")
            .to_owned();
        manager.alter_table(rename).await?;
        for (table, column) in [
            ("account", "version"),
            ("api_key", "networks"),
            ("api_key", "last_used_at"),
            ("api_key", "created_by"),
            ("audit_entry", "account_id"),
            ("audit_entry", "credential"),
            ("audit_entry", "before"),
            ("audit_entry", "after"),
            ("audit_entry", "message_id"),
        ] {
            let drop = Table::alter().table(table).drop_column(column).to_owned();
            manager.alter_table(drop).await?;
        }
        Ok(())
    }
}
