//! The secrets in the links of mails. Whoever writes the mail and whoever is shown the secret
//! compute it from the row that it belongs to and a key of the installation. So it is in the mail
//! alone: in no message, no log and no table.

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;

/// The key that the secrets follow from: 256 bits, derived from the pepper.
#[derive(Clone)]
pub struct LinkKey([u8; 32]);

impl std::fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkKey(…)")
    }
}

/// What a link proves. A secret for one thing is worth nothing for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkFor {
    /// That an address belongs to whoever has the mail: a token of its own.
    Token,
    /// That somebody was invited.
    Invitation,
}

impl LinkKey {
    /// A key of these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What stands in the link: `<id>.<secret>`, both in hex. The secret is the HMAC-SHA-256
    /// (RFC 2104) of what it is for, the id, and the end in microseconds, as databases keep it.
    pub fn token(&self, of: LinkFor, id: Uuid, expires_at: DateTime<Utc>) -> String {
        let secret = HEXLOWER.encode(&self.mac(of, id, expires_at).finalize().into_bytes());
        format!("{}.{secret}", id.simple())
    }

    /// Whether a token is the one of this row. Takes as long whatever is wrong with it.
    pub fn matches(&self, token: &str, of: LinkFor, id: Uuid, expires_at: DateTime<Utc>) -> bool {
        let secret = token.split_once('.').map_or("", |(_, secret)| secret);
        let secret = HEXLOWER.decode(secret.as_bytes()).unwrap_or_default();
        self.mac(of, id, expires_at).verify_slice(&secret).is_ok()
    }

    fn mac(&self, of: LinkFor, id: Uuid, expires_at: DateTime<Utc>) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("takes keys of every length");
        let of: &[u8] = match of {
            LinkFor::Token => b"token",
            LinkFor::Invitation => b"invitation",
        };
        mac.update(of);
        mac.update(id.as_bytes());
        mac.update(&expires_at.timestamp_micros().to_be_bytes());
        mac
    }
}

/// The id in a token, which is no secret.
pub fn shown_id(token: &str) -> Option<Uuid> {
    token.split_once('.')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_row_and_purpose_alone() {
        let (key, other) = (LinkKey::new([1; 32]), LinkKey::new([2; 32]));
        let (id, end) = (Uuid::now_v7(), Utc::now());
        let token = key.token(LinkFor::Token, id, end);
        assert_eq!(shown_id(&token), Some(id));
        assert!(key.matches(&token, LinkFor::Token, id, end));
        assert!(!key.matches(&token, LinkFor::Invitation, id, end));
        assert!(!key.matches(&token, LinkFor::Token, Uuid::now_v7(), end));
        let later = end + chrono::TimeDelta::microseconds(1);
        assert!(!key.matches(&token, LinkFor::Token, id, later));
        assert!(!other.matches(&token, LinkFor::Token, id, end));
        let (_, secret) = token.split_once('.').unwrap();
        for wrong in [
            "",
            ".",
            &token.replace(secret, ""),
            &token.replace(secret, "00"),
        ] {
            assert!(!key.matches(wrong, LinkFor::Token, id, end), "{wrong}");
        }
    }
}
