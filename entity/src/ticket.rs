//! What a customer asks or reports, or what needs a person and has said so by itself.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "ticket")]
pub struct Model {
    /// The ticket.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Whose it is.
    pub account_id: Uuid,
    /// The caller's own reference.
    pub external_ref: Option<String>,
    /// What it is about, in a line.
    pub subject: String,
    /// `general`, `technical`, `billing`.
    pub category: String,
    /// `low`, `normal`, `high`, `urgent`.
    pub priority: String,
    /// `open`, `in_progress`, `waiting_customer`, `waiting_support`, `resolved`, `closed`.
    pub status: String,
    /// The order that it is about.
    pub order_id: Option<Uuid>,
    /// The resource that it is about.
    pub resource_id: Option<Uuid>,
    /// The invoice that it is about.
    pub invoice_id: Option<Uuid>,
    /// The closed ticket that it continues.
    pub follows: Option<Uuid>,
    /// The stage that failed, if it was opened by itself: it is over when the stage is done.
    pub stage: Option<String>,
    /// How many attempts that stage had when the ticket was opened the last time.
    pub stage_attempts: i32,
    /// Who sees to it.
    pub assignee: Option<String>,
    /// When the first answer is due.
    pub answer_due_at: DateTimeUtc,
    /// When the support answered first.
    pub answered_at: Option<DateTimeUtc>,
    /// When it is to be solved.
    pub resolution_due_at: DateTimeUtc,
    /// When it was solved, as far as it is.
    pub resolved_at: Option<DateTimeUtc>,
    /// When it was closed, if it is.
    pub closed_at: Option<DateTimeUtc>,
    /// Grows with every change; guards updates.
    pub version: i32,
    /// The trace it was opened in, in hex; or that of what failed.
    pub trace_id: Option<String>,
    /// When it was raised.
    pub created_at: DateTimeUtc,
    /// When it last changed.
    pub updated_at: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
