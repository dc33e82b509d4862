//! Partner systems that publish straight to the broker.

use chrono::Utc;
use entity::{account, publisher, publisher_account};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder,
    Set,
};
use uuid::Uuid;

use super::parked::audit;

/// A partner system with the accounts that it acts for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publisher {
    /// The row.
    pub row: publisher::Model,
    /// The accounts.
    pub accounts: Vec<Uuid>,
}

impl Publisher {
    /// Whether it may publish messages of this kind at all.
    pub fn may_publish(&self, kind: &str) -> bool {
        let kinds = &mut self.row.kinds.split_whitespace();
        self.row.revoked_at.is_none() && kinds.any(|allowed| allowed == kind)
    }
}

/// A partner system by its broker user.
///
/// # Errors
/// When the database cannot be reached.
pub async fn find(db: &impl ConnectionTrait, name: &str) -> Result<Option<Publisher>, DbErr> {
    let Some(row) = publisher::Entity::find_by_id(name).one(db).await? else {
        return Ok(None);
    };
    let accounts = publisher_account::Entity::find()
        .filter(publisher_account::Column::Publisher.eq(name))
        .order_by_asc(publisher_account::Column::AccountId)
        .all(db)
        .await?;
    let accounts = accounts.into_iter().map(|row| row.account_id).collect();
    Ok(Some(Publisher { row, accounts }))
}

/// Every partner system, by name.
///
/// # Errors
/// When the database cannot be reached.
pub async fn list(db: &impl ConnectionTrait) -> Result<Vec<publisher::Model>, DbErr> {
    publisher::Entity::find()
        .order_by_asc(publisher::Column::Name)
        .all(db)
        .await
}

/// Writes down what a partner system may do, with who decided it: a new one, or one that is known.
/// One that was revoked is let in again.
///
/// # Errors
/// When an account does not exist, or the database cannot be reached; then nothing is changed.
pub async fn allow(
    db: &DatabaseConnection,
    name: &str,
    kinds: &[&str],
    accounts: &[Uuid],
    operator: &str,
) -> anyhow::Result<()> {
    let transaction = super::begin(db).await?;
    for account_id in accounts {
        let known = account::Entity::find_by_id(*account_id).one(&transaction);
        anyhow::ensure!(
            known.await?.is_some(),
            "there is no account {account_id}; see flow account create"
        );
    }
    let row = publisher::ActiveModel {
        name: Set(name.to_owned()),
        kinds: Set(kinds.join(" ")),
        created_at: Set(Utc::now()),
        revoked_at: Set(None),
    };
    let known = OnConflict::column(publisher::Column::Name)
        .update_columns([publisher::Column::Kinds, publisher::Column::RevokedAt])
        .to_owned();
    publisher::Entity::insert(row)
        .on_conflict(known)
        .exec_without_returning(&transaction)
        .await?;
    publisher_account::Entity::delete_many()
        .filter(publisher_account::Column::Publisher.eq(name))
        .exec(&transaction)
        .await?;
    for account_id in accounts {
        let row = publisher_account::ActiveModel {
            publisher: Set(name.to_owned()),
            account_id: Set(*account_id),
        };
        super::insert_once(&transaction, row).await?;
    }
    let accounts: Vec<_> = accounts.iter().map(Uuid::to_string).collect();
    let note = format!("{} for {}", kinds.join(", "), accounts.join(", "));
    audit(&transaction, operator, "publisher.allow", name, Some(&note)).await?;
    transaction.commit().await?;
    Ok(())
}

/// Believes a partner system nothing any more, also of what it has published already. False if it is
/// revoked or unknown.
///
/// # Errors
/// When the database cannot be reached.
pub async fn revoke(db: &DatabaseConnection, name: &str, operator: &str) -> Result<bool, DbErr> {
    let transaction = super::begin(db).await?;
    let revoked = publisher::Entity::update_many()
        .col_expr(
            publisher::Column::RevokedAt,
            sea_orm::sea_query::Expr::value(Utc::now()),
        )
        .filter(publisher::Column::Name.eq(name))
        .filter(publisher::Column::RevokedAt.is_null())
        .exec(&transaction)
        .await?;
    if revoked.rows_affected > 0 {
        audit(&transaction, operator, "publisher.revoke", name, None).await?;
    }
    transaction.commit().await?;
    Ok(revoked.rows_affected > 0)
}
