//! What a meter of a resource said when it was read.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_record")]
pub struct Model {
    /// What it was read for: the request for an invoice; the resource itself before it was deleted.
    #[sea_orm(primary_key, auto_increment = false)]
    pub reading_id: Uuid,
    /// The resource.
    #[sea_orm(primary_key, auto_increment = false)]
    pub resource_id: Uuid,
    /// What is counted: `traffic`. Empty, and 0, for a resource that has no meter.
    #[sea_orm(primary_key, auto_increment = false)]
    pub meter: String,
    /// Of what: `GiB`.
    pub unit: String,
    /// What it said, as a decimal number. It counts from the beginning of the resource.
    pub counter: String,
    /// When it was read.
    pub read_at: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
