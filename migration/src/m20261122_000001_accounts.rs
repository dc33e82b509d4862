//! Accounts, their credentials, and the issuer with its numbers and tax rates.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::{drop_all, plain, references, table, unique};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let account = table(
            "account",
            [
                uuid("id").primary_key().take(),
                text("kind"),
                text("name"),
                text_null("email"),
                text("street"),
                text("postal_code"),
                text("city"),
                text("country"),
                text_null("vat_id"),
                text("currency"),
                text("locale"),
                text("time_zone"),
                integer("payment_terms_days"),
                boolean("active"),
                timestamp_with_time_zone("created_at"),
            ],
        );
        manager.create_table(account).await?;

        let api_key = table(
            "api_key",
            [
                text("id").primary_key().take(),
                uuid("account_id"),
                text("name"),
                text("secret_sha256"),
                text("scopes"),
                timestamp_with_time_zone_null("expires_at"),
                timestamp_with_time_zone_null("revoked_at"),
                timestamp_with_time_zone("created_at"),
            ],
        )
        .foreign_key(&mut references("api_key", "account_id", "account"))
        .take();
        manager.create_table(api_key).await?;
        manager
            .create_index(plain("api_key", &["account_id"]))
            .await?;

        let issuer = table(
            "issuer",
            [
                uuid("id").primary_key().take(),
                text("name"),
                text("street"),
                text("postal_code"),
                text("city"),
                text("country"),
                text_null("vat_id"),
                text("registration"),
                text("email"),
                text("phone"),
                text("website"),
                text("bank_name"),
                text("iban"),
                text("bic"),
                text("time_zone"),
                text("invoice_prefix"),
                boolean("tax_exempt"),
                blob_null("logo_png"),
            ],
        );
        manager.create_table(issuer).await?;

        let number_series = table(
            "number_series",
            [
                uuid("issuer_id"),
                text("kind"),
                integer("year"),
                big_integer("last_number"),
            ],
        )
        .primary_key(Index::create().col("issuer_id").col("kind").col("year"))
        .foreign_key(&mut references("number_series", "issuer_id", "issuer"))
        .take();
        manager.create_table(number_series).await?;

        let tax_rate = table(
            "tax_rate",
            [
                uuid("id").primary_key().take(),
                text("country"),
                text("tax_class"),
                text("rate"),
                date("valid_from"),
                date_null("valid_until"),
            ],
        );
        manager.create_table(tax_rate).await?;
        manager
            .create_index(unique("tax_rate", &["country", "tax_class", "valid_from"]))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(
            manager,
            &["tax_rate", "number_series", "issuer", "api_key", "account"],
        )
        .await
    }
}
