//! A reminder of an invoice that is not paid in time. Each level is sent once.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "reminder")]
pub struct Model {
    /// The reminder, which its mails tell of.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The invoice.
    pub invoice_id: Uuid,
    /// How often it was reminded of with this one, from 1; the tone follows from it.
    pub level: i32,
    /// What was to be paid then, in minor units.
    pub open_minor: i64,
    /// The day it was sent, where the issuer is.
    pub sent_on: Date,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
