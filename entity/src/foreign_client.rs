//! A client of a foreign issuer, and the account that it acts for.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "foreign_client")]
pub struct Model {
    /// The issuer that it comes from.
    #[sea_orm(primary_key, auto_increment = false)]
    pub issuer_id: String,
    /// What the issuer calls it, in the claim that names clients.
    #[sea_orm(primary_key, auto_increment = false)]
    pub client_id: String,
    /// The account it acts for.
    pub account_id: Uuid,
    /// What it may do at most: scopes separated by blanks.
    pub scopes: String,
    /// What makes the row count: a hash of it under a pepper that is not in the database.
    pub seal: String,
    /// When it was allowed.
    pub created_at: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
