//! The keys of one foreign issuer, remembered: fetched by one request at a time and not too often,
//! and used for a while when the issuer cannot be asked.

use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::fetch::{Fetch, IssuerKey, Keys};
use crate::error::ApiError;

/// When the keys of an issuer are fetched.
#[derive(Debug, Clone, Copy)]
pub struct JwksTiming {
    /// How old they become before they are fetched again: one that its issuer has removed counts no
    /// longer than this.
    pub max_age: Duration,
    /// How long at least lies between two times, whatever tokens name: an unknown key makes nobody
    /// ask more often.
    pub min_interval: Duration,
    /// How old they may become when the issuer cannot be asked.
    pub max_stale: Duration,
}

/// The keys of an issuer.
pub(super) struct Jwks {
    issuer: String,
    fetch: Fetch,
    timing: JwksTiming,
    known: Arc<RwLock<Option<Known>>>,
    /// When the issuer was last asked. Whoever asks holds it.
    asked: Arc<Mutex<Option<Instant>>>,
}

#[derive(Clone)]
struct Known {
    keys: Arc<Keys>,
    fetched_at: Instant,
}

impl Jwks {
    pub(super) fn new(issuer: &str, fetch: Fetch, timing: JwksTiming) -> Self {
        Self {
            issuer: issuer.to_owned(),
            fetch,
            timing,
            known: Arc::default(),
            asked: Arc::default(),
        }
    }

    /// The key with this id. Nothing if the issuer has none.
    ///
    /// # Errors
    /// 503 when its keys are not known, or too old, and cannot be fetched.
    pub(super) async fn find(&self, kid: &str) -> Result<Option<Arc<IssuerKey>>, ApiError> {
        if let Some(known) = self.known()
            && let Some(key) = known.keys.get(kid)
        {
            // A key that is known waits for nobody: whoever can looks again beside the request.
            if known.fetched_at.elapsed() >= self.timing.max_age
                && let Ok(asked) = self.asked.clone().try_lock_owned()
                && self.may_ask(&asked)
            {
                self.ask(asked);
            }
            return Ok(Some(key.clone()));
        }
        // Those who look for a key at the same time wait for the one that asks.
        let before = Instant::now();
        let asked = self.asked.clone().lock_owned().await;
        let somebody_has = asked.is_some_and(|at| at >= before);
        if !somebody_has && self.may_ask(&asked) {
            // To its end, even if this request is given up: what was asked for counts.
            self.ask(asked).await.ok();
        }
        let known = self.known().ok_or_else(|| {
            ApiError::unavailable(
                "The issuer of the token cannot be asked for its keys. Try again.",
            )
        })?;
        Ok(known.keys.get(kid).cloned())
    }

    /// The keys, unless they are too old.
    fn known(&self) -> Option<Known> {
        let known = self
            .known
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let usable = |known: &&Known| known.fetched_at.elapsed() < self.timing.max_stale;
        known.as_ref().filter(usable).cloned()
    }

    fn may_ask(&self, asked: &Option<Instant>) -> bool {
        asked.is_none_or(|at| at.elapsed() >= self.timing.min_interval)
    }

    /// Asks the issuer.
    fn ask(&self, mut asked: OwnedMutexGuard<Option<Instant>>) -> tokio::task::JoinHandle<()> {
        *asked = Some(Instant::now());
        let (fetch, issuer, known) = (self.fetch.clone(), self.issuer.clone(), self.known.clone());
        tokio::spawn(async move {
            match fetch.keys(&issuer).await {
                Ok(keys) => {
                    let new = Known {
                        keys: Arc::new(keys),
                        fetched_at: Instant::now(),
                    };
                    *known
                        .write()
                        .unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(new);
                }
                Err(error) => {
                    tracing::warn!(issuer, "cannot fetch the keys of an issuer: {error:#}")
                }
            }
            drop(asked);
        })
    }
}
