//! Differences between our resources and the servers at a provider.

use chrono::Utc;
use entity::discrepancy::{self, DiscrepancyKind};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait,
    QueryFilter, QueryOrder,
};
use uuid::Uuid;

/// A difference as an audit sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) kind: DiscrepancyKind,
    pub(crate) external_id: String,
    pub(crate) order_label: Option<String>,
    pub(crate) resource_id: Option<Uuid>,
}

/// Notes what an audit of a provider found, and that what it no longer found is resolved. Returns
/// how many were not known.
pub(crate) async fn note(
    db: &DatabaseConnection,
    provider: &str,
    found: &[Found],
) -> Result<usize, DbErr> {
    use discrepancy::Column;
    let transaction = super::begin(db).await?;
    let now = Utc::now();
    let open: Vec<Uuid> = open(&transaction).await?.iter().map(|row| row.id).collect();
    let mut fresh = 0;
    let mut seen = Vec::new();
    for Found {
        kind,
        external_id,
        order_label,
        resource_id,
    } in found
    {
        let name = format!("{kind:?}/{provider}/{external_id}");
        let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes());
        let row = discrepancy::Model {
            id,
            kind: *kind,
            provider: provider.to_owned(),
            external_id: external_id.clone(),
            order_label: order_label.clone(),
            resource_id: *resource_id,
            first_seen_at: now,
            last_seen_at: now,
            resolved_at: None,
        };
        let again = OnConflict::column(Column::Id)
            .update_columns([Column::LastSeenAt, Column::ResolvedAt])
            .to_owned();
        discrepancy::Entity::insert(discrepancy::ActiveModel::from(row).reset_all())
            .on_conflict(again)
            .exec_without_returning(&transaction)
            .await?;
        fresh += usize::from(!open.contains(&id));
        seen.push(id);
    }
    discrepancy::Entity::update_many()
        .col_expr(Column::ResolvedAt, Expr::value(now))
        .filter(Column::Provider.eq(provider))
        .filter(Column::ResolvedAt.is_null())
        .filter(Column::Id.is_not_in(seen))
        .exec(&transaction)
        .await?;
    transaction.commit().await?;
    Ok(fresh)
}

/// What is not resolved, oldest first.
///
/// # Errors
/// When the database cannot be reached.
pub async fn open(db: &impl ConnectionTrait) -> Result<Vec<discrepancy::Model>, DbErr> {
    discrepancy::Entity::find()
        .filter(discrepancy::Column::ResolvedAt.is_null())
        .order_by_asc(discrepancy::Column::FirstSeenAt)
        .order_by_asc(discrepancy::Column::Id)
        .all(db)
        .await
}
