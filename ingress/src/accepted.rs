//! Requests that were accepted a moment ago. A GET right after the POST is answered from here until
//! it is in the database, and a repeated POST without asking the broker again; through the
//! cache also at another ingress.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use moka::sync::Cache as Memory;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cache::Cache;

/// How long an accepted request is remembered. Long before, it is in the database.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// How long it is shared. Later an ingress that did not take the order in itself knows it only from the
/// database, when a worker has stored it.
const SHARED: Duration = Duration::from_secs(3600);
/// How many are remembered at most; about 30 MB.
const MOST: u64 = 100_000;

/// A request that is or was accepted.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) account_id: Uuid,
    /// What was asked for, as a hash.
    pub(crate) sha256: [u8; 32],
    pub(crate) accepted_at: DateTime<Utc>,
    /// Whether the broker has confirmed it.
    confirmed: AtomicBool,
}

impl Request {
    pub(crate) fn new(account_id: Uuid, sha256: [u8; 32], accepted_at: DateTime<Utc>) -> Self {
        Self {
            account_id,
            sha256,
            accepted_at,
            confirmed: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        self.confirmed.load(Ordering::Acquire)
    }
}

/// The accepted requests, by the id of what they make.
pub(crate) struct Accepted {
    requests: Memory<Uuid, Arc<Request>>,
    shared: Cache,
}

/// A request as it is shared.
#[derive(Serialize, Deserialize)]
struct Shared {
    account_id: Uuid,
    sha256: [u8; 32],
    accepted_at: DateTime<Utc>,
}

impl Accepted {
    pub(crate) fn new(shared: Cache) -> Self {
        Self {
            shared,
            requests: Memory::builder()
                .max_capacity(MOST)
                .time_to_live(REMEMBERED)
                .build(),
        }
    }

    /// Notes a request before it is published. Of two at once, one is new (true); the other gets
    /// the first, whatever it asked for.
    pub(crate) fn begin(&self, id: Uuid, request: Request) -> (Arc<Request>, bool) {
        let entry = self.requests.entry(id);
        let entry = entry.or_insert_with(|| Arc::new(request));
        let new = entry.is_fresh();
        (entry.into_value(), new)
    }

    /// Notes that the broker has confirmed the request, for every ingress.
    pub(crate) async fn confirm(&self, id: Uuid, request: Arc<Request>) {
        request.confirmed.store(true, Ordering::Release);
        let shared = Shared {
            account_id: request.account_id,
            sha256: request.sha256,
            accepted_at: request.accepted_at,
        };
        if let Ok(text) = serde_json::to_string(&shared) {
            self.shared.set(&name(id), &text, SHARED).await;
        }
        // Another one for the same order may have failed and been forgotten.
        if !self.requests.contains_key(&id) {
            self.requests.insert(id, request);
        }
    }

    /// Forgets a request that was not confirmed.
    pub(crate) fn forget(&self, id: Uuid) {
        self.requests.invalidate(&id);
    }

    /// What was asked for under this id at another ingress, as a hash.
    pub(crate) async fn elsewhere(&self, id: Uuid) -> Option<[u8; 32]> {
        Some(self.shared(id).await?.sha256)
    }

    /// When a request of the account was accepted.
    pub(crate) async fn find(&self, id: Uuid, account_id: Uuid) -> Option<DateTime<Utc>> {
        if let Some(own) = self.requests.get(&id)
            && own.is_confirmed()
        {
            return (own.account_id == account_id).then_some(own.accepted_at);
        }
        let shared = self.shared(id).await?;
        (shared.account_id == account_id).then_some(shared.accepted_at)
    }

    async fn shared(&self, id: Uuid) -> Option<Shared> {
        let text = self.shared.get(&name(id)).await?;
        serde_json::from_str(&text).ok()
    }
}

fn name(id: Uuid) -> String {
    format!("accepted:{id}")
}
