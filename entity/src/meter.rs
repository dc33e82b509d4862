//! What a meter of a resource said when it was last invoiced.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "meter")]
pub struct Model {
    /// The resource.
    #[sea_orm(primary_key, auto_increment = false)]
    pub resource_id: Uuid,
    /// What is counted: `traffic`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// What it said, as a decimal number. It counts from the beginning of the resource.
    pub counter: String,
    /// When it said so.
    pub billed_until: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
