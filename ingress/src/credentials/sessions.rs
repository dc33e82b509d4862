//! Sessions of people in a browser: a cookie with a token of which a hash is stored, and a second
//! token against requests that another page makes in their name (OWASP, Cross-Site Request Forgery
//! Prevention).

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use data_encoding::HEXLOWER;
use entity::membership::Role;
use entity::{account, membership, session, user};
use moka::future::Cache;
use rand::TryRngCore;
use rand::rngs::OsRng;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter,
    QueryOrder, Set,
};
use subtle::ConstantTimeEq;
use uuid::Uuid;
use warp::http::{HeaderMap, header};

use super::{Caller, Pepper, Scope, scopes_of};
use crate::error::ApiError;

/// How long a session that was read is used without looking again: what is ended, and whoever is
/// removed from an account, stops within this.
const FRESH: Duration = Duration::from_secs(2);
/// How many sessions are remembered, known and unknown ones.
const MOST: u64 = 50_000;
/// How long a session lasts that is not used, and how long one lasts at most (OWASP ASVS 5.0, 7.3).
const IDLE: TimeDelta = TimeDelta::hours(2);
const LONGEST: TimeDelta = TimeDelta::hours(12);
/// How often it is noted that a session is used.
const NOTE_USE: TimeDelta = TimeDelta::minutes(1);

/// An account that a person acts for.
#[derive(Debug, Clone)]
pub(crate) struct Acting {
    pub(crate) account_id: Uuid,
    /// What the account is called.
    pub(crate) name: String,
    pub(crate) role: Role,
}

/// Somebody who is logged in.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) user: user::Model,
    pub(crate) session: session::Model,
    /// The accounts that work, by name.
    pub(crate) accounts: Vec<Acting>,
    /// What requests that change something say in `X-CSRF-Token`.
    pub(crate) csrf_token: String,
}

impl Person {
    /// What they act with, for the audit trail.
    pub(crate) fn credential(&self) -> String {
        format!("session {}", self.session.id)
    }

    /// Who asks, for the account that is named; for the only one, if none is.
    ///
    /// # Errors
    /// 404 for an account that the person does not act for, 422 when one must be named.
    pub(crate) fn acting(&self, wanted: Option<&str>) -> Result<Caller, ApiError> {
        let acting = match (wanted, self.accounts.as_slice()) {
            (None, [only]) => only,
            (None, []) => {
                return Err(ApiError::wrong_field(
                    "Account-Id",
                    "is required, and you act for no account",
                ));
            }
            (None, _) => {
                return Err(ApiError::wrong_field(
                    "Account-Id",
                    "is required: you act for several accounts; GET /v1/session lists them",
                ));
            }
            (Some(wanted), accounts) => {
                let wanted: Option<Uuid> = wanted.parse().ok();
                let found = accounts.iter().find(|a| Some(a.account_id) == wanted);
                found.ok_or_else(|| ApiError::not_found("account"))?
            }
        };
        let scopes: Vec<_> = scopes_of(acting.role)
            .iter()
            .map(Scope::to_string)
            .collect();
        Ok(Caller {
            kind: "session",
            account_id: acting.account_id,
            key_id: self.session.id.to_string(),
            name: self.user.name.clone(),
            person: Some((self.user.id, acting.role)),
            scopes: scopes.join(" "),
            networks: Vec::new(),
            expires_at: None,
        })
    }

    /// # Errors
    /// 403 when the request does not say the session's token: another page may have made it.
    pub(crate) fn check_csrf(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let given = headers.get("x-csrf-token").map(|value| value.as_bytes());
        let same = given.unwrap_or_default().ct_eq(self.csrf_token.as_bytes());
        match bool::from(same) {
            true => Ok(()),
            false => Err(ApiError::cross_site(
                "Send the csrf_token of GET /v1/session in the header X-CSRF-Token.",
            )),
        }
    }
}

/// The sessions of this process.
pub(crate) struct Sessions {
    db: DatabaseConnection,
    pepper: Pepper,
    cache: Cache<String, Option<Arc<Person>>>,
}

