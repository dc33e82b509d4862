//! Messages as they travel: properties and bytes, the same for both transports.

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound, Utc};
use schemas::topology::{self, REQUEUE, WorkQueue};
use schemas::{Envelope, Message, Outgoing};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::trace;

/// The largest body a handler is given. Larger ones are parked: documents travel by id.
pub(crate) const MAX_BODY: usize = 256 * 1024;

/// Header: how many attempts have failed.
pub(crate) const ATTEMPT: &str = "attempt";
/// Header: how often the message waited without that being an attempt.
pub(crate) const WAITS: &str = "waits";
/// Header: who published the message first; believed only from our own user.
pub(crate) const PUBLISHER: &str = "publisher";

/// The message properties that we use (AMQP 0-9-1 basic class).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Properties {
    pub(crate) message_id: Option<String>,
    pub(crate) correlation_id: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) timestamp: Option<DateTime<Utc>>,
    pub(crate) app_id: Option<String>,
    pub(crate) user_id: Option<String>,
    pub(crate) headers: BTreeMap<String, Value>,
}

/// A message on its way to an exchange.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Publication {
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
    pub(crate) properties: Properties,
    pub(crate) body: Vec<u8>,
}

/// A message as a queue delivered it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Received {
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
    pub(crate) redelivered: bool,
    pub(crate) properties: Properties,
    pub(crate) body: Vec<u8>,
}

/// Why a delivery cannot be given to a handler: a reason to park it under, and the details.
pub(crate) struct Undecodable {
    pub(crate) reason: &'static str,
    pub(crate) error: String,
}

impl Publication {
    /// The message as it goes out, in the trace of the current span.
    pub(crate) fn new(outgoing: &Outgoing, app_id: &str) -> Self {
        let mut headers = BTreeMap::new();
        trace::inject(&mut headers);
        Self {
            exchange: outgoing.exchange.to_owned(),
            routing_key: outgoing.routing_key.clone(),
            properties: Properties {
                message_id: Some(outgoing.id.to_string()),
                correlation_id: Some(outgoing.correlation_id.to_string()),
                kind: Some(outgoing.kind.to_owned()),
                content_type: Some("application/json".to_owned()),
                // AMQP timestamps have whole seconds.
                timestamp: Some(Utc::now().trunc_subsecs(0)),
                app_id: Some(app_id.to_owned()),
                user_id: None,
                headers,
            },
            body: outgoing.body.clone(),
        }
    }

    /// Whether the broker shall return the message when it reaches no queue. Facts need no listener.
    pub(crate) fn mandatory(&self) -> bool {
        self.exchange != topology::EVENTS
    }
}

impl Received {
    /// A copy for another exchange: same id, type and body, with only our own headers.
    ///
    /// Broker headers are left behind. RabbitMQ 3.10 takes a stale `x-death` for a dead-letter
    /// cycle and keeps the message for ever; 4.x counts it no longer.
    pub(crate) fn republish(
        &self,
        own_user: &str,
        exchange: &str,
        routing_key: String,
    ) -> Publication {
        let mut properties = self.properties.clone();
        properties
            .headers
            .retain(|name, _| trace::HEADERS.contains(&name.as_str()));
        if let Some(publisher) = self.publisher(own_user) {
            properties
                .headers
                .insert(PUBLISHER.to_owned(), publisher.into());
        }
        // The next attempt is a child of this one, in the same trace.
        trace::inject(&mut properties.headers);
        properties.user_id = None;
        Publication {
            exchange: exchange.to_owned(),
            routing_key,
            properties,
            body: self.body.clone(),
        }
    }

    /// Who published the message, as validated by the broker. Behind a retry that is ourselves, and
    /// the header that we wrote then names the first publisher.
    pub(crate) fn publisher(&self, own_user: &str) -> Option<String> {
        let user = self.properties.user_id.as_deref()?;
        let noted = self
            .properties
            .headers
            .get(PUBLISHER)
            .and_then(Value::as_str);
        Some(
            noted
                .filter(|_| user == own_user)
                .unwrap_or(user)
                .to_owned(),
        )
    }

    /// A counter among our headers. Anything but a small natural number is an outsider's and reads
    /// as 0; only our own republished messages may count.
    pub(crate) fn counter(&self, name: &str, own_user: &str) -> u32 {
        let ours = self.exchange == REQUEUE || self.exchange == topology::RETRY;
        if !ours
            || self
                .properties
                .user_id
                .as_deref()
                .is_some_and(|user| user != own_user)
        {
            return 0;
        }
        let value = self
            .properties
            .headers
            .get(name)
            .and_then(Value::as_u64)
            .unwrap_or(0);
        u32::try_from(value).unwrap_or(0).min(10_000)
    }

    /// The id of the message. Outsiders may leave it out or use their own form: then it follows
    /// from what they sent, so that a redelivery has the same one.
    pub(crate) fn id(&self) -> Uuid {
        match &self.properties.message_id {
            Some(id) => id
                .parse()
                .unwrap_or_else(|_| Uuid::new_v5(&Uuid::nil(), id.as_bytes())),
            None => Uuid::new_v5(&Uuid::nil(), &self.body),
        }
    }

