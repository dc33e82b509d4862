//! The living thing at the provider.

use sea_orm::entity::prelude::*;

/// Where a resource stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum ResourceState {
    /// Being created.
    #[sea_orm(string_value = "creating")]
    Creating,
    /// In use.
    #[sea_orm(string_value = "active")]
    Active,
    /// Switched off, kept.
    #[sea_orm(string_value = "suspended")]
    Suspended,
    /// Being deleted.
    #[sea_orm(string_value = "terminating")]
    Terminating,
    /// Deleted.
    #[sea_orm(string_value = "terminated")]
    Terminated,
    /// Gone at the provider without our doing.
    #[sea_orm(string_value = "lost")]
    Lost,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "resource")]
pub struct Model {
    /// The resource.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The order that created it.
    pub order_id: Uuid,
    /// Which of the resources of that order, from 1.
    pub ordinal: i32,
    /// Whose it is.
    pub account_id: Uuid,
    /// Which provider.
    pub provider: String,
    /// Our account there.
    pub provider_account_id: Uuid,
    /// What the provider calls its plan.
    pub sku: String,
    /// Where it is.
    pub region: String,
    /// Its name at the provider.
    pub name: String,
    /// The key under which it is created; the same for every attempt.
    pub client_token: String,
    /// Where it stands.
    pub state: ResourceState,
    /// The provider's id.
    pub external_id: Option<String>,
    /// Its network address, if it has one.
    pub address: Option<String>,
    /// An attempt to create it has begun of which no outcome is recorded: look it up before another.
    pub outcome_unknown: bool,
    /// Grows with every lease; a write of an older one is refused.
    pub fence: i64,
    /// Until when the holder of the lease may act, in milliseconds by the clock of the database.
    pub lease_until_ms: Option<i64>,
    /// When it became active: billing begins.
    pub activated_at: Option<DateTimeUtc>,
    /// When its end was asked for.
    pub terminating_since: Option<DateTimeUtc>,
    /// When it was deleted, by the clock of the provider: billing ends.
    pub terminated_at: Option<DateTimeUtc>,
    /// Until when its months are invoiced.
    pub billed_until: Option<DateTimeUtc>,
    /// When it was invoiced for the last time, after its end.
    pub settled_at: Option<DateTimeUtc>,
    /// When it was planned.
    pub created_at: DateTimeUtc,
    /// When it last changed.
    pub updated_at: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
