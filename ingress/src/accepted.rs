//! Requests that were accepted a moment ago. A GET right after the POST is answered from here until
//! the order is in the database, and a repeated POST without asking the broker again.

use std::time::Duration;

use chrono::{DateTime, Utc};
use moka::sync::Cache;
use uuid::Uuid;

/// How long an accepted request is remembered. Long before, it is in the database.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// How many are remembered at most; about 30 MB.
const MOST: u64 = 100_000;

/// An accepted request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) account_id: Uuid,
    /// What was asked for, as a hash.
    pub(crate) sha256: [u8; 32],
    pub(crate) placed_at: DateTime<Utc>,
    /// Whether the broker has confirmed it.
    pub(crate) confirmed: bool,
}

/// The accepted requests of this process, by the id of their order.
pub(crate) struct Accepted {
    requests: Cache<Uuid, Request>,
}

/// What is known of a request that comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing: it is on its way now.
    New,
    /// The same was asked for before; when, and whether it was confirmed.
    Same {
        placed_at: DateTime<Utc>,
        confirmed: bool,
    },
    /// Something else was asked for under the same id.
    Other,
}

impl Accepted {
    pub(crate) fn new() -> Self {
        Self {
            requests: Cache::builder()
                .max_capacity(MOST)
                .time_to_live(REMEMBERED)
                .build(),
        }
    }

    /// Notes a request before it is published. Of two at once, one is new and the other is not.
    pub(crate) fn begin(&self, order_id: Uuid, request: &Request) -> Known {
        let entry = self
            .requests
            .entry(order_id)
            .or_insert_with(|| request.clone());
        let fresh = entry.is_fresh();
        let known = entry.into_value();
        match (fresh, known.sha256 == request.sha256) {
            (true, _) => Known::New,
            (false, true) => Known::Same {
                placed_at: known.placed_at,
                confirmed: known.confirmed,
            },
            (false, false) => Known::Other,
        }
    }

    /// Notes that the broker has confirmed the request.
    pub(crate) fn confirm(&self, order_id: Uuid, request: Request) {
        self.requests.insert(
            order_id,
            Request {
                confirmed: true,
                ..request
            },
        );
    }

    /// Forgets a request that was not confirmed.
    pub(crate) fn forget(&self, order_id: Uuid) {
        self.requests.invalidate(&order_id);
    }

    /// When an account placed an order that is confirmed.
    pub(crate) fn find(&self, order_id: Uuid, account_id: Uuid) -> Option<DateTime<Utc>> {
        let request = self.requests.get(&order_id)?;
        (request.confirmed && request.account_id == account_id).then_some(request.placed_at)
    }
}
