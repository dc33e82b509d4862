//! What was said in a ticket.

use sea_orm::entity::prelude::*;

/// Who says something in a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Author {
    /// The customer.
    #[sea_orm(string_value = "customer")]
    Customer,
    /// Somebody of the support.
    #[sea_orm(string_value = "support")]
    Support,
    /// Nobody: it happens by itself.
    #[sea_orm(string_value = "system")]
    System,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "ticket_message")]
pub struct Model {
    /// The message.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Its ticket.
    pub ticket_id: Uuid,
    /// The change of the ticket that it came with.
    pub version: i32,
    /// Who says it.
    pub author: Author,
    /// Who of them.
    pub author_name: String,
    /// Whether only the support reads it.
    pub internal: bool,
    /// What is said.
    pub body: String,
    /// When.
    pub created_at: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
