//! A person who is logged in.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "session")]
pub struct Model {
    /// The session.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Whose it is.
    pub user_id: Uuid,
    /// Hash of what the cookie holds.
    #[sea_orm(unique)]
    pub token_hash: String,
    /// How they proved who they are, separated by spaces: `pwd`, `otp`, `rec` (RFC 8176).
    pub amr: String,
    /// Whether the second factor is still to be given. Until then it is good for nothing else.
    pub second_factor_due: bool,
    /// Since when.
    pub created_at: DateTimeUtc,
    /// When it was last used, to the minute.
    pub last_seen_at: DateTimeUtc,
    /// When it ends, whatever happens.
    pub expires_at: DateTimeUtc,
    /// When it was ended.
    pub ended_at: Option<DateTimeUtc>,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
