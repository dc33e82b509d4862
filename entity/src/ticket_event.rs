//! The history of a ticket: everything that was done to it.

use sea_orm::entity::prelude::*;

use crate::ticket_message::Author;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "ticket_event")]
pub struct Model {
    /// What did it: the ticket itself, a reply, an action of the support. It does it once.
    #[sea_orm(primary_key, auto_increment = false)]
    pub cause: Uuid,
    /// The ticket.
    pub ticket_id: Uuid,
    /// Counts from 1.
    pub version: i32,
    /// Where the ticket stands since then.
    pub status: String,
    /// Who did it.
    pub author: Author,
    /// Who of them.
    pub author_name: String,
    /// What was done, in words.
    pub note: Option<String>,
    /// Why it was refused, if it was, as problem details in JSON.
    pub problem: Option<String>,
    /// Hash of the request, to tell a repetition from another request.
    pub request_sha256: String,
    /// When.
    pub at: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
