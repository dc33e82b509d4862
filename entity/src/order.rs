//! The request for a resource. The living thing it makes is a [`resource`](super::resource).

use sea_orm::entity::prelude::*;

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum OrderState {
    /// Taken in, not looked at yet.
    #[sea_orm(string_value = "accepted")]
    Accepted,
    /// Valid and priced; waits for the provider pool.
    #[sea_orm(string_value = "queued")]
    Queued,
    /// Its resources are being created.
    #[sea_orm(string_value = "provisioning")]
    Provisioning,
    /// An attempt failed; another follows by itself.
    #[sea_orm(string_value = "retrying")]
    Retrying,
    /// What became of an attempt is unknown; the provider is asked.
    #[sea_orm(string_value = "needs_reconciliation")]
    NeedsReconciliation,
    /// Every resource is active.
    #[sea_orm(string_value = "completed")]
    Completed,
    /// It cannot be fulfilled as asked for.
    #[sea_orm(string_value = "rejected")]
    Rejected,
    /// Parked for a person; may still complete.
    #[sea_orm(string_value = "failed")]
    Failed,
    /// Being taken back.
    #[sea_orm(string_value = "cancelling")]
    Cancelling,
    /// Taken back.
    #[sea_orm(string_value = "cancelled")]
    Cancelled,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "order")]
pub struct Model {
    /// The order.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Who ordered.
    pub account_id: Uuid,
    /// The caller's own reference, unique per account.
    pub external_ref: Option<String>,
    /// Code of the offering, as requested.
    pub offering: String,
    /// Code of the plan, as requested.
    pub plan: String,
    /// How many resources, as requested.
    pub quantity: i32,
    /// Code of the region, as requested.
    pub region: String,
    /// Name of the resource, as requested.
    pub name: String,
    /// Hash of the request, to tell a repetition from another request.
    pub request_sha256: String,
    /// The prices when it was accepted, as JSON: a later change does not touch it.
    pub prices: Option<String>,
    /// Where it stands.
    pub state: OrderState,
    /// Grows with every change; guards updates.
    pub version: i32,
    /// Why it was rejected or failed, as problem details in JSON.
    pub problem: Option<String>,
    /// The trace it is handled in, in hex.
    pub trace_id: Option<String>,
    /// When it was placed.
    pub placed_at: DateTimeUtc,
    /// When it last changed.
    pub updated_at: DateTimeUtc,
    /// When the last of its resources became active.
    pub completed_at: Option<DateTimeUtc>,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
