//! Somebody who gets the invoices of an account.

use sea_orm::entity::prelude::*;

/// How a mail goes to somebody (RFC 5322 §3.6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Field {
    /// It is for them.
    #[sea_orm(string_value = "to")]
    To,
    /// They get a copy.
    #[sea_orm(string_value = "cc")]
    Cc,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "account_contact")]
pub struct Model {
    /// The contact.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The account.
    pub account_id: Uuid,
    /// What to call them.
    pub name: String,
    /// Their address.
    pub email: String,
    /// The address in lower case: once in an account.
    pub email_key: String,
    /// Whether a mail is for them or they get a copy.
    pub field: Field,
    /// What they get, separated by spaces: `invoice`.
    pub kinds: String,
    /// Since when.
    pub created_at: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
