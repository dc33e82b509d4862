//! Parked messages: given up by a worker with a reason, dead-lettered by the broker, or without a
//! queue. They wait for a person, lose nothing, and can be replayed.

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound, Utc};
use schemas::topology::{DEAD, REQUEUE, UNROUTED, WORK_QUEUES, dead_queue};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::broker::{Broker, Delivery};
use crate::consume::pause;
use crate::crash::crash_point;
use crate::publisher::{PublishError, Publisher};
use crate::trace;
use crate::wire::{ATTEMPT, PUBLISHER, Properties, Publication, Received};

/// The longest error text that travels with a parked message, in bytes.
const MAX_ERROR: usize = 4096;
/// How many parked messages are taken over at once.
const PREFETCH: u16 = 32;

/// A message that waits for a person.
#[derive(Debug, Clone, PartialEq)]
pub struct Parked {
    /// The work queue that gave it up, or `unrouted`.
    pub queue: String,
    /// The message.
    pub message_id: Uuid,
    /// The order, ticket or invoice request it belongs to.
    pub correlation_id: Uuid,
    /// Its type, as the publisher wrote it.
    pub kind: String,
    /// Why, in one word: `permanent`, `attempts_exhausted`, `poison`, `delivery_limit`, `expired`,
    /// `unrouted`, ….
    pub reason: String,
    /// What went wrong the last time.
    pub error: String,
    /// How many attempts had failed.
    pub attempts: u32,
    /// Who published it first, as validated by the broker.
    pub publisher: Option<String>,
    /// The exchange it was published to.
    pub origin_exchange: String,
    /// The routing key it was published with.
    pub origin_routing_key: String,
    /// The version of the worker that parked it.
    pub version: String,
    /// When it was parked.
    pub parked_at: DateTime<Utc>,
    /// The trace it belongs to, in hex.
    pub trace_id: Option<String>,
    /// Every header, for the person who looks at it.
    pub headers: Value,
    /// The payload, byte for byte.
    pub body: Vec<u8>,
}

/// A parked message on its way back.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// As in [`Parked`].
    pub queue: String,
    /// As in [`Parked`]: a message keeps its id for ever.
    pub message_id: Uuid,
    /// As in [`Parked`].
    pub correlation_id: Uuid,
    /// As in [`Parked`].
    pub kind: String,
    /// As in [`Parked`].
    pub publisher: Option<String>,
    /// As in [`Parked`].
    pub origin_exchange: String,
    /// As in [`Parked`].
    pub origin_routing_key: String,
    /// Who replays it, for the record.
    pub operator: String,
    /// The headers it was parked with; only the trace context is taken from them.
    pub headers: Value,
    /// The payload, byte for byte.
    pub body: Vec<u8>,
}

/// The copy of `received` that goes to the dead letters of `queue`.
pub(crate) fn publication(
    received: &Received,
    own_user: &str,
    queue: &str,
    reason: &str,
    error: &str,
) -> Publication {
    let mut copy = received.republish(own_user, DEAD, queue.to_owned());
    let headers = &mut copy.properties.headers;
    let attempts = received.counter(ATTEMPT, own_user) + 1;
    let text = [
        ("reason", reason),
        ("error", truncated(error)),
        ("origin_exchange", &received.exchange),
        ("origin_routing_key", &received.routing_key),
        ("version", env!("CARGO_PKG_VERSION")),
        ("parked_at", &Utc::now().trunc_subsecs(3).to_rfc3339()),
    ]
    .map(|(name, value)| (name.to_owned(), Value::from(value)));
    headers.extend(text);
    headers.insert("attempts".to_owned(), attempts.into());
    copy
}

