//! One line of an invoice.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "invoice_line")]
pub struct Model {
    /// The invoice.
    #[sea_orm(primary_key, auto_increment = false)]
    pub invoice_id: Uuid,
    /// Its place on the invoice, from 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i32,
    /// What it is for.
    pub description: String,
    /// How much, as a decimal number.
    pub quantity: String,
    /// Of what: `piece`, `month`.
    pub unit: String,
    /// Net price of one, as a decimal number.
    pub unit_price: String,
    /// Net amount, in minor units.
    pub net_minor: i64,
    /// EN 16931 category: S, AE, G, E, Z.
    pub tax_category: String,
    /// Percent, as a decimal number.
    pub tax_rate: String,
    /// When the period it is for begins.
    pub period_start: Option<DateTimeUtc>,
    /// When that period ends; not part of it.
    pub period_end: Option<DateTimeUtc>,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
