//! Checks access tokens, those of our own and those of foreign issuers. A token that was verified is
//! remembered by its hash; what it may do is looked up each time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use moka::sync::Cache;
use sea_orm::DatabaseConnection;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::OAuthSettings;
use super::clients::{Clients, Known};
use super::foreign::{ForeignIssuers, ForeignToken};
use super::signing_keys::SigningKeys;
use super::token::{Claims, TYPE};
use crate::credentials::{Caller, Pepper};
use crate::error::ApiError;

/// The longest token that is looked at.
const MAX_TOKEN: usize = 16 * 1024;
/// How many tokens are remembered, and for how long at most.
const MOST: u64 = 50_000;
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Issues and checks access tokens.
pub(crate) struct OAuth {
    /// The issuer of our tokens, and their audience.
    pub(super) issuer: String,
    pub(super) lifetime: TimeDelta,
    pub(super) keys: SigningKeys,
    pub(super) clients: Clients,
    foreign: ForeignIssuers,
    /// Tokens that were verified, by their SHA-256.
    verified: Cache<[u8; 32], Arc<Verified>>,
}

/// A token whose signature and claims are right.
enum Verified {
    Own(OwnToken),
    Foreign(Box<ForeignToken>),
}

/// A token of our own.
struct OwnToken {
    kid: String,
    client_id: Uuid,
    scopes: String,
    expires_at: DateTime<Utc>,
}

/// The access token in a header `Authorization`, if it holds one: a JWS (RFC 7515 §3.1) has two dots,
/// and an API key has none.
pub(crate) fn access_token(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    let token = token.trim();
    let is_jws = token.bytes().filter(|byte| *byte == b'.').count() == 2;
    (scheme.eq_ignore_ascii_case("bearer") && is_jws).then_some(token)
}

/// 401, without a reason: for whoever has not shown that the token comes from its issuer.
pub(super) fn wrong() -> ApiError {
    ApiError::unauthorized("The access token is not valid.")
}

/// A claim that was signed is wrong; its sender may know which.
pub(super) fn expired() -> ApiError {
    ApiError::unauthorized("The access token has expired. Get a new one.")
}

/// Verifies the signature of a token with a key that its header has named, and then its claims
/// (RFC 9068 §4). The algorithm is one that is pinned for this key.
///
/// # Errors
/// 401.
pub(super) fn verified<T: DeserializeOwned>(
    token: &str,
    key: &DecodingKey,
    validation: &Validation,
) -> Result<T, ApiError> {
    match decode::<T>(token, key, validation) {
        Ok(data) => Ok(data.claims),
        Err(error) => {
            tracing::debug!("refused an access token: {error}");
            Err(match error.kind() {
                ErrorKind::ExpiredSignature => expired(),
                _ => wrong(),
            })
        }
    }
}

/// What must be true of the claims of every token, with one algorithm: that of its header, which is
/// among those that are pinned.
pub(super) fn validation(
    algorithm: Algorithm,
    issuer: &str,
    audience: &str,
    leeway: Duration,
) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.validate_nbf = true;
    validation.leeway = leeway.as_secs();
    validation
}

/// Whether a header is that of an access token of this type, and asks for nothing that is not
/// understood (RFC 7515 §4.1.11). Where it says that its key lies is of no interest.
pub(super) fn is_plain(header: &Header, token_type: &str) -> bool {
    let typ = header.typ.as_deref().unwrap_or_default();
    let typ = typ.to_ascii_lowercase();
    let typ = typ.strip_prefix("application/").unwrap_or(&typ);
    typ == token_type.to_ascii_lowercase() && header.crit.is_none()
}

/// Who asks with a token of a client, or for one.
pub(super) fn of_client(client: &Known, scopes: &str) -> Caller {
    Caller {
        person: None,
        kind: "oauth_client",
        account_id: client.row.account_id,
        key_id: client.row.id.to_string(),
        name: client.row.name.clone(),
        scopes: scopes.to_owned(),
        networks: client.networks.clone(),
        expires_at: client.row.expires_at,
    }
}

/// What a token names and a row allows.
pub(super) fn both(named: &str, allowed: &str) -> String {
    let allowed: Vec<_> = allowed.split_whitespace().collect();
    let scopes = named.split_whitespace();
    let scopes: Vec<_> = scopes.filter(|scope| allowed.contains(scope)).collect();
    scopes.join(" ")
}

