//! What an invoice has charged, from when until when, so that it can be given back when the invoice is
//! withdrawn.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "billed_period")]
pub struct Model {
    /// The invoice.
    #[sea_orm(primary_key, auto_increment = false)]
    pub invoice_id: Uuid,
    /// The resource.
    #[sea_orm(primary_key, auto_increment = false)]
    pub resource_id: Uuid,
    /// The meter; empty for the months of the resource.
    #[sea_orm(primary_key, auto_increment = false)]
    pub meter: String,
    /// Where the charge begins.
    pub start: DateTimeUtc,
    /// Where it ends.
    pub end: DateTimeUtc,
    /// What the meter said then, as decimal numbers.
    pub counter_start: Option<String>,
    /// The same at the end.
    pub counter_end: Option<String>,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
