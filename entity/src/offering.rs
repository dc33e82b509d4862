//! Something in the catalogue that can be ordered.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "offering")]
pub struct Model {
    /// The offering.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Its stable identifier.
    pub code: String,
    /// Its name.
    pub name: String,
    /// What it is, for the customer.
    pub description: String,
    /// Where its resources are created.
    pub provider_account_id: Uuid,
    /// Codes of the regions it is offered in, separated by blanks.
    pub regions: String,
    /// Whether it can be ordered.
    pub active: bool,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
