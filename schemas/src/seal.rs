//! Sealed secrets: what has to be stored so that it can be read again, encrypted with a key of the
//! installation that is not in the database, and bound to the row that it belongs to.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use data_encoding::HEXLOWER;
use uuid::Uuid;

/// A key that seals secrets (ChaCha20-Poly1305, RFC 8439): 256 bits, derived from the pepper for one
/// purpose.
pub struct SealKey(LessSafeKey);

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(…)")
    }
}

/// The random generator of the system, or the cipher, does not work.
#[derive(Debug, thiserror::Error)]
#[error("a secret cannot be sealed")]
pub struct Unsealable;

impl SealKey {
    /// A key of these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).expect("the key has 256 bits");
        Self(LessSafeKey::new(key))
    }

    /// A secret as it is stored for its owner: nonce, text and tag, in hex.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn seal(&self, owner: Uuid, secret: &[u8]) -> Result<String, Unsealable> {
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| Unsealable)?;
        let mut text = secret.to_vec();
        let aad = Aad::from(owner.as_bytes());
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut text)
            .map_err(|_| Unsealable)?;
        Ok(HEXLOWER.encode(&[&nonce[..], &text].concat()))
    }

    /// The secret, if it was sealed for this owner with this key and nobody has changed it.
    pub fn open(&self, owner: Uuid, sealed: &str) -> Option<Vec<u8>> {
        let mut bytes = HEXLOWER.decode(sealed.as_bytes()).ok()?;
        let (nonce, text) = bytes.split_first_chunk_mut::<NONCE_LEN>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let aad = Aad::from(owner.as_bytes());
        let secret = self.0.open_in_place(nonce, aad, text).ok()?;
        Some(secret.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_for_its_owner_with_its_key_and_unchanged() {
        let (key, owner) = (SealKey::new([7; 32]), Uuid::from_u128(1));
        let sealed = key.seal(owner, b"token").unwrap();
        assert_eq!(key.open(owner, &sealed).unwrap(), b"token");
        assert!(!sealed.contains(&HEXLOWER.encode(b"token")));
        assert_ne!(key.seal(owner, b"token").unwrap(), sealed);
        assert_eq!(key.open(Uuid::from_u128(2), &sealed), None);
        assert_eq!(SealKey::new([8; 32]).open(owner, &sealed), None);
        let mut changed = sealed.clone();
        let last = if changed.ends_with('0') { "1" } else { "0" };
        changed.replace_range(changed.len() - 1.., last);
        for wrong in [changed.as_str(), "", "00", "no hex"] {
            assert_eq!(key.open(owner, wrong), None, "{wrong}");
        }
    }
}
