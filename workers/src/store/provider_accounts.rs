//! Our accounts at providers, and what we prove there with that it is us.

use chrono::Utc;
use entity::provider_account::{self, Column, Entity};
use schemas::seal::SealKey;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder,
};
use uuid::Uuid;

use super::parked::audit;

/// Every account.
///
/// # Errors
/// When the database cannot be reached.
pub async fn list(db: &impl ConnectionTrait) -> Result<Vec<provider_account::Model>, DbErr> {
    Entity::find()
        .order_by_asc(Column::Provider)
        .order_by_asc(Column::Id)
        .all(db)
        .await
}

/// The account at a provider that has a credential. One in which nothing new is created counts, too: what
/// there is has to end some day.
pub(crate) async fn with_credential(
    db: &impl ConnectionTrait,
    provider: &str,
) -> Result<Option<provider_account::Model>, DbErr> {
    Entity::find()
        .filter(Column::Provider.eq(provider))
        .filter(Column::Credential.is_not_null())
        .order_by_desc(Column::Active)
        .order_by_asc(Column::Id)
        .one(db)
        .await
}

/// Stores a credential of an account, sealed, in place of the one that there is; nothing removes it.
/// False if there is no such account. The workers use it within seconds.
///
/// # Errors
/// When the database cannot be reached.
pub async fn set_credential(
    db: &DatabaseConnection,
    key: &SealKey,
    id: Uuid,
    credential: Option<&str>,
    operator: &str,
) -> anyhow::Result<bool> {
    let sealed = credential.map(|credential| key.seal(id, credential.as_bytes()));
    let sealed = sealed.transpose()?;
    let transaction = super::begin(db).await?;
    let updated = Entity::update_many()
        .col_expr(Column::Credential, Expr::value(sealed.clone()))
        .col_expr(
            Column::CredentialSetAt,
            Expr::value(sealed.is_some().then(Utc::now)),
        )
        .filter(Column::Id.eq(id))
        .exec(&transaction)
        .await?;
    if updated.rows_affected == 0 {
        return Ok(false);
    }
    let action = match sealed {
        Some(_) => "provider_account.set_credential",
        None => "provider_account.remove_credential",
    };
    audit(&transaction, operator, action, &id.to_string(), None).await?;
    transaction.commit().await?;
    Ok(true)
}
