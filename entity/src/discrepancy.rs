//! A difference between what we know and what a provider has. Shown, never repaired by itself.

use sea_orm::entity::prelude::*;

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum DiscrepancyKind {
    /// The provider has a server with our label, and no resource is it.
    #[sea_orm(string_value = "orphan")]
    Orphan,
    /// An active resource of ours is gone at the provider.
    #[sea_orm(string_value = "ghost")]
    Ghost,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "discrepancy")]
pub struct Model {
    /// Follows from kind, provider and external id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// What differs.
    pub kind: DiscrepancyKind,
    /// The provider.
    pub provider: String,
    /// The server there.
    pub external_id: String,
    /// The order that an orphan is labelled with.
    pub order_label: Option<String>,
    /// The resource that a ghost is.
    pub resource_id: Option<Uuid>,
    /// When it was first seen.
    pub first_seen_at: DateTimeUtc,
    /// When it was last seen.
    pub last_seen_at: DateTimeUtc,
    /// When it was no longer seen.
    pub resolved_at: Option<DateTimeUtc>,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
