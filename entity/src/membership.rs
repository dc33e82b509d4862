//! That a person may act for an account, and as what.

use sea_orm::entity::prelude::*;

/// What a person may do for an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Role {
    /// Everything that a customer may do, other people included. There is always one.
    #[sea_orm(string_value = "owner")]
    Owner,
    /// Invoices, the account and whom they go to.
    #[sea_orm(string_value = "billing")]
    Billing,
    /// Orders, resources and tickets.
    #[sea_orm(string_value = "technical")]
    Technical,
    /// To see everything.
    #[sea_orm(string_value = "read-only")]
    ReadOnly,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "membership")]
pub struct Model {
    /// The account.
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: Uuid,
    /// The person.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: Uuid,
    /// What they may do.
    pub role: Role,
    /// Since when.
    pub created_at: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
