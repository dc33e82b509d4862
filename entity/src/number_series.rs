//! A gap-free series of numbers of one issuer, kind and year. Its row is locked last, in the transaction that issues.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "number_series")]
pub struct Model {
    /// The issuer.
    #[sea_orm(primary_key, auto_increment = false)]
    pub issuer_id: Uuid,
    /// What is numbered: `invoice`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: String,
    /// The year it is for.
    #[sea_orm(primary_key, auto_increment = false)]
    pub year: i32,
    /// The number given last; 0 before the first.
    pub last_number: i64,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
