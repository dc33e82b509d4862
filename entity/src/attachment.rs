//! A file that was uploaded for tickets, kept byte for byte.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "attachment")]
pub struct Model {
    /// The file: the same one under the same name of an account is one row.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Whose it is.
    pub account_id: Uuid,
    /// What it is called.
    pub name: String,
    /// What it is: `image/png`.
    pub media_type: String,
    /// How long it is, in bytes.
    pub size: i64,
    /// SHA-256 of the bytes, in hex.
    pub sha256: String,
    /// When it was uploaded, the last time.
    pub uploaded_at: DateTimeUtc,
    /// The file.
    pub bytes: Vec<u8>,
}

/// What is known of a file without reading it.
#[derive(Clone, Debug, DerivePartialModel)]
#[sea_orm(entity = "Entity")]
pub struct Head {
    /// The file.
    pub id: Uuid,
    /// Whose it is.
    pub account_id: Uuid,
    /// What it is called.
    pub name: String,
    /// What it is: `image/png`.
    pub media_type: String,
    /// How long it is, in bytes.
    pub size: i64,
    /// SHA-256 of the bytes, in hex.
    pub sha256: String,
    /// When it was uploaded, the last time.
    pub uploaded_at: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
