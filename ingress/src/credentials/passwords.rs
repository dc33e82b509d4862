//! Passwords: stored as argon2id (RFC 9106) with a key that follows from the pepper, so that the
//! database alone is not enough to guess them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use rand::TryRngCore;
use rand::rngs::OsRng;
use schemas::values::InvalidValue;
use tokio::sync::Semaphore;

use super::Pepper;

/// The least that OWASP recommends for argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
/// How many are hashed at once: what they take of the memory has a limit.
const AT_ONCE: usize = 2;
/// How long one may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a new password is, in characters (OWASP ASVS 5.0, 6.2.1 and 6.2.9).
const LEAST: usize = 12;
const MOST: usize = 200;
/// What the password of nobody is compared with, so that it takes as long as that of somebody.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A password that somebody chooses: 12 to 200 characters of any kind.
pub struct NewPassword(String);

impl std::str::FromStr for NewPassword {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (LEAST..=MOST).contains(&text.chars().count()) {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidValue(format!(
                "must have {LEAST} to {MOST} characters"
            ))),
        }
    }
}

/// A password that somebody says is theirs.
pub(crate) struct GivenPassword(String);

impl std::str::FromStr for GivenPassword {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (1..=MOST).contains(&text.chars().count()) {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidValue(format!("must have 1 to {MOST} characters"))),
        }
    }
}

/// Hashes and compares passwords, a few at a time.
#[derive(Clone)]
pub struct Passwords {
    key: [u8; 32],
    turns: Arc<Semaphore>,
}

impl Passwords {
    /// With the pepper of the installation.
    pub fn new(pepper: &Pepper) -> Self {
        Self {
            key: pepper.derive("passwords"),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// What is stored of a password: a PHC string.
    ///
    /// # Errors
    /// When the system has no random numbers, or too many are waiting.
    pub async fn hash(&self, password: NewPassword) -> anyhow::Result<String> {
        self.in_turn(move |argon2| {
            let mut salt = [0; 16];
            OsRng.try_fill_bytes(&mut salt)?;
            let hash: PasswordHash = argon2
                .hash_password_with_salt(password.0.as_bytes(), &salt)
                .map_err(|error| anyhow!("hash a password: {error}"))?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Whether it is the password with this hash. Without one it takes as long.
    ///
    /// # Errors
    /// When what is stored is no hash, or too many are waiting.
    pub(crate) async fn verify(
        &self,
        password: GivenPassword,
        hash: Option<&str>,
    ) -> anyhow::Result<bool> {
        let (known, hash) = (hash.is_some(), hash.unwrap_or(NOBODY).to_owned());
        self.in_turn(move |argon2| {
            let hash = PasswordHash::new(&hash).map_err(|error| anyhow!("read a hash: {error}"))?;
            let right = argon2.verify_password(password.0.as_bytes(), &hash).is_ok();
            Ok(right && known)
        })
        .await
    }

    /// Works beside the requests, when it is its turn.
    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce(Argon2<'_>) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let turn = self.turns.clone().acquire_owned();
        let turn = tokio::time::timeout(PATIENCE, turn).await;
        let turn = turn.context("too many passwords are waiting")??;
        let key = self.key;
        let working = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let params = Params::new(MEMORY_KIB, PASSES, 1, None);
            let params = params.map_err(|error| anyhow!("argon2: {error}"))?;
            let argon2 = Argon2::new_with_secret(&key, Algorithm::Argon2id, Version::V0x13, params);
            work(argon2.map_err(|error| anyhow!("argon2: {error}"))?)
        });
        working.await?
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn passwords(key: u8) -> Passwords {
        Passwords {
            key: [key; 32],
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    fn given(text: &str) -> GivenPassword {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_hash_is_worth_nothing_with_another_pepper() {
        let ours = passwords(1);
        let hash = ours.hash("correct horse battery".parse().unwrap()).await;
        let hash = hash.unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        let verify = async |of: &Passwords, text: &str, hash: Option<&str>| {
            of.verify(given(text), hash).await.unwrap()
        };
        assert!(verify(&ours, "correct horse battery", Some(&hash)).await);
        assert!(!verify(&ours, "correct horse batterY", Some(&hash)).await);
        assert!(!verify(&ours, "correct horse battery", None).await);
        assert!(!verify(&passwords(2), "correct horse battery", Some(&hash)).await);
    }

    #[tokio::test]
    async fn nobody_takes_as_long_as_somebody() {
        let ours = passwords(1);
        let hash = ours.hash("correct horse battery".parse().unwrap()).await;
        let hash = hash.unwrap();
        let (mut somebody, mut nobody) = (Vec::new(), Vec::new());
        for _ in 0..15 {
            for (hash, taken) in [(Some(hash.as_str()), &mut somebody), (None, &mut nobody)] {
                let began = Instant::now();
                assert!(!ours.verify(given("wrong"), hash).await.unwrap());
                taken.push(began.elapsed().as_secs_f64());
            }
        }
        let median = |taken: &mut Vec<f64>| {
            taken.sort_by(f64::total_cmp);
            taken[taken.len() / 2]
        };
        let (somebody, nobody) = (median(&mut somebody), median(&mut nobody));
        let ratio = somebody.max(nobody) / somebody.min(nobody);
        assert!(ratio < 1.5, "{somebody} s and {nobody} s");
    }

    #[test]
    fn passwords_have_twelve_characters_of_any_kind() {
        for good in ["correct horse", "пароль-пароль", &"x".repeat(200)] {
            assert!(good.parse::<NewPassword>().is_ok(), "{good}");
        }
        for bad in ["", "elevenchars", &"x".repeat(201)] {
            assert!(bad.parse::<NewPassword>().is_err(), "{bad}");
        }
    }
}
