//! How far one step of an order or invoice has come, visible while it happens.

use sea_orm::entity::prelude::*;

/// How far a stage has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum StageState {
    /// Not begun.
    #[sea_orm(string_value = "pending")]
    Pending,
    /// Being done.
    #[sea_orm(string_value = "running")]
    Running,
    /// Done.
    #[sea_orm(string_value = "done")]
    Done,
    /// Failed; tried again by itself.
    #[sea_orm(string_value = "retrying")]
    Retrying,
    /// Failed; waits for a person.
    #[sea_orm(string_value = "failed")]
    Failed,
    /// No longer needed.
    #[sea_orm(string_value = "cancelled")]
    Cancelled,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "stage")]
pub struct Model {
    /// The order (`place`, `provision`, `issue`), resource (`terminate`), invoice (`render`, `deliver`), message of a ticket
    /// (`deliver`) or action on one (`announce`).
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject_id: Uuid,
    /// The step.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// How far it has come.
    pub state: StageState,
    /// How many attempts have begun.
    pub attempts: i32,
    /// When it is tried again.
    pub next_attempt_at: Option<DateTimeUtc>,
    /// What went wrong the last time, for the customer.
    pub last_error: Option<String>,
    /// How long after the last change it moves again by itself, in milliseconds.
    pub pause_ms: i64,
    /// When it is looked at if it has not moved until then, in milliseconds by the clock of the
    /// database; nothing until the reconciler has seen it.
    pub check_at_ms: Option<i64>,
    /// How many times its step was sent again since it last moved.
    pub checks: i32,
    /// When it last changed.
    pub updated_at: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
