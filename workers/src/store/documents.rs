//! Rendered documents.

use entity::document;
use sea_orm::{ActiveModelTrait, ConnectionTrait, DbErr, EntityTrait};
use uuid::Uuid;

/// The id of the document of an invoice; an invoice has one.
pub(crate) fn invoice_document_id(invoice_id: Uuid) -> Uuid {
    Uuid::new_v5(&invoice_id, b"document/invoice")
}

pub(crate) async fn find(
    db: &impl ConnectionTrait,
    id: Uuid,
) -> Result<Option<document::Model>, DbErr> {
    document::Entity::find_by_id(id).one(db).await
}

/// Stores a document. False if it is there already; then that one counts.
pub(crate) async fn insert(
    db: &impl ConnectionTrait,
    document: document::Model,
) -> Result<bool, DbErr> {
    super::insert_once(db, document::ActiveModel::from(document).reset_all()).await
}
