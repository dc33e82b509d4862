//! `POST /oauth2/token`: client credentials for an access token (RFC 6749 §4.4, RFC 9068).

use std::borrow::Cow;
use std::collections::HashMap;

use chrono::Utc;
use data_encoding::BASE64;
use jsonwebtoken::{Algorithm, Header, encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use warp::http::StatusCode;
use warp::http::header::{AUTHORIZATION, CACHE_CONTROL, PRAGMA, WWW_AUTHENTICATE};
use warp::reply::Response;

use super::bearer::{OAuth, of_client};
use super::clients::Known;
use crate::call::{Call, media_type};
use crate::credentials::Scope;
use crate::error::ApiError;
use crate::reply;

/// The `typ` of an access token (RFC 9068 §2.1).
pub(super) const TYPE: &str = "at+jwt";

/// What is asked of the token endpoint.
#[derive(Deserialize, JsonSchema)]
#[expect(
    dead_code,
    reason = "the schema of what is read parameter by parameter"
)]
pub(crate) struct TokenRequest {
    /// `client_credentials`.
    grant_type: String,
    /// The client, if it is not named in `Authorization: Basic`.
    client_id: Option<String>,
    /// Its secret, likewise.
    client_secret: Option<String>,
    /// What the token shall allow, separated by blanks: no more than the client may. Without it, all
    /// that the client may.
    scope: Option<String>,
    /// For whom the token is (RFC 8707): this API.
    resource: Option<String>,
}

/// An access token (RFC 6749 §5.1).
#[derive(Serialize, JsonSchema)]
pub(crate) struct TokenResponse {
    /// What to send as `Authorization: Bearer …`.
    access_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// In how many seconds it expires.
    expires_in: i64,
    /// What it allows, separated by blanks.
    scope: String,
}

/// Why there is no token (RFC 6749 §5.2).
#[derive(Serialize, JsonSchema)]
pub(crate) struct OAuthError {
    error: &'static str,
    /// What to do about it.
    error_description: String,
}

/// The claims of an access token (RFC 9068 §2.2).
#[derive(Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) aud: String,
    pub(super) sub: String,
    pub(super) client_id: Uuid,
    pub(super) iat: i64,
    pub(super) exp: i64,
    pub(super) jti: Uuid,
    pub(super) scope: String,
}

/// A refusal in the words of RFC 6749 §5.2.
struct Refusal {
    error: &'static str,
    description: String,
}

impl Refusal {
    fn new(error: &'static str, description: impl Into<String>) -> Self {
        Self {
            error,
            description: description.into(),
        }
    }

    /// The client is not known. Says nothing about why.
    fn client() -> Self {
        let description =
            "The client is not known, its secret is wrong, or it may not be used here.";
        Self::new("invalid_client", description)
    }

