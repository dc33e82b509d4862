//! OAuth clients: their rows, and whether a client is who it says it is.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use data_encoding::HEXLOWER;
use entity::{account, oauth_client};
use ipnet::IpNet;
use rand::TryRngCore;
use rand::rngs::OsRng;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait,
    JoinType, QueryFilter, QueryOrder, QuerySelect, Set,
};
use subtle::{Choice, ConstantTimeEq};
use uuid::Uuid;

use super::remembered::Remembered;
use crate::credentials::{Pepper, Scope, is_within};
use crate::error::ApiError;

/// What a secret begins with, so that it is found where it does not belong.
const PREFIX: &str = "cfs_";
/// How often it is noted that a client is used, in seconds.
const NOTE_USE: u64 = 60;

/// A client to be created.
#[derive(Debug, Clone)]
pub struct NewClient<'a> {
    /// The account it acts for.
    pub account_id: Uuid,
    /// What the owner calls it.
    pub name: &'a str,
    /// What its tokens may allow at most.
    pub scopes: &'a [Scope],
    /// When it stops working by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// From where it and its tokens may be used. Without any, from everywhere.
    pub networks: &'a [IpNet],
    /// Who creates it.
    pub created_by: &'a str,
}

/// Creates a client. Returns its id, and its secret for the only time.
///
/// # Errors
/// When the database refuses it (the account does not exist), or the system has no random numbers.
pub async fn create_client(
    db: &impl ConnectionTrait,
    pepper: &Pepper,
    new: NewClient<'_>,
) -> anyhow::Result<(Uuid, String)> {
    let join = |texts: Vec<String>| texts.join(" ");
    let (id, secret) = (Uuid::now_v7(), secret()?);
    let row = oauth_client::ActiveModel {
        id: Set(id),
        account_id: Set(new.account_id),
        name: Set(new.name.to_owned()),
        secret_hash: Set(pepper.hash(&secret)),
        old_secret_hash: Set(None),
        old_secret_until: Set(None),
        scopes: Set(join(new.scopes.iter().map(Scope::to_string).collect())),
        networks: Set(join(new.networks.iter().map(IpNet::to_string).collect())),
        expires_at: Set(new.expires_at),
        revoked_at: Set(None),
        last_used_at: Set(None),
        created_by: Set(Some(new.created_by.to_owned())),
        created_at: Set(Utc::now()),
    };
    oauth_client::Entity::insert(row)
        .exec_without_returning(db)
        .await?;
    Ok((id, secret))
}

/// Gives a client a new secret and returns it for the only time. The old one works for `overlap`; one
/// that is older still stops at once.
///
/// # Errors
/// As [`create_client`].
pub(super) async fn rotate_secret(
    db: &impl ConnectionTrait,
    pepper: &Pepper,
    old: oauth_client::Model,
    overlap: TimeDelta,
) -> anyhow::Result<String> {
    let secret = secret()?;
    let old_hash = old.secret_hash.clone();
    let mut row = oauth_client::ActiveModel::from(old);
    row.secret_hash = Set(pepper.hash(&secret));
    row.old_secret_hash = Set(Some(old_hash));
    row.old_secret_until = Set(Some(Utc::now() + overlap));
    row.update(db).await?;
    Ok(secret)
}

fn secret() -> anyhow::Result<String> {
    let mut secret = [0; 32];
    OsRng.try_fill_bytes(&mut secret)?;
    Ok(format!("{PREFIX}{}", HEXLOWER.encode(&secret)))
}

/// Revokes a client. False if there is no such client or it is revoked already.
///
/// # Errors
/// When the database cannot be reached.
pub async fn revoke_client(db: &impl ConnectionTrait, id: Uuid) -> Result<bool, DbErr> {
    let revoked = oauth_client::Entity::update_many()
        .col_expr(oauth_client::Column::RevokedAt, Expr::value(Utc::now()))
        .filter(oauth_client::Column::Id.eq(id))
        .filter(oauth_client::Column::RevokedAt.is_null())
        .exec(db)
        .await?;
    Ok(revoked.rows_affected > 0)
}

/// Every client of an account, newest first.
///
/// # Errors
/// When the database cannot be reached.
pub async fn list_clients(
    db: &impl ConnectionTrait,
    account_id: Uuid,
) -> Result<Vec<oauth_client::Model>, DbErr> {
    oauth_client::Entity::find()
        .filter(oauth_client::Column::AccountId.eq(account_id))
        .order_by_desc(oauth_client::Column::CreatedAt)
        .all(db)
        .await
}

/// The clients, as this process remembers them.
pub(super) struct Clients {
    db: DatabaseConnection,
    pepper: Pepper,
    rows: Remembered<Uuid, Option<Client>>,
}

/// A client as it was read.
pub(super) struct Client {
    pub(super) row: oauth_client::Model,
    pub(super) networks: Vec<IpNet>,
    usable: bool,
    /// When its use was last noted, in seconds since 1970.
    used_at: AtomicU64,
}

impl Client {
    /// Whether it works at the moment.
    fn works(&self) -> bool {
        self.usable && self.row.expires_at.is_none_or(|at| at > Utc::now())
    }
}

