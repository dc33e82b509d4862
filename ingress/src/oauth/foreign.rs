//! Issuers of others (Entra ID, Keycloak, …): which of them are trusted, what their tokens must be
//! like, and which account each of their clients acts for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::{account, foreign_client, foreign_issuer};
use jsonwebtoken::dangerous::insecure_decode;
use jsonwebtoken::{Algorithm, Header};
use sea_orm::{
    ColumnTrait, DatabaseConnection, DbErr, EntityTrait, JoinType, QueryFilter, QuerySelect,
};
use serde_json::{Map, Value};

use super::bearer::{both, expired, is_plain, validation, verified, wrong};
use super::fetch::Fetch;
use super::jwks::{Jwks, JwksTiming};
use super::remembered::Remembered;
use super::trusted::{ALGORITHMS, MAX_CLIENT, seal_of_client, seal_of_issuer};
use crate::credentials::{Caller, Pepper};
use crate::error::ApiError;

/// How much the clock of an issuer may differ from ours.
const LEEWAY: Duration = Duration::from_secs(30);

/// A token of a foreign issuer whose signature and claims are right.
pub(super) struct ForeignToken {
    /// What it was verified by.
    issuer: foreign_issuer::Model,
    kid: String,
    thumbprint: String,
    client: String,
    /// What it names, if the issuer names scopes.
    scopes: Option<String>,
    expires_at: DateTime<Utc>,
}

/// The issuers that are trusted, as this process remembers them, and their keys.
pub(super) struct ForeignIssuers {
    db: DatabaseConnection,
    pepper: Pepper,
    timing: JwksTiming,
    fetch: Fetch,
    issuers: Remembered<(), Vec<foreign_issuer::Model>>,
    clients: Remembered<(String, String), Option<foreign_client::Model>>,
    keys: Mutex<HashMap<String, Arc<Jwks>>>,
}

