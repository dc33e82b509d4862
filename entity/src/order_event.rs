//! One change of an order, for its history.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "order_event")]
pub struct Model {
    /// The order.
    #[sea_orm(primary_key, auto_increment = false)]
    pub order_id: Uuid,
    /// The version of the order that the change made.
    #[sea_orm(primary_key, auto_increment = false)]
    pub version: i32,
    /// Where the order stood after it.
    pub state: super::order::OrderState,
    /// Why, for the customer.
    pub note: Option<String>,
    /// When.
    pub at: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