impl Sessions {
    pub(crate) fn new(db: DatabaseConnection, pepper: Pepper) -> Self {
        let cache = Cache::builder().max_capacity(MOST).time_to_live(FRESH);
        Self {
            db,
            pepper,
            cache: cache.build(),
        }
    }

    /// Who presents this token. With `known_only` it counts only if it is remembered.
    ///
    /// # Errors
    /// 401 for everything but a session that goes on; 503 when it cannot be read.
    pub(crate) async fn check(
        &self,
        token: &str,
        known_only: bool,
    ) -> Result<Arc<Person>, ApiError> {
        let over = || ApiError::unauthorized("You are not logged in any more. Log in again.");
        let hash = self.pepper.hash(token);
        if known_only && !self.cache.contains_key(&hash) {
            return Err(over());
        }
        let read = self
            .cache
            .try_get_with_by_ref(&hash, self.read(token, &hash));
        let person = read.await.map_err(|error| {
            tracing::warn!("cannot read a session: {error}");
            ApiError::unavailable("The session cannot be checked at the moment. Try again.")
        })?;
        person.ok_or_else(over)
    }

    /// Begins a session. Returns it with the token for the cookie.
    pub(crate) async fn begin(
        &self,
        db: &impl ConnectionTrait,
        user: &user::Model,
    ) -> anyhow::Result<(Uuid, String)> {
        let (id, token, now) = (Uuid::now_v7(), new_token()?, Utc::now());
        let row = session::ActiveModel {
            id: Set(id),
            user_id: Set(user.id),
            token_hash: Set(self.pepper.hash(&token)),
            amr: Set("pwd".to_owned()),
            second_factor_due: Set(user.totp_confirmed_at.is_some()),
            created_at: Set(now),
            last_seen_at: Set(now),
            expires_at: Set(now + LONGEST),
            ended_at: Set(None),
        };
        let insert = session::Entity::insert(row);
        insert.exec_without_returning(db).await?;
        Ok((id, token))
    }

    /// Gives a session that goes on another token, since what it may do changes: whoever knew the old
    /// one is out. `amr` is what was proved, and then no second factor is due.
    pub(crate) async fn renew(
        &self,
        db: &impl ConnectionTrait,
        person: &Person,
        amr: &str,
    ) -> Result<String, ApiError> {
        let token = new_token()?;
        let old = &person.session.token_hash;
        let renewed = session::Entity::update_many()
            .col_expr(
                session::Column::TokenHash,
                Expr::value(self.pepper.hash(&token)),
            )
            .col_expr(session::Column::Amr, Expr::value(amr))
            .col_expr(session::Column::SecondFactorDue, Expr::value(false))
            .filter(session::Column::Id.eq(person.session.id))
            .filter(session::Column::TokenHash.eq(old))
            .filter(session::Column::EndedAt.is_null())
            .exec(db)
            .await?;
        match renewed.rows_affected {
            0 => Err(ApiError::unauthorized(
                "You are not logged in any more. Log in again.",
            )),
            _ => Ok(token),
        }
    }

    /// Forgets what is remembered of a session: it is read again.
    pub(crate) async fn forget(&self, person: &Person) {
        self.cache.invalidate(&person.session.token_hash).await;
    }

    /// Who has this token, as it is stored now.
    pub(crate) async fn read_now(&self, token: &str) -> Result<Arc<Person>, ApiError> {
        let person = self.read(token, &self.pepper.hash(token)).await?;
        person.ok_or_else(|| ApiError::unauthorized("You are not logged in any more."))
    }