impl OAuth {
    /// # Errors
    /// When the HTTP client for foreign issuers cannot be set up.
    pub(crate) fn new(
        db: &DatabaseConnection,
        pepper: &Pepper,
        settings: &OAuthSettings,
        issuer: String,
    ) -> anyhow::Result<Self> {
        let lifetime = TimeDelta::from_std(settings.lifetime)?;
        let (db, pepper) = (|| db.clone(), || pepper.clone());
        Ok(Self {
            issuer,
            lifetime,
            keys: SigningKeys::new(db(), pepper(), lifetime),
            clients: Clients::new(db(), pepper()),
            foreign: ForeignIssuers::new(db(), pepper(), settings.jwks)?,
            verified: Cache::builder()
                .max_capacity(MOST)
                .time_to_live(REMEMBERED)
                .build(),
        })
    }

    /// Who presents this token from this address. One that is not signed causes no query, so it
    /// may come from an address that has guessed too often.
    ///
    /// # Errors
    /// 401 for everything but a token that works; 503 when what is needed to check it cannot be read.
    pub(crate) async fn check(
        &self,
        token: &str,
        from: Option<IpAddr>,
    ) -> Result<Caller, ApiError> {
        if token.len() > MAX_TOKEN {
            return Err(wrong());
        }
        let hash: [u8; 32] = Sha256::digest(token).into();
        let verified = match self.verified.get(&hash) {
            Some(verified) if self.counts(&verified).await? => verified,
            _ => {
                let verified = Arc::new(self.verify(token).await?);
                self.verified.insert(hash, verified.clone());
                verified
            }
        };
        match &*verified {
            Verified::Own(token) => self.client(token, from).await,
            Verified::Foreign(token) => self.foreign.caller(token).await,
        }
    }

    /// Looks at a client again: it is changed here.
    pub(super) async fn forget_client(&self, id: Uuid) {
        self.clients.forget(id).await;
    }

    /// Whether what a token was verified with still counts.
    async fn counts(&self, verified: &Verified) -> Result<bool, ApiError> {
        match verified {
            Verified::Own(token) => {
                let published = self.keys.published().await?;
                Ok(published.find(&token.kid).is_some())
            }
            Verified::Foreign(token) => self.foreign.counts(token).await,
        }
    }

    async fn verify(&self, token: &str) -> Result<Verified, ApiError> {
        let header = decode_header(token).map_err(|_| wrong())?;
        let Some(kid) = header.kid.clone() else {
            return Err(wrong());
        };
        let published = self.keys.published().await?;
        // Our key ids are thumbprints: nobody else's key has one of them.
        let Some(key) = published.find(&kid) else {
            let token = self.foreign.verify(token, &header, &kid).await?;
            return Ok(Verified::Foreign(Box::new(token)));
        };
        if header.alg != Algorithm::ES256 || !is_plain(&header, TYPE) {
            return Err(wrong());
        }
        let validation = validation(Algorithm::ES256, &self.issuer, &self.issuer, Duration::ZERO);
        let claims: Claims = verified(token, &key.verifies, &validation)?;
        Ok(Verified::Own(OwnToken {
            kid,
            client_id: claims.client_id,
            scopes: claims.scope,
            expires_at: DateTime::from_timestamp(claims.exp, 0).ok_or_else(wrong)?,
        }))
    }

    /// Who asks with a token of our own.
    async fn client(&self, token: &OwnToken, from: Option<IpAddr>) -> Result<Caller, ApiError> {
        if token.expires_at <= Utc::now() {
            return Err(expired());
        }
        let client = self.clients.of_token(token.client_id, from).await?;
        Ok(Caller {
            // What it makes lasts no longer than itself.
            expires_at: Some(token.expires_at),
            ..of_client(&client, &both(&token.scopes, &client.row.scopes))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_told_from_an_api_key_by_its_dots() {
        for (header, expected) in [
            ("Bearer a.b.c", Some("a.b.c")),
            ("bearer  a.b.c ", Some("a.b.c")),
            ("Bearer a.b.", Some("a.b.")),
            ("Basic a.b.c", None),
            ("Bearer cf_0123_4567", None),
            ("Bearer a.b", None),
            ("Bearer a.b.c.d.e", None),
            ("a.b.c", None),
        ] {
            assert_eq!(access_token(header), expected, "{header}");
        }
    }

    #[test]
    fn a_token_allows_what_it_names_and_the_row_allows() {
        assert_eq!(both("a b c", "c a x"), "a c");
        assert_eq!(both("", "a"), "");
        assert_eq!(both("a", ""), "");
    }
}