fn truncated(text: &str) -> &str {
    let end = (0..=text.len().min(MAX_ERROR))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

impl Parked {
    fn new(received: &Received, own_user: &str) -> Self {
        let headers = &received.properties.headers;
        let text = |name: &str| headers.get(name).and_then(Value::as_str).map(truncated);
        let unrouted = received.exchange != DEAD;
        // Without a reason of ours it was the broker that gave up. It writes the last reason first:
        // `expired`, or `delivery_limit`, which is what a message looks like that kills its workers.
        let by_broker = headers
            .get("x-death")
            .and_then(|deaths| deaths.get(0)?.get("reason")?.as_str())
            .unwrap_or("delivery_limit");
        let reason = if unrouted {
            UNROUTED
        } else {
            text("reason").unwrap_or(by_broker)
        };
        let queue = if unrouted {
            UNROUTED
        } else {
            &received.routing_key
        };
        Self {
            queue: queue.to_owned(),
            message_id: received.id(),
            correlation_id: received.correlation_id(),
            kind: received.properties.kind.clone().unwrap_or_default(),
            reason: reason.to_owned(),
            error: text("error").unwrap_or_default().to_owned(),
            attempts: headers
                .get("attempts")
                .and_then(Value::as_u64)
                .and_then(|attempts| u32::try_from(attempts).ok())
                .unwrap_or(0),
            publisher: received.publisher(own_user),
            origin_exchange: text("origin_exchange")
                .unwrap_or(&received.exchange)
                .to_owned(),
            origin_routing_key: text("origin_routing_key")
                .unwrap_or(&received.routing_key)
                .to_owned(),
            version: text("version").unwrap_or_default().to_owned(),
            parked_at: text("parked_at")
                .and_then(|at| DateTime::parse_from_rfc3339(at).ok())
                .map_or_else(Utc::now, |at| at.to_utc()),
            trace_id: text("traceparent")
                .and_then(|value| value.split('-').nth(1))
                .map(str::to_owned),
            headers: headers.clone().into_iter().collect(),
            body: received.body.clone(),
        }
    }
}

/// Takes parked messages over from every queue of dead letters.
pub struct ParkedConsumer {
    broker: Broker,
}

impl ParkedConsumer {
    /// A consumer of every queue that parked messages arrive in.
    pub fn new(broker: Broker) -> Self {
        Self { broker }
    }

    /// Gives every parked message to `store` until it takes it, then takes it off the queue.
    ///
    /// The queue is the buffer while the database is away: nothing else is done with a message that
    /// cannot be stored.
    pub async fn run<S>(self, store: S, shutdown: CancellationToken)
    where
        S: AsyncFn(Parked) -> anyhow::Result<()>,
    {
        let mut failures = 0;
        while !shutdown.is_cancelled() {
            if let Err(error) = self.session(&store, &shutdown).await {
                failures += 1;
                tracing::warn!("taking over parked messages interrupted: {error:#}");
                pause(failures, &shutdown).await;
            }
        }
    }

    async fn session<S>(&self, store: &S, shutdown: &CancellationToken) -> anyhow::Result<()>
    where
        S: AsyncFn(Parked) -> anyhow::Result<()>,
    {
        let dead = WORK_QUEUES.iter().map(|queue| dead_queue(queue.name));
        let queues: Vec<_> = dead.chain([UNROUTED.to_owned()]).collect();
        let queues: Vec<_> = queues.iter().map(String::as_str).collect();
        let mut deliveries = self.broker.deliveries(&queues, PREFETCH).await?;
        loop {
            let Delivery { received, acker } = tokio::select! {
                next = deliveries.next() => next?,
                () = shutdown.cancelled() => break,
            };
            let parked = Parked::new(&received, self.broker.own_user());
            let mut failures = 0;
            while let Err(error) = store(parked.clone()).await {
                failures += 1;
                tracing::warn!("cannot take over a message of {}: {error:#}", parked.queue);
                pause(failures, shutdown).await;
                anyhow::ensure!(
                    !shutdown.is_cancelled() && acker.usable(),
                    "stopped while waiting: {error:#}"
                );
            }
            crash_point("parker.stored");
            acker.ack().await?;
        }
        deliveries.cancel().await;
        Ok(())
    }
}

impl Publisher {
    /// Sends a parked message back to the queue that gave it up, and to that queue only, under its
    /// old id and with its attempts forgotten. One that had no queue goes where it was sent to.
    ///
    /// # Errors
    /// When the broker did not confirm it as routed and stored.
    pub async fn replay(&self, replay: &Replay) -> Result<(), PublishError> {
        let (exchange, routing_key) = match replay.queue == UNROUTED {
            true => (
                replay.origin_exchange.clone(),
                replay.origin_routing_key.clone(),
            ),
            false => (REQUEUE.to_owned(), format!("replay.{}", replay.queue)),
        };
        let mut headers: BTreeMap<String, Value> = trace::HEADERS
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), replay.headers.get(name)?.clone())))
            .collect();
        headers.insert("replayed_by".to_owned(), replay.operator.clone().into());
        if let Some(publisher) = &replay.publisher {
            headers.insert(PUBLISHER.to_owned(), publisher.clone().into());
        }
        let publication = Publication {
            exchange: exchange.clone(),
            routing_key,
            properties: Properties {
                message_id: Some(replay.message_id.to_string()),
                correlation_id: Some(replay.correlation_id.to_string()),
                kind: Some(replay.kind.clone()),
                content_type: Some("application/json".to_owned()),
                timestamp: Some(Utc::now().trunc_subsecs(0)),
                app_id: Some("replay".to_owned()),
                user_id: None,
                headers,
            },
            body: replay.body.clone(),
        };
        self.send(|| publication, &exchange).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(exchange: &str, headers: &[(&str, &str)]) -> Received {
        Received {
            exchange: exchange.to_owned(),
            routing_key: "invoice".to_owned(),
            redelivered: true,
            properties: Properties {
                kind: Some("invoice.issue.v1".to_owned()),
                headers: headers
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).into()))
                    .collect(),
                ..Properties::default()
            },
            body: b"{}".to_vec(),
        }
    }

    #[test]
    fn parked_messages_tell_their_story() {
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let original = received("work", &[("traceparent", traceparent)]);
        let long = "é".repeat(MAX_ERROR);
        let copy = publication(&original, "flow", "invoice", "permanent", &long);
        assert_eq!(
            (copy.exchange.as_str(), copy.routing_key.as_str()),
            (DEAD, "invoice")
        );
        let delivered = Received {
            exchange: copy.exchange,
            routing_key: copy.routing_key,
            redelivered: false,
            properties: copy.properties,
            body: copy.body,
        };
        let parked = Parked::new(&delivered, "flow");
        assert_eq!(parked.reason, "permanent");
        assert_eq!(parked.queue, "invoice");
        assert_eq!(parked.origin_exchange, "work");
        assert_eq!(parked.attempts, 1);
        assert!(parked.error.len() <= MAX_ERROR);
        assert_eq!(
            parked.trace_id.as_deref(),
            Some("0af7651916cd43dd8448eb211c80319c")
        );
    }

    #[test]
    fn what_the_broker_parked_has_a_reason_too() {
        assert_eq!(
            Parked::new(&received(DEAD, &[]), "flow").reason,
            "delivery_limit"
        );
        let mut expired = received(DEAD, &[]);
        let deaths = serde_json::json!([{ "reason": "expired" }, { "reason": "rejected" }]);
        let headers = &mut expired.properties.headers;
        headers.insert("x-death".to_owned(), deaths);
        assert_eq!(Parked::new(&expired, "flow").reason, "expired");
        let unrouted = Parked::new(&received("tickets", &[("reason", "forged")]), "flow");
        assert_eq!(
            (unrouted.reason.as_str(), unrouted.queue.as_str()),
            (UNROUTED, UNROUTED)
        );
        assert_eq!(unrouted.origin_exchange, "tickets");
    }
}
