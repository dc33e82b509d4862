//! A credential of an account: `cf_<id>_<secret>`. The secret is not stored.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_key")]
pub struct Model {
    /// The public part of the key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The account it acts for.
    pub account_id: Uuid,
    /// What the owner calls it.
    pub name: String,
    /// SHA-256 of the secret part, in hex.
    pub secret_sha256: String,
    /// What it may do: scopes separated by blanks.
    pub scopes: String,
    /// When it stops working by itself.
    pub expires_at: Option<DateTimeUtc>,
    /// When it was revoked.
    pub revoked_at: Option<DateTimeUtc>,
    /// When it was created.
    pub created_at: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
