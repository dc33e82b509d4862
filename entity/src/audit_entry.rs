//! Who did what, when and why.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_entry")]
pub struct Model {
    /// The entry.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// When.
    pub at: DateTimeUtc,
    /// Who: an operator, a key, a worker.
    pub actor: String,
    /// What: `api_key.revoke`.
    pub action: String,
    /// To what: the id.
    pub subject: String,
    /// The account it concerns, if it is one.
    pub account_id: Option<Uuid>,
    /// The credential that was used.
    pub credential: Option<String>,
    /// What it was before, as JSON.
    pub before: Option<String>,
    /// What it was afterwards, as JSON.
    pub after: Option<String>,
    /// The message that did it.
    pub message_id: Option<Uuid>,
    /// Why, in the words of the actor.
    pub note: Option<String>,
    /// The trace it happened in, in hex.
    pub trace_id: Option<String>,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
