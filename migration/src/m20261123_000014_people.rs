//! People: who may act for which accounts, how they prove who they are, and whom invoices go to.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::{drop_all, plain, references, table, unique};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        users(manager).await?;
        let membership = table(
            "membership",
            [
                uuid("account_id"),
                uuid("user_id"),
                text("role"),
                timestamp_with_time_zone("created_at"),
            ],
        )
        .primary_key(Index::create().col("account_id").col("user_id"))
        .foreign_key(&mut references("membership", "account_id", "account"))
        .foreign_key(&mut references("membership", "user_id", "user"))
        .take();
        manager.create_table(membership).await?;
        invitations(manager).await?;
        let contact = table(
            "account_contact",
            [
                uuid("id").primary_key().take(),
                uuid("account_id"),
                text("name"),
                text("email"),
                text("email_key"),
                text("field"),
                text("kinds"),
                timestamp_with_time_zone("created_at"),
            ],
        )
        .foreign_key(&mut references("account_contact", "account_id", "account"))
        .take();
        manager.create_table(contact).await?;
        for index in [
            unique("user", &["email_key"]),
            plain("membership", &["user_id"]),
            plain("session", &["user_id"]),
            plain("recovery_code", &["user_id"]),
            plain("one_time_token", &["email_key"]),
            plain("invitation", &["account_id", "created_at", "id"]),
            unique("account_contact", &["account_id", "email_key"]),
        ] {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = [
            "account_contact",
            "invitation",
            "one_time_token",
            "recovery_code",
            "session",
            "membership",
            "user",
        ];
        drop_all(manager, &tables).await
    }
}

/// People, their sessions, and what else they prove themselves with.
async fn users(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let user = table(
        "user",
        [
            uuid("id").primary_key().take(),
            text("email"),
            text("email_key"),
            text("name"),
            text("locale"),
            text_null("password_hash"),
            timestamp_with_time_zone("email_confirmed_at"),
            text_null("totp_secret"),
            timestamp_with_time_zone_null("totp_confirmed_at"),
            big_integer_null("totp_last_step"),
            integer("failed_log_ins").default(0).take(),
            boolean("active"),
            timestamp_with_time_zone("created_at"),
        ],
    );
    manager.create_table(user).await?;
    let session = table(
        "session",
        [
            uuid("id").primary_key().take(),
            uuid("user_id"),
            text("token_hash").unique_key().take(),
            text("amr"),
            boolean("second_factor_due"),
            timestamp_with_time_zone("created_at"),
            timestamp_with_time_zone("last_seen_at"),
            timestamp_with_time_zone("expires_at"),
            timestamp_with_time_zone_null("ended_at"),
        ],
    )
    .foreign_key(&mut references("session", "user_id", "user"))
    .take();
    manager.create_table(session).await?;
    let recovery_code = table(
        "recovery_code",
        [
            uuid("id").primary_key().take(),
            uuid("user_id"),
            text("hash"),
            timestamp_with_time_zone_null("used_at"),
        ],
    )
    .foreign_key(&mut references("recovery_code", "user_id", "user"))
    .take();
    manager.create_table(recovery_code).await
}

/// What is proved with a link in a mail.
async fn invitations(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let one_time_token = table(
        "one_time_token",
        [
            uuid("id").primary_key().take(),
            text("purpose"),
            text("email"),
            text("email_key"),
            uuid_null("user_id"),
            text("locale"),
            text_null("content"),
            timestamp_with_time_zone("expires_at"),
            timestamp_with_time_zone_null("used_at"),
            timestamp_with_time_zone("created_at"),
        ],
    )
    .foreign_key(&mut references("one_time_token", "user_id", "user"))
    .take();
    manager.create_table(one_time_token).await?;
    let invitation = table(
        "invitation",
        [
            uuid("id").primary_key().take(),
            uuid("account_id"),
            text("email"),
            text("email_key"),
            text("role"),
            text("invited_by"),
            timestamp_with_time_zone("expires_at"),
            timestamp_with_time_zone_null("accepted_at"),
            timestamp_with_time_zone_null("revoked_at"),
            timestamp_with_time_zone("created_at"),
        ],
    )
    .foreign_key(&mut references("invitation", "account_id", "account"))
    .take();
    manager.create_table(invitation).await
}
