//! OAuth 2.0: clients, the keys that sign access tokens, and issuers of others with the clients of
//! theirs that act for accounts.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::{drop_all, plain, references, table, unique};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let client = table(
            "oauth_client",
            [
                uuid("id").primary_key().take(),
                uuid("account_id"),
                text("name"),
                text("secret_hash"),
                text_null("old_secret_hash"),
                timestamp_with_time_zone_null("old_secret_until"),
                text("scopes"),
                text("networks"),
                timestamp_with_time_zone_null("expires_at"),
                timestamp_with_time_zone_null("revoked_at"),
                timestamp_with_time_zone_null("last_used_at"),
                text_null("created_by"),
                timestamp_with_time_zone("created_at"),
            ],
        )
        .foreign_key(&mut references("oauth_client", "account_id", "account"))
        .take();
        let signing_key = table(
            "signing_key",
            [
                text("id").primary_key().take(),
                integer("generation"),
                text("algorithm"),
                text("public_key"),
                text("private_key"),
                timestamp_with_time_zone("active_from"),
                timestamp_with_time_zone_null("retired_at"),
                timestamp_with_time_zone("created_at"),
            ],
        );
        let issuer = table(
            "foreign_issuer",
            [
                text("id").primary_key().take(),
                text("audience"),
                text("algorithms"),
                text("token_type"),
                text("client_claim"),
                text_null("scope_claim"),
                text("seal"),
                timestamp_with_time_zone("created_at"),
            ],
        );
        let foreign_client = table(
            "foreign_client",
            [
                text("issuer_id"),
                text("client_id"),
                uuid("account_id"),
                text("scopes"),
                text("seal"),
                timestamp_with_time_zone("created_at"),
            ],
        )
        .primary_key(Index::create().col("issuer_id").col("client_id"))
        .foreign_key(&mut references(
            "foreign_client",
            "issuer_id",
            "foreign_issuer",
        ))
        .foreign_key(&mut references("foreign_client", "account_id", "account"))
        .take();
        for table in [client, signing_key, issuer, foreign_client] {
            manager.create_table(table).await?;
        }
        for index in [
            plain("oauth_client", &["account_id", "created_at", "id"]),
            // Who makes a key at the same time as another makes the same one.
            unique("signing_key", &["generation"]),
            plain("foreign_client", &["account_id"]),
        ] {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = [
            "foreign_client",
            "foreign_issuer",
            "signing_key",
            "oauth_client",
        ];
        drop_all(manager, &tables).await
    }
}
