//! A rendered document, kept byte for byte.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "document")]
pub struct Model {
    /// The document.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// What it is the document of.
    pub invoice_id: Uuid,
    /// What it is: `invoice`.
    pub kind: String,
    /// `application/pdf`.
    pub media_type: String,
    /// The document.
    pub bytes: Vec<u8>,
    /// SHA-256 of the bytes, in hex.
    pub sha256: String,
    /// How many pages it has.
    pub pages: i32,
    /// The template it was rendered with.
    pub template_version: String,
    /// The engine it was rendered with.
    pub renderer_version: String,
    /// When it was rendered.
    pub created_at: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
