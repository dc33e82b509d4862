//! What the ingresses of an installation share: in Redis, if there is one.
//!
//! Nothing depends on it. Each ingress remembers by itself what it needs to be right; the cache makes
//! several of them look like one. While it is away they go on by themselves, and ask it again every
//! second.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncTypedCommands, Client, FromRedisValue, RedisResult, Script};
use schemas::values::InvalidValue;

/// How long Redis may take. It is asked on the way of a request.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long it is left alone after it has failed.
const PAUSE: Duration = Duration::from_secs(1);
/// What its keys begin with.
const PREFIX: &str = "customer-flow:";

/// Where the cache is: `memory:` for each process by itself, or `redis://`, `rediss://`.
#[derive(Clone)]
pub enum CacheUrl {
    /// In the process.
    Memory,
    /// In Redis.
    Redis(Box<Client>),
}

impl fmt::Debug for CacheUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A URL may hold a password.
        f.write_str(match self {
            Self::Memory => "memory:",
            Self::Redis(_) => "redis:",
        })
    }
}

impl FromStr for CacheUrl {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "memory:" {
            return Ok(Self::Memory);
        }
        let wrong = || InvalidValue("must be memory:, redis://… or rediss://…".to_owned());
        if !text.starts_with("redis://") && !text.starts_with("rediss://") {
            return Err(wrong());
        }
        let client = Client::open(text).map_err(|_| wrong())?;
        Ok(Self::Redis(Box::new(client)))
    }
}

/// The cache that is shared, if there is one.
#[derive(Clone)]
pub(crate) struct Cache {
    redis: Option<Arc<Redis>>,
}

struct Redis {
    connection: ConnectionManager,
    began: Instant,
    /// Not to be asked before this, in milliseconds since the beginning.
    away_until: AtomicU64,
}

impl Cache {
    /// Opens it. Redis need not be there yet.
    ///
    /// # Errors
    /// When the URL cannot be used.
    pub(crate) fn open(url: &CacheUrl) -> anyhow::Result<Self> {
        let CacheUrl::Redis(client) = url else {
            return Ok(Self { redis: None });
        };
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(PATIENCE))
            .set_connection_timeout(Some(PATIENCE))
            .set_number_of_retries(1);
        let connection = ConnectionManager::new_lazy_with_config(Client::clone(client), config)?;
        let redis = Redis {
            connection,
            began: Instant::now(),
            away_until: AtomicU64::new(0),
        };
        Ok(Self {
            redis: Some(Arc::new(redis)),
        })
    }

    /// Whether it answers. Nothing if there is none.
    pub(crate) async fn is_up(&self) -> Option<bool> {
        self.redis.as_ref()?;
        let answer = self.ask(async |mut redis| redis.ping().await).await;
        Some(answer.is_some())
    }

    /// The text under a key. Nothing if there is none, or nobody to ask.
    pub(crate) async fn get(&self, key: &str) -> Option<String> {
        let key = format!("{PREFIX}{key}");
        self.ask(async |mut redis| redis.get(key).await).await?
    }

    /// Keeps a text under a key for a while, if there is somebody to keep it.
    pub(crate) async fn set(&self, key: &str, value: &str, keep: Duration) {
        let key = format!("{PREFIX}{key}");
        self.ask(async |mut redis| redis.set_ex(key, value, keep.as_secs()).await)
            .await;
    }

    /// What a script answers for a key. Nothing if there is nobody to ask.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        key: &str,
        arguments: [u64; 3],
    ) -> Option<T> {
        let key = format!("{PREFIX}{key}");
        self.ask(async |mut redis| {
            let mut call = script.key(key);
            for argument in arguments {
                call.arg(argument);
            }
            call.invoke_async(&mut redis).await
        })
        .await
    }

    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(ConnectionManager) -> RedisResult<T>,
    ) -> Option<T> {
        let redis = self.redis.as_ref()?;
        let now = || u64::try_from(redis.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now() < redis.away_until.load(Ordering::Relaxed) {
            return None;
        }
        match tokio::time::timeout(PATIENCE, question(redis.connection.clone())).await {
            Ok(Ok(answer)) => Some(answer),
            failed => {
                let pause = u64::try_from(PAUSE.as_millis()).unwrap_or(u64::MAX);
                let before = redis.away_until.swap(now() + pause, Ordering::Relaxed);
                if before < now() {
                    let error = failed.err().map_or("an error", |_| "no answer");
                    tracing::warn!("the cache is away ({error}); going on without it");
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_caches_are_read_and_not_shown() {
        for good in [
            "memory:",
            "redis://127.0.0.1:6379",
            "rediss://:secret@cache/1",
        ] {
            let url: CacheUrl = good.parse().unwrap();
            assert!(!format!("{url:?}").contains("secret"));
        }
        for bad in ["", "memory", "http://cache", "redis:", "redis://:port:/x"] {
            assert!(bad.parse::<CacheUrl>().is_err(), "{bad}");
        }
    }
}
