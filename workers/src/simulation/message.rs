//! Messages in flight: what the broker would keep of them, and where it would put them.

use broker::Envelope;
use schemas::topology::{EVENTS, WORK_QUEUES, WorkQueue, topic_matches};
use schemas::{Message, Outgoing};
use uuid::Uuid;

/// The one publisher that may place orders.
pub(super) const PUBLISHER: &str = "flow";

/// A message in a work queue, as text and bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) queue: WorkQueue,
    pub(super) id: Uuid,
    pub(super) correlation_id: Uuid,
    pub(super) kind: String,
    pub(super) exchange: String,
    pub(super) routing_key: String,
    pub(super) body: Vec<u8>,
    pub(super) attempt: u32,
    pub(super) waits: u32,
}

/// Where a message goes: into one queue, or to whoever listens.
pub(super) fn route(outgoing: &Outgoing) -> Result<Option<Stored>, String> {
    if outgoing.exchange == EVENTS {
        return Ok(None);
    }
    let mut bound = WORK_QUEUES.into_iter().filter(|queue| {
        queue.exchange == outgoing.exchange && topic_matches(queue.key, &outgoing.routing_key)
    });
    let queue = bound
        .next()
        .ok_or_else(|| format!("{} reaches no queue", outgoing.routing_key))?;
    Ok(Some(Stored {
        queue,
        id: outgoing.id,
        correlation_id: outgoing.correlation_id,
        kind: outgoing.kind.to_owned(),
        exchange: outgoing.exchange.to_owned(),
        routing_key: outgoing.routing_key.clone(),
        body: outgoing.body.clone(),
        attempt: 0,
        waits: 0,
    }))
}

impl Stored {
    /// The message for its handler.
    pub(super) fn decode<M: Message>(&self) -> Envelope<M> {
        assert_eq!(self.kind, M::KIND, "in the queue {}", self.queue.name);
        Envelope {
            id: self.id,
            correlation_id: self.correlation_id,
            queue: self.queue.name,
            attempt: self.attempt,
            publisher: Some(PUBLISHER.to_owned()),
            published_at: None,
            body: serde_json::from_slice(&self.body).unwrap(),
        }
    }
}
