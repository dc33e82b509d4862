//! A VAT rate of a country for a class of supplies, with the days it applies.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "tax_rate")]
pub struct Model {
    /// The rate.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// ISO 3166-1 alpha-2.
    pub country: String,
    /// `standard`, `reduced` or `exempt`.
    pub tax_class: String,
    /// Percent, as a decimal number.
    pub rate: String,
    /// The first day it applies.
    pub valid_from: Date,
    /// The first day it no longer applies.
    pub valid_until: Option<Date>,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
