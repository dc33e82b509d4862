//! A partner system that publishes straight to the broker, under a broker user of this name.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "publisher")]
pub struct Model {
    /// The broker user.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// The kinds of messages it may publish, separated by blanks.
    pub kinds: String,
    /// When it was created.
    pub created_at: DateTimeUtc,
    /// When it was revoked.
    pub revoked_at: Option<DateTimeUtc>,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
