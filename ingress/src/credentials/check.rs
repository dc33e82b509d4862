//! Checks keys, remembering them for a moment so that a request rarely asks the database.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use entity::{account, api_key};
use ipnet::IpNet;
use moka::future::Cache;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, DatabaseConnection, DbErr, EntityTrait, JoinType, QueryFilter, QuerySelect,
};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::keys::split;
use super::{Caller, Pepper, is_within};
use crate::error::ApiError;

/// How long a key that was read is used without looking again: a revoked one stops within this.
const FRESH: Duration = Duration::from_secs(2);
/// How long a key may be used while the database cannot be asked.
const STALE: Duration = Duration::from_secs(600);
/// How long a key may take to be read.
const LOOKUP: Duration = Duration::from_secs(3);
/// How many keys are remembered, known and unknown ones.
const MOST: u64 = 50_000;
/// How often it is noted that a key is used.
const NOTE_USE: u64 = 60;

/// The keys of this process.
pub(crate) struct Keys {
    db: DatabaseConnection,
    pepper: Pepper,
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
    secret_hash: String,
    scopes: String,
    expires_at: Option<DateTime<Utc>>,
    networks: Vec<IpNet>,
    name: String,
    usable: bool,
    /// When its use was last noted, in seconds since 1970.
    used_at: AtomicU64,
}

impl Keys {
    pub(crate) fn new(db: DatabaseConnection, pepper: Pepper) -> Self {
        Self {
            db,
            pepper,
            cache: Cache::builder()
                .max_capacity(MOST)
                .time_to_live(STALE)
                .build(),
        }
    }

    /// Who presents this header from this address. With `known_only` a key counts only if it is
    /// remembered: nobody is asked about others.
    ///
    /// # Errors
    /// 401 for everything but a key that works; 503 when a key that is not known yet cannot be read.
    pub(crate) async fn check(
        &self,
        authorization: Option<&str>,
        from: Option<IpAddr>,
        known_only: bool,
    ) -> Result<Caller, ApiError> {
        let header = authorization.ok_or_else(|| {
            ApiError::unauthorized("Send the API key in the header Authorization: Bearer cf_….")
        })?;
        let wrong = || ApiError::unauthorized("The API key is not valid.");
        let (scheme, key) = header.split_once(' ').ok_or_else(wrong)?;
        let (id, secret) = split(key.trim()).ok_or_else(wrong)?;
        if !scheme.eq_ignore_ascii_case("bearer") || id.len() > 64 {
            return Err(wrong());
        }
        if known_only && !self.cache.contains_key(id) {
            return Err(wrong());
        }
        let entry = self.entry(id).await?;
        let given = self.pepper.hash(secret);
        // An unknown key takes as long as a known one with the wrong secret.
        let nothing = "0".repeat(given.len());
        let expected = entry.key.as_ref().map_or(&nothing, |key| &key.secret_hash);
        let matches = bool::from(given.as_bytes().ct_eq(expected.as_bytes()));
        let key = entry.key.as_ref().filter(|_| matches).ok_or_else(wrong)?;
        if !key.usable || key.expires_at.is_some_and(|at| at <= Utc::now()) {
            return Err(wrong());
        }
        if !is_within(&key.networks, from) {
            return Err(ApiError::unauthorized(
                "The API key may not be used from this address.",
            ));
        }
        self.note_use(id, key);
        Ok(Caller {
            kind: "api_key",
            account_id: key.account_id,
            key_id: id.to_owned(),
            name: key.name.clone(),
            person: None,
            scopes: key.scopes.clone(),
            networks: key.networks.clone(),
            expires_at: key.expires_at,
        })
    }

