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
    /// What the secret part is compared with: a hash under a pepper that is not in the database.
    pub secret_hash: String,
    /// What it may do: scopes separated by blanks.
    pub scopes: String,
    /// When it stops working by itself.
    pub expires_at: Option<DateTimeUtc>,
    /// When it was revoked.
    pub revoked_at: Option<DateTimeUtc>,
    /// From where it may be used: networks separated by blanks. Empty: from everywhere.
    pub networks: String,
    /// When it was last used, to the minute.
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
