//! API keys: `cf_<id>_<secret>`, shown once, stored as a hash.

use chrono::{DateTime, TimeDelta, Utc};
use data_encoding::HEXLOWER;
use entity::api_key;
use ipnet::IpNet;
use rand::TryRngCore;
use rand::rngs::OsRng;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder,
    Set,
};
use uuid::Uuid;

use super::{Pepper, Scope};

const PREFIX: &str = "cf";

/// A key to be created.
#[derive(Debug, Clone)]
pub struct NewKey<'a> {
    /// The account it acts for.
    pub account_id: Uuid,
    /// What the owner calls it.
    pub name: &'a str,
    /// What it may do.
    pub scopes: &'a [Scope],
    /// When it stops working by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// From where it may be used. Without any, from everywhere.
    pub networks: &'a [IpNet],
    /// Who creates it.
    pub created_by: &'a str,
}

/// Creates a key and returns it whole, for the only time.
///
/// # Errors
/// When the database refuses it (the account does not exist), or the system has no random numbers.
pub async fn create_key(
    db: &impl ConnectionTrait,
    pepper: &Pepper,
    new: NewKey<'_>,
) -> anyhow::Result<String> {
    let join = |texts: Vec<String>| texts.join(" ");
    let row = api_key::ActiveModel {
        account_id: Set(new.account_id),
        name: Set(new.name.to_owned()),
        scopes: Set(join(new.scopes.iter().map(Scope::to_string).collect())),
        networks: Set(join(new.networks.iter().map(IpNet::to_string).collect())),
        expires_at: Set(new.expires_at),
        created_by: Set(Some(new.created_by.to_owned())),
        ..Default::default()
    };
    insert(db, pepper, row).await
}

/// Creates a key that may do what an old one may, which goes on working for `overlap`. Returns the
/// new one whole, for the only time.
///
/// # Errors
/// As [`create_key`].
pub async fn rotate_key(
    db: &impl ConnectionTrait,
    pepper: &Pepper,
    old: api_key::Model,
    overlap: TimeDelta,
    by: &str,
) -> anyhow::Result<String> {
    let row = api_key::ActiveModel {
        account_id: Set(old.account_id),
        name: Set(old.name.clone()),
        scopes: Set(old.scopes.clone()),
        networks: Set(old.networks.clone()),
        expires_at: Set(old.expires_at),
        created_by: Set(Some(by.to_owned())),
        ..Default::default()
    };
    let end = Utc::now() + overlap;
    let end = old.expires_at.map_or(end, |expires| expires.min(end));
    let mut old = api_key::ActiveModel::from(old);
    old.expires_at = Set(Some(end));
    old.update(db).await?;
    insert(db, pepper, row).await
}

async fn insert(
    db: &impl ConnectionTrait,
    pepper: &Pepper,
    row: api_key::ActiveModel,
) -> anyhow::Result<String> {
    let (mut id, mut secret) = ([0; 8], [0; 32]);
    OsRng.try_fill_bytes(&mut id)?;
    OsRng.try_fill_bytes(&mut secret)?;
    let (id, secret) = (HEXLOWER.encode(&id), HEXLOWER.encode(&secret));
    let row = api_key::ActiveModel {
        id: Set(id.clone()),
        secret_hash: Set(pepper.hash(&secret)),
        revoked_at: Set(None),
        last_used_at: Set(None),
        created_at: Set(Utc::now()),
        ..row
    };
    api_key::Entity::insert(row)
        .exec_without_returning(db)
        .await?;
    Ok(format!("{PREFIX}_{id}_{secret}"))
}

/// Revokes a key, by its id or as a whole. False if there is no such key or it is revoked already.
///
/// # Errors
/// When the database cannot be reached.
pub async fn revoke_key(db: &impl ConnectionTrait, key: &str) -> Result<bool, DbErr> {
    let revoked = api_key::Entity::update_many()
        .col_expr(api_key::Column::RevokedAt, Expr::value(Utc::now()))
        .filter(api_key::Column::Id.eq(shown_id(key)))
        .filter(api_key::Column::RevokedAt.is_null())
        .exec(db)
        .await?;
    Ok(revoked.rows_affected > 0)
}

/// Every key of an account, newest first.
///
/// # Errors
/// When the database cannot be reached.
pub async fn list_keys(
    db: &impl ConnectionTrait,
    account_id: Uuid,
) -> Result<Vec<api_key::Model>, DbErr> {
    api_key::Entity::find()
        .filter(api_key::Column::AccountId.eq(account_id))
        .order_by_desc(api_key::Column::CreatedAt)
        .all(db)
        .await
}

/// The id in a key, which is no secret; or the text itself.
pub fn shown_id(key: &str) -> &str {
    split(key).map_or(key, |(id, _)| id)
}

/// The id and the secret of a key.
pub(super) fn split(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix(PREFIX)?.strip_prefix('_')?.split_once('_')
}
