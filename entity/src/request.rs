//! Something that was asked for about what is there already, and what became of it.

use sea_orm::entity::prelude::*;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum RequestStatus {
    /// It is being done.
    #[sea_orm(string_value = "accepted")]
    Accepted,
    /// It is done.
    #[sea_orm(string_value = "done")]
    Done,
    /// It cannot be done.
    #[sea_orm(string_value = "rejected")]
    Rejected,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "request")]
pub struct Model {
    /// The request.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Whose it is about.
    pub account_id: Uuid,
    /// The kind of message that asks for it.
    pub kind: String,
    /// The order, resource or invoice that it is about.
    pub subject_id: Option<Uuid>,
    /// The caller's own reference.
    pub external_ref: Option<String>,
    /// Hash of what is asked for, to tell a repetition from another request.
    pub request_sha256: String,
    /// What became of it.
    pub status: RequestStatus,
    /// Why it is asked for, in the caller's words.
    pub note: Option<String>,
    /// Who of the staff asks; nothing: the account.
    pub requested_by: Option<String>,
    /// What it made.
    pub result_id: Option<Uuid>,
    /// Why it was rejected, as problem details in JSON.
    pub problem: Option<String>,
    /// The trace it is handled in, in hex.
    pub trace_id: Option<String>,
    /// When it was made.
    pub requested_at: DateTimeUtc,
    /// When it was done or rejected.
    pub decided_at: Option<DateTimeUtc>,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
