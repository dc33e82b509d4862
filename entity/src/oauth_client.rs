//! An OAuth 2.0 client of an account: a program that exchanges its secret for access tokens (RFC 6749
//! §4.4). The secret is not stored.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "oauth_client")]
pub struct Model {
    /// The `client_id`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The account it acts for.
    pub account_id: Uuid,
    /// What the owner calls it.
    pub name: String,
    /// What the secret is compared with: a hash under a pepper that is not in the database.
    pub secret_hash: String,
    /// The secret before the last rotation, hashed alike.
    pub old_secret_hash: Option<String>,
    /// Until when the old secret works beside the new one.
    pub old_secret_until: Option<DateTimeUtc>,
    /// What its tokens may allow at most: scopes separated by blanks.
    pub scopes: String,
    /// From where it and its tokens may be used: networks separated by blanks. Empty: from everywhere.
    pub networks: String,
    /// When it and its tokens stop working by themselves.
    pub expires_at: Option<DateTimeUtc>,
    /// When it was revoked.
    pub revoked_at: Option<DateTimeUtc>,
    /// When it or one of its tokens was last used, to the minute.
    pub last_used_at: Option<DateTimeUtc>,
    /// Who created it.
    pub created_by: Option<String>,
    /// When it was created.
    pub created_at: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