    /// The order, ticket or invoice request the message belongs to.
    pub(crate) fn correlation_id(&self) -> Uuid {
        let id = self.properties.correlation_id.as_deref();
        id.and_then(|id| id.parse().ok())
            .unwrap_or_else(|| self.id())
    }

    /// The message for its handler.
    pub(crate) fn decode<M: Message>(
        &self,
        queue: &WorkQueue,
        own_user: &str,
    ) -> Result<Envelope<M>, Undecodable> {
        let refuse = |reason, error: String| Undecodable { reason, error };
        if self.body.len() > MAX_BODY {
            let error = format!(
                "the body has {} bytes, at most {MAX_BODY} are taken",
                self.body.len()
            );
            return Err(refuse("too_large", error));
        }
        let kind = self.properties.kind.as_deref().unwrap_or_default();
        if kind != M::KIND {
            let error = format!("type is {kind:?}, this queue takes {:?}", M::KIND);
            return Err(refuse("schema", error));
        }
        let content_type = self.properties.content_type.as_deref().unwrap_or_default();
        if !content_type.starts_with("application/json") {
            let error = format!("content_type is {content_type:?}, not \"application/json\"");
            return Err(refuse("schema", error));
        }
        let body = serde_json::from_slice(&self.body).map_err(|error| {
            let reason = if error.is_data() { "schema" } else { "poison" };
            refuse(reason, format!("the body is not a {}: {error}", M::KIND))
        })?;
        Ok(Envelope {
            id: self.id(),
            correlation_id: self.correlation_id(),
            queue: queue.name,
            attempt: self.counter(ATTEMPT, own_user),
            publisher: self.publisher(own_user),
            published_at: self.properties.timestamp,
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use schemas::invoice::InvoiceIssue;
    use schemas::topology::{INVOICE, ORDERS, RETRY};

    use super::*;

    fn received(exchange: &str, user: Option<&str>) -> Received {
        let mut headers = BTreeMap::new();
        headers.insert(ATTEMPT.to_owned(), 3.into());
        headers.insert(PUBLISHER.to_owned(), "acme".into());
        headers.insert("x-death".to_owned(), "old".into());
        headers.insert("traceparent".to_owned(), "00-1-2-01".into());
        Received {
            exchange: exchange.to_owned(),
            routing_key: "k".to_owned(),
            redelivered: false,
            properties: Properties {
                message_id: Some(Uuid::nil().to_string()),
                kind: Some(InvoiceIssue::KIND.to_owned()),
                content_type: Some("application/json".to_owned()),
                user_id: user.map(str::to_owned),
                headers,
                ..Properties::default()
            },
            body: format!("{{\"order_id\":\"{}\"}}", Uuid::nil()).into_bytes(),
        }
    }

    #[test]
    fn counters_and_publishers_are_believed_from_ourselves_only() {
        let outsider = received(ORDERS, Some("evil"));
        assert_eq!(outsider.counter(ATTEMPT, "flow"), 0);
        assert_eq!(outsider.publisher("flow").as_deref(), Some("evil"));
        let retried = received(REQUEUE, Some("flow"));
        assert_eq!(retried.counter(ATTEMPT, "flow"), 3);
        assert_eq!(retried.publisher("flow").as_deref(), Some("acme"));
        assert_eq!(received(ORDERS, None).publisher("flow"), None);
    }

    #[test]
    fn broker_headers_are_left_behind_on_republish() {
        let copy =
            received(REQUEUE, Some("flow")).republish("flow", RETRY, "5s.invoice".to_owned());
        let names: Vec<_> = copy.properties.headers.keys().map(String::as_str).collect();
        assert_eq!(names, [PUBLISHER, "traceparent"]);
        assert_eq!(copy.properties.message_id, Some(Uuid::nil().to_string()));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let refused = |change: fn(&mut Received)| {
            let mut message = received(REQUEUE, None);
            change(&mut message);
            message
                .decode::<InvoiceIssue>(&INVOICE, "flow")
                .err()
                .map(|error| error.reason)
        };
        assert_eq!(refused(|_| ()), None);
        assert_eq!(refused(|m| m.body = b"{".to_vec()), Some("poison"));
        assert_eq!(refused(|m| m.body = vec![0xff, 0xfe]), Some("poison"));
        assert_eq!(refused(|m| m.body = b"{}".to_vec()), Some("schema"));
        assert_eq!(refused(|m| m.body = b"[1]".to_vec()), Some("schema"));
        assert_eq!(
            refused(|m| m.body = "[".repeat(200_000).into_bytes()),
            Some("schema")
        );
        assert_eq!(
            refused(|m| m.body = vec![b' '; MAX_BODY + 1]),
            Some("too_large")
        );
        assert_eq!(
            refused(|m| m.properties.kind = Some("x.v1".into())),
            Some("schema")
        );
        assert_eq!(
            refused(|m| m.properties.content_type = None),
            Some("schema")
        );
    }
}
