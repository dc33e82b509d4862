//! Money that was received for an invoice, or given back.

use sea_orm::entity::prelude::*;

/// One row. The database refuses to change it.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "payment")]
pub struct Model {
    /// The payment.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// What it is for.
    pub invoice_id: Uuid,
    /// Who has paid.
    pub account_id: Uuid,
    /// ISO 4217 code, that of the invoice.
    pub currency: String,
    /// In minor units; negative if it takes back another one.
    pub amount_minor: i64,
    /// The day the money was there.
    pub received_on: Date,
    /// What the bank calls it; unique for an invoice.
    pub reference: String,
    /// In the words of whoever recorded it.
    pub note: Option<String>,
    /// Who recorded it.
    pub recorded_by: String,
    /// When it was recorded.
    pub recorded_at: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
