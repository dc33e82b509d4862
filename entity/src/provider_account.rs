//! Our account at a cloud provider.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "provider_account")]
pub struct Model {
    /// The account.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Which provider: `simulated`.
    pub provider: String,
    /// What operators call it.
    pub name: String,
    /// Whether new resources may be created with it.
    pub active: bool,
    /// What we prove with that it is us, sealed for this row.
    pub credential: Option<String>,
    /// Since when it is this one.
    pub credential_set_at: Option<DateTimeUtc>,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