    /// Notes that a key is used, now and then and beside the request.
    fn note_use(&self, id: &str, key: &Key) {
        let now = u64::try_from(Utc::now().timestamp()).unwrap_or_default();
        let noted = key.used_at.load(Ordering::Relaxed);
        let due = now >= noted + NOTE_USE;
        let own = || {
            key.used_at
                .compare_exchange(noted, now, Ordering::Relaxed, Ordering::Relaxed)
        };
        if !due || own().is_err() {
            return;
        }
        let note = api_key::Entity::update_many()
            .col_expr(api_key::Column::LastUsedAt, Expr::value(Utc::now()))
            .filter(api_key::Column::Id.eq(id));
        let db = self.db.clone();
        tokio::spawn(async move {
            if let Err(error) = note.exec(&db).await {
                tracing::debug!("cannot note the use of a key: {error}");
            }
        });
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
        let account = api_key::Entity::belongs_to(account::Entity)
            .from(api_key::Column::AccountId)
            .to(account::Column::Id)
            .into();
        // One query, whether there is such a key or not: a second one would tell.
        let found = api_key::Entity::find_by_id(id)
            .join(JoinType::InnerJoin, account)
            .select_also(account::Entity)
            .one(&self.db)
            .await?;
        let Some((key, Some(account))) = found else {
            return Ok(None);
        };
        let used_at = key.last_used_at.map_or(0, |at| at.timestamp());
        let networks = key.networks.split_whitespace().map(str::parse);
        let networks: Result<Vec<IpNet>, _> = networks.collect();
        // What cannot be read lets nobody in.
        let usable = networks.is_ok() && key.revoked_at.is_none() && account.active;
        Ok(Some(Key {
            account_id: key.account_id,
            secret_hash: key.secret_hash,
            scopes: key.scopes,
            name: key.name,
            expires_at: key.expires_at,
            networks: networks.unwrap_or_default(),
            usable,
            used_at: AtomicU64::new(u64::try_from(used_at).unwrap_or_default()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use entity::account::AccountKind;
    use entity::setting;
    use sea_orm::{ConnectOptions, ConnectionTrait, Database, Schema, Set};

    use super::*;
    use crate::credentials::{NewKey, create_key};

    /// How often each kind of key is tried. The kinds take turns, so that whatever else the machine
    /// does hits all of them alike.
    const ROUNDS: usize = 1_000;
    /// How many times as long one kind may take as another, in the median. To return before hashing
    /// or to ask the database once more makes it twice as long.
    const MOST: f64 = 1.5;

    /// Keys in an empty database with one account, and a key of it.
    async fn keys() -> (Keys, String) {
        let mut options = ConnectOptions::new("sqlite::memory:");
        options.max_connections(1).sqlx_logging(false);
        let db = Database::connect(options).await.unwrap();
        let schema = Schema::new(db.get_database_backend());
        for table in [
            schema.create_table_from_entity(account::Entity),
            schema.create_table_from_entity(api_key::Entity),
            schema.create_table_from_entity(setting::Entity),
        ] {
            db.execute(&table).await.unwrap();
        }
        let account_id = Uuid::now_v7();
        let text = || Set("x".to_owned());
        let row = account::ActiveModel {
            id: Set(account_id),
            kind: Set(AccountKind::Business),
            name: text(),
            email: Set(None),
            street: text(),
            postal_code: text(),
            city: text(),
            country: text(),
            vat_id: Set(None),
            currency: text(),
            locale: text(),
            time_zone: text(),
            payment_terms_days: Set(14),
            version: Set(1),
            active: Set(true),
            created_at: Set(Utc::now()),
        };
        let insert = account::Entity::insert(row);
        insert.exec_without_returning(&db).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let pepper = Pepper::open(&folder.path().join("pepper"), &db)
            .await
            .unwrap();
        let new = NewKey {
            account_id,
            name: "x",
            scopes: &[],
            expires_at: None,
            networks: &[],
            created_by: "x",
        };
        let key = create_key(&db, &pepper, new).await.unwrap();
        (Keys::new(db, pepper), key)
    }

    /// How long keys that do not work take, in the median, each the same number of times.
    async fn medians(keys: &Keys, tried: &[String], remembered: bool) -> Vec<f64> {
        let mut taken = vec![Vec::new(); tried.len()];
        for _ in 0..ROUNDS {
            for (key, taken) in tried.iter().zip(&mut taken) {
                if !remembered {
                    keys.cache.invalidate(split(key).unwrap().0).await;
                }
                let header = format!("Bearer {key}");
                let began = Instant::now();
                let checked = keys.check(Some(&header), None, false).await;
                taken.push(began.elapsed().as_secs_f64());
                assert!(checked.is_err());
            }
        }
        let median = |mut taken: Vec<f64>| {
            taken.sort_by(f64::total_cmp);
            taken[taken.len() / 2]
        };
        taken.into_iter().map(median).collect()
    }

    #[tokio::test]
    async fn a_key_that_does_not_work_takes_as_long_whatever_is_wrong_with_it() {
        let (keys, key) = keys().await;
        let header = format!("Bearer {key}");
        assert!(keys.check(Some(&header), None, false).await.is_ok());
        let (id, secret) = split(&key).unwrap();
        let other = |digit: &str| if digit == "0" { "1" } else { "0" };
        let (first, rest) = secret.split_at(1);
        let (most, last) = secret.split_at(secret.len() - 1);
        let tried = [
            format!("cf_{}_{secret}", "0".repeat(id.len())),
            format!("cf_{id}_{}{rest}", other(first)),
            format!("cf_{id}_{most}{}", other(last)),
        ];
        for remembered in [true, false] {
            let medians = medians(&keys, &tried, remembered).await;
            let least = medians.iter().copied().fold(f64::MAX, f64::min);
            let most = medians.iter().copied().fold(0.0, f64::max);
            assert!(most < MOST * least, "remembered {remembered}: {medians:?}");
        }
    }
}
