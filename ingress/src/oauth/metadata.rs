//! What clients and resource servers learn by themselves: `GET /.well-known/jwks.json` (RFC 7517 §5)
//! and `GET /.well-known/oauth-authorization-server` (RFC 8414).

use jsonwebtoken::jwk::Jwk;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use warp::http::header::CACHE_CONTROL;
use warp::reply::Response;

use crate::call::Call;
use crate::credentials::Scope;
use crate::error::ApiError;
use crate::reply;

/// How long others may keep what they read here. A new key is published longer than this before it
/// signs.
const MAX_AGE: &str = "public, max-age=300";

/// Public keys (RFC 7517 §5).
#[derive(Serialize, JsonSchema)]
pub(crate) struct JwkSet {
    /// The keys that sign, that will, and that did so lately.
    keys: Vec<Value>,
}

/// Metadata of the authorization server (RFC 8414 §2).
#[derive(Serialize, JsonSchema)]
pub(crate) struct ServerMetadata {
    issuer: String,
    token_endpoint: String,
    jwks_uri: String,
    grant_types_supported: [&'static str; 1],
    /// None: nobody is sent here to log in.
    response_types_supported: [&'static str; 0],
    token_endpoint_auth_methods_supported: [&'static str; 2],
    scopes_supported: Vec<&'static str>,
    service_documentation: String,
}

/// The public keys.
pub(crate) async fn jwks(call: Call) -> Result<Response, ApiError> {
    let published = call.state.oauth.keys.published().await?;
    let keys = published.iter().map(|key| json!(Jwk::clone(&key.jwk)));
    let set = JwkSet {
        keys: keys.collect(),
    };
    Ok(kept(reply::ok(&set)))
}

/// The metadata.
pub(crate) async fn server(call: Call) -> Result<Response, ApiError> {
    let issuer = &call.state.oauth.issuer;
    let metadata = ServerMetadata {
        token_endpoint: format!("{issuer}/oauth2/token"),
        jwks_uri: format!("{issuer}/.well-known/jwks.json"),
        grant_types_supported: ["client_credentials"],
        response_types_supported: [],
        token_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post"],
        scopes_supported: Scope::ALL.map(Scope::as_str).into(),
        service_documentation: format!("{issuer}/docs"),
        issuer: issuer.clone(),
    };
    Ok(kept(reply::ok(&metadata)))
}

fn kept(mut response: Response) -> Response {
    reply::set(&mut response, CACHE_CONTROL, MAX_AGE);
    response
}