impl ForeignIssuers {
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub(super) fn new(
        db: DatabaseConnection,
        pepper: Pepper,
        timing: JwksTiming,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            db,
            pepper,
            timing,
            fetch: Fetch::new()?,
            issuers: Remembered::new(),
            clients: Remembered::new(),
            keys: Mutex::default(),
        })
    }

    /// Verifies a token whose header names a key that is not ours.
    ///
    /// # Errors
    /// 401; 503 when the keys of its issuer are not known and cannot be fetched.
    pub(super) async fn verify(
        &self,
        token: &str,
        header: &Header,
        kid: &str,
    ) -> Result<ForeignToken, ApiError> {
        // Only to find the row whose rules it must keep to.
        let claims = insecure_decode::<Map<String, Value>>(token).map_err(|_| wrong())?;
        let named = claims.claims.get("iss").and_then(Value::as_str);
        let issuer = self
            .issuer(named.ok_or_else(wrong)?)
            .await?
            .ok_or_else(wrong)?;
        let pinned = issuer.algorithms.split(' ');
        let pinned = pinned.filter(|name| ALGORITHMS.contains(name));
        let mut pinned = pinned.filter_map(|name| name.parse::<Algorithm>().ok());
        if !pinned.any(|pinned| pinned == header.alg) || !is_plain(header, &issuer.token_type) {
            return Err(wrong());
        }
        let keys = self.keys_of(&issuer.id);
        let key = keys.find(kid).await?;
        let key = key.filter(|key| key.is_for(header.alg)).ok_or_else(wrong)?;
        let rules = validation(header.alg, &issuer.id, &issuer.audience, LEEWAY);
        let claims: Map<String, Value> = verified(token, &key.decoding, &rules)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        // A list of issuers would do for the library; the one that is meant has to be alone.
        if text("iss") != Some(&issuer.id) {
            return Err(wrong());
        }
        let client = text(&issuer.client_claim).ok_or_else(wrong)?;
        if !(1..=MAX_CLIENT).contains(&client.len()) {
            return Err(wrong());
        }
        let scopes = issuer.scope_claim.as_deref();
        let scopes = scopes.map(|name| named_scopes(claims.get(name)));
        let expires_at = claims
            .get("exp")
            .and_then(Value::as_f64)
            .ok_or_else(wrong)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a cast to an integer saturates"
        )]
        let expires_at = (expires_at as i64).saturating_add(LEEWAY.as_secs() as i64);
        Ok(ForeignToken {
            client: client.to_owned(),
            kid: kid.to_owned(),
            thumbprint: key.thumbprint.clone(),
            scopes,
            expires_at: DateTime::from_timestamp(expires_at, 0).unwrap_or(DateTime::<Utc>::MAX_UTC),
            issuer,
        })
    }

    /// Whether the rules and the key that a token was verified by are the same still.
    pub(super) async fn counts(&self, token: &ForeignToken) -> Result<bool, ApiError> {
        let issuer = self.issuer(&token.issuer.id).await?;
        if issuer.as_ref() != Some(&token.issuer) {
            return Ok(false);
        }
        let key = self.keys_of(&token.issuer.id).find(&token.kid).await?;
        Ok(key.is_some_and(|key| key.thumbprint == token.thumbprint))
    }

    /// Who asks with a token.
    ///
    /// # Errors
    /// 401 when it is expired or its client acts for nobody; 503 when that cannot be read.
    pub(super) async fn caller(&self, token: &ForeignToken) -> Result<Caller, ApiError> {
        if token.expires_at <= Utc::now() {
            return Err(expired());
        }
        let id = (token.issuer.id.clone(), token.client.clone());
        let client = self.clients.get(id.clone(), self.read_client(id)).await?;
        let client = (*client).as_ref().ok_or_else(wrong)?;
        let scopes = token.scopes.as_ref();
        Ok(Caller {
            person: None,
            kind: "foreign_client",
            account_id: client.account_id,
            key_id: format!("{} {}", token.issuer.id, token.client),
            name: token.client.clone(),
            scopes: scopes.map_or_else(
                || client.scopes.clone(),
                |named| both(named, &client.scopes),
            ),
            networks: Vec::new(),
            expires_at: Some(token.expires_at),
        })
    }

    async fn issuer(&self, id: &str) -> Result<Option<foreign_issuer::Model>, ApiError> {
        let read = async {
            let rows = foreign_issuer::Entity::find().all(&self.db).await?;
            let sealed =
                |row: &foreign_issuer::Model| row.seal == seal_of_issuer(&self.pepper, row);
            Ok::<_, DbErr>(rows.into_iter().filter(sealed).collect::<Vec<_>>())
        };
        let issuers = self.issuers.get((), read).await?;
        Ok(issuers.iter().find(|issuer| issuer.id == id).cloned())
    }

    async fn read_client(
        &self,
        id: (String, String),
    ) -> Result<Option<foreign_client::Model>, DbErr> {
        let account = foreign_client::Entity::belongs_to(account::Entity)
            .from(foreign_client::Column::AccountId)
            .to(account::Column::Id)
            .into();
        let found = foreign_client::Entity::find_by_id(id)
            .join(JoinType::InnerJoin, account)
            .filter(account::Column::Active.eq(true))
            .one(&self.db)
            .await?;
        Ok(found.filter(|row| row.seal == seal_of_client(&self.pepper, row)))
    }

    /// The keys of an issuer that is trusted.
    fn keys_of(&self, issuer: &str) -> Arc<Jwks> {
        let mut keys = self
            .keys
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let new = || Arc::new(Jwks::new(issuer, self.fetch.clone(), self.timing));
        keys.entry(issuer.to_owned()).or_insert_with(new).clone()
    }
}

/// Scopes as one text (RFC 9068 §2.2.3), or as a list, as some issuers name them.
fn named_scopes(claim: Option<&Value>) -> String {
    match claim {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) => {
            let texts: Vec<_> = list.iter().filter_map(Value::as_str).collect();
            texts.join(" ")
        }
        _ => String::new(),
    }
}
