//! A key that signs access tokens.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "signing_key")]
pub struct Model {
    /// The `kid` (RFC 7517 §4.5).
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// 1 for the first key, and one more for each that follows.
    pub generation: i32,
    /// `ES256` (RFC 7518 §3.1).
    pub algorithm: String,
    /// The public key as a JWK.
    pub public_key: String,
    /// The private key (PKCS #8), encrypted with a key that is not in the database.
    pub private_key: String,
    /// From when on it signs. It is published before.
    pub active_from: DateTimeUtc,
    /// When it stops signing, because the next one signs. It stays published until its last token is
    /// expired.
    pub retired_at: Option<DateTimeUtc>,
    /// When it was created.
    pub created_at: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