    fn response(self) -> Response {
        let is_client = self.error == "invalid_client";
        let status = match is_client {
            true => StatusCode::UNAUTHORIZED,
            false => StatusCode::BAD_REQUEST,
        };
        let body = OAuthError {
            error: self.error,
            error_description: self.description,
        };
        let mut response = unstored(reply::json(status, &body));
        if is_client {
            let challenge = "Basic realm=\"customer-flow\"";
            reply::set(&mut response, WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// Issues an access token to a client.
pub(crate) async fn issue(call: Call) -> Result<Response, ApiError> {
    let request = match Request::read(&call) {
        Ok(request) => request,
        Err(refusal) => return Ok(refusal.response()),
    };
    let (oauth, limits) = (&call.state.oauth, &call.state.limits);
    let known_only = limits.is_barred(call.from);
    let credentials = (&*request.client_id, &*request.client_secret);
    let client = oauth
        .clients
        .authenticate(credentials, call.from, known_only);
    let Some(client) = client.await? else {
        limits.guessed(call.from).await?;
        return Ok(Refusal::client().response());
    };
    limits
        .count(&of_client(&client, &client.row.scopes))
        .await?;
    let scope = match request.allowed(&client, &oauth.issuer) {
        Ok(scope) => scope,
        Err(refusal) => return Ok(refusal.response()),
    };
    let token = oauth.sign(&client, scope).await?;
    Ok(unstored(reply::json(StatusCode::OK, &token)))
}

/// RFC 6749 §5.1: nobody in between may keep it.
fn unstored(mut response: Response) -> Response {
    reply::set(&mut response, CACHE_CONTROL, "no-store");
    reply::set(&mut response, PRAGMA, "no-cache");
    response
}

/// A token request with its client.
struct Request {
    client_id: String,
    client_secret: String,
    parameters: HashMap<String, String>,
}

impl Request {
    fn read(call: &Call) -> Result<Self, Refusal> {
        let invalid = |description: &str| Refusal::new("invalid_request", description);
        if !media_type(&call.headers).eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(invalid("Send a form: application/x-www-form-urlencoded."));
        }
        let mut parameters = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(&call.body) {
            // RFC 6749 §3.2: empty is as good as missing, and twice is wrong.
            if !value.is_empty()
                && parameters
                    .insert(name.into_owned(), value.into_owned())
                    .is_some()
            {
                return Err(invalid("A parameter is there twice."));
            }
        }
        let in_body = parameters
            .remove("client_id")
            .zip(parameters.remove("client_secret"));
        let in_header = match call.headers.get(AUTHORIZATION) {
            Some(value) => Some(basic(value.as_bytes()).ok_or_else(Refusal::client)?),
            None => None,
        };
        let (client_id, client_secret) = match (in_header, in_body) {
            (Some(_), Some(_)) => {
                return Err(invalid(
                    "Send the secret once: in the header or in the body.",
                ));
            }
            (Some(given), None) | (None, Some(given)) => given,
            (None, None) => return Err(Refusal::client()),
        };
        Ok(Self {
            client_id,
            client_secret,
            parameters,
        })
    }

    /// The scopes that the token shall have, if the client may have what it asks for.
    fn allowed(&self, client: &Known, issuer: &str) -> Result<String, Refusal> {
        let parameter = |name: &str| self.parameters.get(name).map(String::as_str);
        match parameter("grant_type") {
            Some("client_credentials") => {}
            Some(_) => {
                let description = "The grant type is client_credentials.";
                return Err(Refusal::new("unsupported_grant_type", description));
            }
            None => return Err(Refusal::new("invalid_request", "grant_type is missing.")),
        }
        // RFC 8707 §2.
        if parameter("resource").is_some_and(|wanted| wanted.trim_end_matches('/') != issuer) {
            let description = format!("Tokens are for {issuer} alone.");
            return Err(Refusal::new("invalid_target", description));
        }
        let Some(wanted) = parameter("scope") else {
            return Ok(client.row.scopes.clone());
        };
        let own: Vec<_> = client.row.scopes.split_whitespace().collect();
        let mut scopes: Vec<&str> = Vec::new();
        for scope in wanted.split(' ').filter(|scope| !scope.is_empty()) {
            if !own.contains(&scope) || scope.parse::<Scope>().is_err() {
                let description = format!("The client may have {}.", own.join(" "));
                return Err(Refusal::new("invalid_scope", description));
            }
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        Ok(scopes.join(" "))
    }
}

/// Id and secret of `Authorization: Basic`, each encoded as in a form (RFC 6749 §2.3.1).
fn basic(header: &[u8]) -> Option<(String, String)> {
    let (scheme, encoded) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64.decode(encoded.trim().as_bytes()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((form_decoded(id)?, form_decoded(secret)?))
}

/// A text that is encoded as the value of a form is.
fn form_decoded(text: &str) -> Option<String> {
    let pair = format!("x={}", text.replace('&', "%26"));
    let (_, value) = url::form_urlencoded::parse(pair.as_bytes()).next()?;
    Some(Cow::into_owned(value))
}

impl OAuth {
    /// Signs an access token for a client.
    async fn sign(&self, client: &Known, scope: String) -> Result<TokenResponse, ApiError> {
        let now = Utc::now();
        let expires_at = now + self.lifetime;
        // It works no longer than its client.
        let expires_at = client
            .row
            .expires_at
            .map_or(expires_at, |end| end.min(expires_at));
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.issuer.clone(),
            sub: client.row.id.to_string(),
            client_id: client.row.id,
            iat: now.timestamp(),
            exp: expires_at.timestamp(),
            jti: Uuid::new_v4(),
            scope: scope.clone(),
        };
        let published = self.keys.published().await?;
        let key = published.active().ok_or_else(|| {
            ApiError::unavailable("No key signs access tokens at the moment. Try again.")
        })?;
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(key.kid.clone());
        let token = encode(&header, &claims, &key.signs).map_err(anyhow::Error::from)?;
        Ok(TokenResponse {
            access_token: token,
            token_type: "Bearer",
            expires_in: claims.exp - claims.iat,
            scope,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_and_secret_are_decoded_as_a_form_is() {
        for (text, expected) in [
            ("id:secret", Some(("id", "secret"))),
            ("i%3Ad:a+b%2B%26c", Some(("i:d", "a b+&c"))),
            ("id:a:b", Some(("id", "a:b"))),
            ("id", None),
        ] {
            let header = format!("Basic {}", BASE64.encode(text.as_bytes()));
            let read = basic(header.as_bytes());
            let expected = expected.map(|(id, secret)| (id.to_owned(), secret.to_owned()));
            assert_eq!(read, expected, "{text}");
        }
        assert_eq!(basic(b"Bearer aWQ6c2VjcmV0"), None);
        assert_eq!(basic(b"Basic \xff"), None);
        assert_eq!(basic(b"Basic not-base64!"), None);
    }
}
