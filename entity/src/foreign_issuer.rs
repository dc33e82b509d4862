//! An authorization server of somebody else, whose access tokens are accepted, and what they must be
//! like.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "foreign_issuer")]
pub struct Model {
    /// Its issuer identifier, to the letter as in its tokens: a URL.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// What its tokens for us have as audience.
    pub audience: String,
    /// The algorithms that it may sign with, separated by blanks.
    pub algorithms: String,
    /// The `typ` of its access tokens: `at+jwt` (RFC 9068), or `JWT` for servers that are older.
    pub token_type: String,
    /// The claim that names the client: `client_id`, `azp`, `sub`.
    pub client_claim: String,
    /// The claim that names scopes. Without one, the client has all that it is allowed here.
    pub scope_claim: Option<String>,
    /// What makes the row count: a hash of it under a pepper that is not in the database.
    pub seal: String,
    /// When it was added.
    pub created_at: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
