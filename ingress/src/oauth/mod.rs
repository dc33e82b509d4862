//! OAuth 2.0 for machines: an authorization server for the clients of accounts (`/oauth2/token`), and a
//! resource server that accepts its access tokens and those of foreign issuers that the seller trusts.
//!
//! What a token says is believed only as far as a row of ours allows it: which account a client acts
//! for, and what it may do at most, is looked up at every request.

mod bearer;
pub(crate) mod client_routes;
mod clients;
mod fetch;
mod foreign;
mod jwks;
pub(crate) mod metadata;
mod remembered;
mod signing_keys;
pub(crate) mod token;
mod trusted;

pub use clients::{NewClient, create_client, list_clients, revoke_client};
pub use jwks::JwksTiming;
pub use signing_keys::{Rotated, list_signing_keys, rotate_signing_key, withdraw_signing_key};
pub use trusted::{NewIssuer, add_issuer, allow_client, deny_client, list_issuers, remove_issuer};

pub(crate) use bearer::{OAuth, access_token};

use std::time::Duration;

/// How access tokens are issued and checked.
#[derive(Debug, Clone)]
pub struct OAuthSettings {
    /// How long an access token works.
    pub lifetime: Duration,
    /// When the keys of foreign issuers are fetched.
    pub jwks: JwksTiming,
}