    async fn read(&self, token: &str, hash: &str) -> Result<Option<Arc<Person>>, DbErr> {
        let now = Utc::now();
        let found = session::Entity::find()
            .filter(session::Column::TokenHash.eq(hash))
            .one(&self.db)
            .await?;
        let goes_on = |session: &session::Model| {
            let ends = session.expires_at.min(session.last_seen_at + IDLE);
            session.ended_at.is_none() && now < ends
        };
        let Some(session) = found.filter(goes_on) else {
            return Ok(None);
        };
        let user = user::Entity::find_by_id(session.user_id).one(&self.db);
        let Some(user) = user.await?.filter(|user| user.active) else {
            return Ok(None);
        };
        if session.last_seen_at + NOTE_USE < now {
            self.note_use(session.id, now);
        }
        Ok(Some(Arc::new(Person {
            accounts: accounts(&self.db, user.id).await?,
            csrf_token: self.pepper.hash(&format!("csrf {token}")),
            user,
            session,
        })))
    }

    /// Notes that a session is used, beside the request.
    fn note_use(&self, id: Uuid, now: DateTime<Utc>) {
        let note = session::Entity::update_many()
            .col_expr(session::Column::LastSeenAt, Expr::value(now))
            .filter(session::Column::Id.eq(id));
        let db = self.db.clone();
        tokio::spawn(async move {
            if let Err(error) = note.exec(&db).await {
                tracing::debug!("cannot note the use of a session: {error}");
            }
        });
    }
}

/// Ends the sessions of somebody, but for one.
pub(crate) async fn end_others(
    db: &impl ConnectionTrait,
    user_id: Uuid,
    but: Option<Uuid>,
) -> Result<(), DbErr> {
    let others = but.map(|id| session::Column::Id.ne(id));
    session::Entity::update_many()
        .col_expr(session::Column::EndedAt, Expr::value(Utc::now()))
        .filter(session::Column::UserId.eq(user_id))
        .filter(session::Column::EndedAt.is_null())
        .filter(Condition::all().add_option(others))
        .exec(db)
        .await?;
    Ok(())
}

/// The accounts that somebody acts for, by name.
pub(crate) async fn accounts(
    db: &impl ConnectionTrait,
    user_id: Uuid,
) -> Result<Vec<Acting>, DbErr> {
    let join = membership::Entity::belongs_to(account::Entity)
        .from(membership::Column::AccountId)
        .to(account::Column::Id)
        .into();
    let rows = sea_orm::QuerySelect::join(
        membership::Entity::find(),
        sea_orm::JoinType::InnerJoin,
        join,
    )
    .select_also(account::Entity)
    .filter(membership::Column::UserId.eq(user_id))
    .filter(account::Column::Active.eq(true))
    .order_by_asc(account::Column::Name)
    .order_by_asc(account::Column::Id)
    .all(db)
    .await?;
    let acting = |(membership, account): (membership::Model, Option<account::Model>)| Acting {
        account_id: membership.account_id,
        name: account.map(|account| account.name).unwrap_or_default(),
        role: membership.role,
    };
    Ok(rows.into_iter().map(acting).collect())
}

/// 256 bits in hex.
fn new_token() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    OsRng.try_fill_bytes(&mut bytes)?;
    Ok(HEXLOWER.encode(&bytes))
}

/// How cookies are set: as strictly as the address of the API allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cookies {
    /// Whether people reach the API over https. Over plain http, on loopback, browsers would not send
    /// a secure cookie back.
    pub(crate) secure: bool,
}

impl Cookies {
    /// The cookie of a session, and one that a browser keeps which somebody has logged in from.
    pub(crate) fn session(self) -> &'static str {
        match self.secure {
            true => "__Host-session",
            false => "session",
        }
    }

    pub(crate) fn device(self) -> &'static str {
        match self.secure {
            true => "__Host-device",
            false => "device",
        }
    }

    /// The value of a cookie in a request.
    pub(crate) fn find<'a>(self, name: &str, headers: &'a HeaderMap) -> Option<&'a str> {
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(found, value)| (found == name).then_some(value))
    }

    /// The header `Set-Cookie` (RFC 6265bis §4.1): for scripts to not see, for this host alone, and not
    /// sent with what other sites begin, but for links. Without an age it ends with the browser.
    pub(crate) fn set(self, name: &str, value: &str, age: Option<TimeDelta>) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        let age = age.map(|age| format!("; Max-Age={}", age.num_seconds()));
        let age = age.unwrap_or_default();
        format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{age}")
    }
}