/// A client that works.
pub(super) struct Known(Arc<Option<Client>>);

impl std::ops::Deref for Known {
    type Target = Client;

    fn deref(&self) -> &Client {
        (*self.0).as_ref().expect("only one that exists is known")
    }
}

impl Clients {
    pub(super) fn new(db: DatabaseConnection, pepper: Pepper) -> Self {
        Self {
            db,
            pepper,
            rows: Remembered::new(),
        }
    }

    /// The client with this id and secret, if it works and may be used from there. With `known_only`
    /// only one that is remembered: nobody is asked about others.
    ///
    /// # Errors
    /// 503 when it is not known yet and cannot be read.
    pub(super) async fn authenticate(
        &self,
        (id, secret): (&str, &str),
        from: Option<IpAddr>,
        known_only: bool,
    ) -> Result<Option<Known>, ApiError> {
        let Ok(id) = id.parse::<Uuid>() else {
            return Ok(None);
        };
        if known_only && !self.rows.knows(&id) {
            return Ok(None);
        }
        let client = self.read(id).await?;
        let given = self.pepper.hash(secret);
        // An unknown client takes as long as a known one with the wrong secret.
        let nothing = "0".repeat(given.len());
        let row = (*client).as_ref().map(|client| &client.row);
        let current = row.map_or(&nothing, |row| &row.secret_hash);
        let overlapping =
            row.filter(|row| row.old_secret_until.is_some_and(|until| until > Utc::now()));
        let old = overlapping.and_then(|row| row.old_secret_hash.as_ref());
        let equals = |hash: &String| given.as_bytes().ct_eq(hash.as_bytes());
        let matches = equals(current) | equals(old.unwrap_or(&nothing));
        // Zeros are no hash of anything, and those of nobody let nobody in.
        let matches = matches & Choice::from(u8::from(row.is_some()));
        let works = bool::from(matches) && (*client).as_ref().is_some_and(Client::works);
        let client = works.then_some(Known(client));
        let client = client.filter(|client| is_within(&client.networks, from));
        if let Some(client) = &client {
            self.note_use(client);
        }
        Ok(client)
    }

    /// The client that a token was issued to, if it works still and may be used from there.
    ///
    /// # Errors
    /// 401 if not; 503 when it is not known yet and cannot be read.
    pub(super) async fn of_token(&self, id: Uuid, from: Option<IpAddr>) -> Result<Known, ApiError> {
        let client = self.read(id).await?;
        if !(*client).as_ref().is_some_and(Client::works) {
            return Err(ApiError::unauthorized("The access token is not valid."));
        }
        let client = Known(client);
        if !is_within(&client.networks, from) {
            let detail = "The access token may not be used from this address.";
            return Err(ApiError::unauthorized(detail));
        }
        self.note_use(&client);
        Ok(client)
    }

    /// Looks again at the next request: the client is changed here.
    pub(super) async fn forget(&self, id: Uuid) {
        self.rows.forget(&id).await;
    }

    async fn read(&self, id: Uuid) -> Result<Arc<Option<Client>>, ApiError> {
        let account = oauth_client::Entity::belongs_to(account::Entity)
            .from(oauth_client::Column::AccountId)
            .to(account::Column::Id)
            .into();
        // One query, whether there is such a client or not: a second one would tell.
        let query = oauth_client::Entity::find_by_id(id)
            .join(JoinType::InnerJoin, account)
            .select_also(account::Entity);
        let read = async {
            let found = query.one(&self.db).await?;
            Ok::<_, DbErr>(match found {
                Some((row, Some(account))) => Some(client(row, account.active)),
                _ => None,
            })
        };
        self.rows.get(id, read).await
    }

    /// Notes that a client is used, now and then and beside the request.
    fn note_use(&self, client: &Client) {
        let now = u64::try_from(Utc::now().timestamp()).unwrap_or_default();
        let noted = client.used_at.load(Ordering::Relaxed);
        let due = now >= noted + NOTE_USE;
        let own = || {
            client
                .used_at
                .compare_exchange(noted, now, Ordering::Relaxed, Ordering::Relaxed)
        };
        if !due || own().is_err() {
            return;
        }
        let note = oauth_client::Entity::update_many()
            .col_expr(oauth_client::Column::LastUsedAt, Expr::value(Utc::now()))
            .filter(oauth_client::Column::Id.eq(client.row.id));
        let db = self.db.clone();
        tokio::spawn(async move {
            if let Err(error) = note.exec(&db).await {
                tracing::debug!("cannot note the use of a client: {error}");
            }
        });
    }
}

fn client(row: oauth_client::Model, active: bool) -> Client {
    let networks = row.networks.split_whitespace().map(str::parse);
    let networks: Result<Vec<IpNet>, _> = networks.collect();
    let used_at = row.last_used_at.map_or(0, |at| at.timestamp());
    Client {
        // What cannot be read lets nobody in.
        usable: networks.is_ok() && row.revoked_at.is_none() && active,
        networks: networks.unwrap_or_default(),
        used_at: AtomicU64::new(u64::try_from(used_at).unwrap_or_default()),
        row,
    }
}
