//! Asks a foreign issuer for its keys: within limits of time and size, and nobody else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse, ThumbprintHash,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::StatusCode;
use reqwest::header::ACCEPT;
use serde::Deserialize;
use serde_json::Value;
use url::{Host, Url};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long each of the two documents may take.
const TIMEOUT: Duration = Duration::from_secs(4);
/// The largest document that is read, and how many of its keys.
const MAX_DOCUMENT: usize = 256 * 1024;
const MAX_KEYS: usize = 100;

/// The keys of an issuer by their ids.
pub(super) type Keys = HashMap<String, Arc<IssuerKey>>;

/// A public key of an issuer.
pub(super) struct IssuerKey {
    pub(super) decoding: DecodingKey,
    /// Tells it from another key under the same id (RFC 7638).
    pub(super) thumbprint: String,
    algorithms: Vec<Algorithm>,
}

impl IssuerKey {
    /// Whether it may have signed with this algorithm: its kind fits, and it says no other.
    pub(super) fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }
}

/// An HTTP client for documents of issuers.
#[derive(Clone)]
pub(super) struct Fetch(reqwest::Client);

/// What is needed of a discovery document (OpenID Connect Discovery §3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: Url,
}

/// Whether an address may be asked for keys: over TLS, or on this machine.
pub(super) fn is_safe(url: &Url) -> bool {
    let local = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => return false,
    };
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    plain && (url.scheme() == "https" || (url.scheme() == "http" && local))
}

impl Fetch {
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub(super) fn new() -> anyhow::Result<Self> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one client for issuers, with timeouts"
        )]
        let builder = reqwest::Client::builder();
        let http = builder
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("customer-flow/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("set up the client for issuers")?;
        Ok(Self(http))
    }

    /// The keys of an issuer, found by its discovery document.
    ///
    /// # Errors
    /// When it cannot be reached in time, or its documents are not what they should be.
    pub(super) async fn keys(&self, issuer: &str) -> anyhow::Result<Keys> {
        let address = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let discovery = self.document(&address.parse()?).await;
        let discovery = discovery.context("fetch the discovery document")?;
        let discovery: Discovery =
            serde_json::from_slice(&discovery).context("read the discovery document")?;
        // OpenID Connect Discovery §4.3: another one speaks in its name.
        ensure!(
            discovery.issuer == issuer,
            "the discovery document is of another issuer"
        );
        ensure!(
            is_safe(&discovery.jwks_uri),
            "the keys are at an address that is not https"
        );
        let set = self.document(&discovery.jwks_uri).await;
        let set = set.context("fetch the keys")?;
        let set: Value = serde_json::from_slice(&set).context("read the keys")?;
        let Some(list) = set["keys"].as_array() else {
            bail!("there is no list of keys");
        };
        // One that is not understood is no reason to leave out the others (RFC 7517 §5).
        let keys = list.iter().take(MAX_KEYS).filter_map(key);
        Ok(keys.collect())
    }

    async fn document(&self, url: &Url) -> anyhow::Result<Vec<u8>> {
        let request = self.0.get(url.clone()).header(ACCEPT, "application/json");
        let mut response = request.send().await?;
        ensure!(
            response.status() == StatusCode::OK,
            "{} answers {}",
            url,
            response.status()
        );
        let mut document = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            ensure!(
                document.len() + chunk.len() <= MAX_DOCUMENT,
                "{url} answers more than {MAX_DOCUMENT} bytes"
            );
            document.extend_from_slice(&chunk);
        }
        Ok(document)
    }
}

/// A public key for signatures, with its id. Nothing if it is something else.
fn key(value: &Value) -> Option<(String, Arc<IssuerKey>)> {
    let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    let kind = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => vec![
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(key) => match key.curve {
            EllipticCurve::Ed25519 => vec![Algorithm::EdDSA],
            _ => return None,
        },
        // A shared secret has no place in public.
        _ => return None,
    };
    let is_signature = matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    );
    let said = jwk.common.key_algorithm;
    let fits =
        |algorithm: &Algorithm| said.is_none_or(|said| said == KeyAlgorithm::from(*algorithm));
    let key = IssuerKey {
        decoding: DecodingKey::from_jwk(&jwk).ok()?,
        thumbprint: jwk.thumbprint(ThumbprintHash::SHA256).ok()?,
        algorithms: kind.into_iter().filter(fits).collect(),
    };
    let kid = jwk.common.key_id.filter(|_| is_signature)?;
    Some((kid, Arc::new(key)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_asked_for_over_tls_or_on_this_machine() {
        for (url, expected) in [
            ("https://idp.example/realms/x", true),
            ("http://127.0.0.1:8089", true),
            ("http://[::1]:8089", true),
            ("http://localhost:8089", true),
            ("http://idp.example", false),
            ("http://localhost.idp.example", false),
            ("http://127.0.0.1.idp.example", false),
            ("http://169.254.169.254", false),
            ("https://user:password@idp.example", false),
            ("https://idp.example/#x", false),
            ("file:///etc/passwd", false),
            ("data:application/json,{}", false),
        ] {
            assert_eq!(is_safe(&url.parse().unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn only_public_keys_for_signatures_count() {
        let ec = json!({ "kty": "EC", "crv": "P-256", "kid": "a",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" });
        let with = |name: &str, value: &str| {
            let mut key = ec.clone();
            key[name] = value.into();
            key
        };
        let (kid, found) = key(&ec).unwrap();
        assert_eq!(kid, "a");
        assert!(found.is_for(Algorithm::ES256));
        assert!(!found.is_for(Algorithm::ES384) && !found.is_for(Algorithm::HS256));
        assert!(key(&with("use", "sig")).is_some());
        assert!(key(&with("use", "enc")).is_none());
        let (_, other) = key(&with("alg", "ES384")).unwrap();
        assert!(!other.is_for(Algorithm::ES256) && !other.is_for(Algorithm::ES384));
        assert!(key(&json!({ "kty": "oct", "kid": "a", "k": "c2VjcmV0" })).is_none());
        assert!(key(&json!({ "kty": "new", "kid": "a" })).is_none());
        let mut nameless = ec.clone();
        nameless.as_object_mut().unwrap().remove("kid");
        assert!(key(&nameless).is_none());
    }
}
