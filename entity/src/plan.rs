//! A size of an offering.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "plan")]
pub struct Model {
    /// The plan.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Its offering.
    pub offering_id: Uuid,
    /// Its stable identifier within the offering.
    pub code: String,
    /// Its name.
    pub name: String,
    /// What the provider calls it.
    pub sku: String,
    /// Whether it can be ordered.
    pub active: bool,
    /// Within how many minutes a ticket about it is answered, if that is promised.
    pub answer_minutes: Option<i32>,
    /// Within how many minutes a ticket about it is solved, if that is promised.
    pub resolution_minutes: Option<i32>,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
