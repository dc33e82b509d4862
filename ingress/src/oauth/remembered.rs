//! Rows that every request needs, remembered for a moment.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use moka::future::Cache;

use crate::error::ApiError;

/// How long a row is used without looking again: what is revoked stops within this.
const FRESH: Duration = Duration::from_secs(2);
/// How long a row may be used while the database cannot be asked.
const STALE: Duration = Duration::from_secs(600);
/// How long a row may take to be read.
const LOOKUP: Duration = Duration::from_secs(3);
/// How many rows are remembered, those too that there are not.
const MOST: u64 = 50_000;

/// What was read, by what it was looked up by.
pub(super) struct Remembered<K, T> {
    cache: Cache<K, Arc<Entry<T>>>,
}

struct Entry<T> {
    value: Arc<T>,
    read_at: Instant,
    being_read: AtomicBool,
}

/// One request is reading this entry again.
struct Reading<'a>(&'a AtomicBool);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl<K, T> Remembered<K, T>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    T: Send + Sync + 'static,
{
    pub(super) fn new() -> Self {
        Self {
            cache: Cache::builder()
                .max_capacity(MOST)
                .time_to_live(STALE)
                .build(),
        }
    }

    /// Whether something was looked up lately.
    pub(super) fn knows(&self, key: &K) -> bool {
        self.cache.contains_key(key)
    }

    /// Looks again at the next request.
    pub(super) async fn forget(&self, key: &K) {
        self.cache.invalidate(key).await;
    }

    /// What there is, from memory or by `read`. While one request reads again the others go on with
    /// what is known, and so do all of them while the database is away.
    ///
    /// # Errors
    /// 503 when it is not known yet and cannot be read.
    pub(super) async fn get<E: std::fmt::Display>(
        &self,
        key: K,
        read: impl Future<Output = Result<T, E>>,
    ) -> Result<Arc<T>, ApiError> {
        let known = self.cache.get(&key).await;
        if let Some(entry) = &known {
            let fresh = entry.read_at.elapsed() < FRESH;
            if fresh || entry.being_read.swap(true, Ordering::Relaxed) {
                return Ok(entry.value.clone());
            }
        }
        // A request that is given up on the way lets another one look.
        let _reading = known.as_deref().map(|entry| Reading(&entry.being_read));
        match tokio::time::timeout(LOOKUP, read).await {
            Ok(Ok(value)) => {
                let value = Arc::new(value);
                let entry = Entry {
                    value: value.clone(),
                    read_at: Instant::now(),
                    being_read: AtomicBool::new(false),
                };
                self.cache.insert(key, Arc::new(entry)).await;
                Ok(value)
            }
            failed => {
                if let Ok(Err(error)) = failed {
                    tracing::warn!("cannot check a credential: {error}");
                }
                let known = known.as_ref().map(|entry| entry.value.clone());
                known.ok_or_else(|| {
                    ApiError::unavailable(
                        "The credential cannot be checked at the moment. Try again.",
                    )
                })
            }
        }
    }
}
