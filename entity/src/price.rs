//! What a component of a plan costs in one currency, net of tax, from a moment on.

use sea_orm::entity::prelude::*;

/// When a price is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Charge {
    /// Once, when the order completes.
    #[sea_orm(string_value = "one_off")]
    OneOff,
    /// For each month, the first in advance.
    #[sea_orm(string_value = "monthly")]
    Monthly,
    /// For each unit that the meter of the same name has counted, afterwards.
    #[sea_orm(string_value = "usage")]
    Usage,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "price")]
pub struct Model {
    /// The price.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Its plan.
    pub plan_id: Uuid,
    /// What it is for, unique in the plan: `setup`, `server`.
    pub component: String,
    /// The text of the invoice line.
    pub description: String,
    /// When it is charged.
    pub charge: Charge,
    /// ISO 4217 code.
    pub currency: String,
    /// For one unit, as a decimal number.
    pub unit_price: String,
    /// `standard`, `reduced` or `exempt`.
    pub tax_class: String,
    /// The moment from which it applies.
    pub valid_from: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
