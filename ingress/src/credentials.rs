//! API keys: `cf_<keyid>_<secret>`, shown once, stored as a hash, compared in constant time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use entity::{account, api_key};
use moka::future::Cache;
use rand::TryRngCore;
use rand::rngs::OsRng;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder,
    Set,
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::error::ApiError;

const PREFIX: &str = "cf";
/// How long a key that was read is used without looking again: a revoked one stops within this.
const FRESH: Duration = Duration::from_secs(2);
/// How long a key may be used while the database cannot be asked.
const STALE: Duration = Duration::from_secs(600);
/// How long a key may take to be read.
const LOOKUP: Duration = Duration::from_secs(3);
/// How many keys are remembered, known and unknown ones.
const MOST: u64 = 50_000;

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Place orders.
    OrdersWrite,
    /// See orders.
    OrdersRead,
    /// See resources.
    ResourcesRead,
    /// See invoices and download them.
    InvoicesRead,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [
        Self::OrdersWrite,
        Self::OrdersRead,
        Self::ResourcesRead,
        Self::InvoicesRead,
    ];

    /// The name in credentials.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OrdersWrite => "orders:write",
            Self::OrdersRead => "orders:read",
            Self::ResourcesRead => "resources:read",
            Self::InvoicesRead => "invoices:read",
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| {
                format!(
                    "unknown scope; one of {}",
                    Self::ALL.map(Self::as_str).join(", ")
                )
            })
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

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
}

/// Creates a key and returns it whole, for the only time.
///
/// # Errors
/// When the database refuses it (the account does not exist), or the system has no random numbers.
pub async fn create_key(db: &impl ConnectionTrait, new: NewKey<'_>) -> anyhow::Result<String> {
    let (mut id, mut secret) = ([0; 8], [0; 32]);
    OsRng.try_fill_bytes(&mut id)?;
    OsRng.try_fill_bytes(&mut secret)?;
    let (id, secret) = (HEXLOWER.encode(&id), HEXLOWER.encode(&secret));
    let scopes: Vec<_> = new.scopes.iter().map(|scope| scope.as_str()).collect();
    let row = api_key::ActiveModel {
        id: Set(id.clone()),
        account_id: Set(new.account_id),
        name: Set(new.name.to_owned()),
        secret_sha256: Set(HEXLOWER.encode(&Sha256::digest(&secret))),
        scopes: Set(scopes.join(" ")),
        expires_at: Set(new.expires_at),
        revoked_at: Set(None),
        created_at: Set(Utc::now()),
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
    let id = split(key).map_or(key, |(id, _)| id);
    let revoked = api_key::Entity::update_many()
        .col_expr(api_key::Column::RevokedAt, Expr::value(Utc::now()))
        .filter(api_key::Column::Id.eq(id))
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

fn split(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix(PREFIX)?.strip_prefix('_')?.split_once('_')
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) account_id: Uuid,
    pub(crate) key_id: String,
    scopes: String,
}

impl Caller {
    /// # Errors
    /// 403 when the key lacks the scope.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), ApiError> {
        match self
            .scopes
            .split_whitespace()
            .any(|has| has == scope.as_str())
        {
            true => Ok(()),
            false => Err(ApiError::forbidden(scope.as_str())),
        }
    }
}

/// The keys of this process.
pub(crate) struct Keys {
    db: DatabaseConnection,
    cache: Cache<String, Arc<Entry>>,
}

struct Entry {
    /// Nothing if there is no such key.
    key: Option<Key>,
    read_at: Instant,
    being_read: AtomicBool,
}

/// One request is reading the key of this entry again.
struct Reading<'a>(&'a Entry);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.being_read.store(false, Ordering::Relaxed);
    }
}

struct Key {
    account_id: Uuid,
    secret_sha256: Vec<u8>,
    scopes: String,
    expires_at: Option<DateTime<Utc>>,
    usable: bool,
}

impl Keys {
    pub(crate) fn new(db: DatabaseConnection) -> Self {
        Self {
            db,
            cache: Cache::builder()
                .max_capacity(MOST)
                .time_to_live(STALE)
                .build(),
        }
    }

    /// Who presents this header.
    ///
    /// # Errors
    /// 401 for everything but a key that works; 503 when a key that is not known yet cannot be read.
    pub(crate) async fn check(&self, authorization: Option<&str>) -> Result<Caller, ApiError> {
        let header = authorization.ok_or_else(|| {
            ApiError::unauthorized("Send the API key in the header Authorization: Bearer cf_….")
        })?;
        let wrong = || ApiError::unauthorized("The API key is not valid.");
        let (scheme, key) = header.split_once(' ').ok_or_else(wrong)?;
        let (id, secret) = split(key.trim()).ok_or_else(wrong)?;
        if !scheme.eq_ignore_ascii_case("bearer") || id.len() > 64 {
            return Err(wrong());
        }
        let entry = self.entry(id).await?;
        let given = Sha256::digest(secret);
        // An unknown key takes as long as a known one with the wrong secret.
        let nothing = [0; 32].as_slice();
        let expected = entry
            .key
            .as_ref()
            .map_or(nothing, |key| key.secret_sha256.as_slice());
        let matches = bool::from(given.as_slice().ct_eq(expected));
        match &entry.key {
            Some(key)
                if matches && key.usable && key.expires_at.is_none_or(|at| Utc::now() < at) =>
            {
                Ok(Caller {
                    account_id: key.account_id,
                    key_id: id.to_owned(),
                    scopes: key.scopes.clone(),
                })
            }
            _ => Err(wrong()),
        }
    }

    async fn entry(&self, id: &str) -> Result<Arc<Entry>, ApiError> {
        let known = self.cache.get(id).await;
        if let Some(entry) = &known {
            // One request looks again, the others go on with what is known.
            let fresh = entry.read_at.elapsed() < FRESH;
            if fresh || entry.being_read.swap(true, Ordering::Relaxed) {
                return Ok(entry.clone());
            }
        }
        // A request that is given up on the way lets another one look.
        let _reading = known.as_deref().map(Reading);
        match tokio::time::timeout(LOOKUP, self.read(id)).await {
            Ok(Ok(key)) => {
                let read = Entry {
                    key,
                    read_at: Instant::now(),
                    being_read: AtomicBool::new(false),
                };
                let entry = Arc::new(read);
                self.cache.insert(id.to_owned(), entry.clone()).await;
                Ok(entry)
            }
            failed => {
                if let Ok(Err(error)) = failed {
                    tracing::warn!("cannot read the API key {id}: {error}");
                }
                // The database is away: who was known a moment ago is still.
                known.clone().ok_or_else(|| {
                    ApiError::unavailable(
                        "The credential cannot be checked at the moment. Try again.",
                    )
                })
            }
        }
    }

    async fn read(&self, id: &str) -> Result<Option<Key>, DbErr> {
        let Some(key) = api_key::Entity::find_by_id(id).one(&self.db).await? else {
            return Ok(None);
        };
        let account = account::Entity::find_by_id(key.account_id)
            .one(&self.db)
            .await?;
        let Some(account) = account else {
            return Ok(None);
        };
        Ok(Some(Key {
            account_id: key.account_id,
            secret_sha256: HEXLOWER
                .decode(key.secret_sha256.as_bytes())
                .unwrap_or_default(),
            scopes: key.scopes,
            expires_at: key.expires_at,
            usable: key.revoked_at.is_none() && account.active,
        }))
    }
}
