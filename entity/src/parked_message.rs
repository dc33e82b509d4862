//! A message that was given up and waits for a person.

use sea_orm::entity::prelude::*;

/// What was decided about a parked message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum ParkedState {
    /// Nothing yet.
    #[sea_orm(string_value = "parked")]
    Parked,
    /// It shall go back to its queue.
    #[sea_orm(string_value = "replaying")]
    Replaying,
    /// It went back to its queue.
    #[sea_orm(string_value = "replayed")]
    Replayed,
    /// It stays here and nothing more is done.
    #[sea_orm(string_value = "discarded")]
    Discarded,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "parked_message")]
pub struct Model {
    /// The parked message.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The queue that gave it up, or `unrouted`.
    pub queue: String,
    /// The message.
    pub message_id: Uuid,
    /// The order, ticket or invoice request it belongs to.
    pub correlation_id: Uuid,
    /// The account it belongs to, if that is known.
    pub account_id: Option<Uuid>,
    /// Its type.
    pub kind: String,
    /// Why, in one word.
    pub reason: String,
    /// What went wrong the last time.
    pub error: String,
    /// How many attempts had failed.
    pub attempts: i32,
    /// Who published it first.
    pub publisher: Option<String>,
    /// The exchange it was published to.
    pub origin_exchange: String,
    /// The routing key it was published with.
    pub origin_routing_key: String,
    /// The version of the worker that parked it.
    pub version: String,
    /// Every header, as JSON.
    pub headers: String,
    /// The payload, byte for byte.
    pub body: Vec<u8>,
    /// The trace it belongs to, in hex.
    pub trace_id: Option<String>,
    /// What was decided.
    pub state: ParkedState,
    /// Who decided.
    pub decided_by: Option<String>,
    /// Why, in the words of who decided.
    pub note: Option<String>,
    /// When.
    pub decided_at: Option<DateTimeUtc>,
    /// Not before this time it goes back to its queue.
    pub replay_at: Option<DateTimeUtc>,
    /// When it was parked.
    pub parked_at: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
