//! Messages: what is published, what is received, and how one follows from another.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// A payload of one kind.
///
/// Messages carry facts and ids, never documents or secrets. Unknown fields are ignored, so that
/// fields can be added.
pub trait Message: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What the message is, with its version: `invoice.issue.v1`. It travels as the AMQP property `type`.
    const KIND: &'static str;
    /// The exchange it is published to; a constant of [`crate::topology`].
    const EXCHANGE: &'static str;

    /// The routing key: the kind, unless queues are chosen by something in the message.
    fn routing_key(&self) -> Cow<'static, str> {
        Cow::Borrowed(Self::KIND)
    }
}

/// A received message: the payload and the properties that handlers rely on.
#[derive(Debug, Clone)]
pub struct Envelope<M> {
    /// Property `message_id`: constant over redelivery, retry and replay. The parent of what follows.
    pub id: Uuid,
    /// Property `correlation_id`: the order, ticket or invoice request this belongs to.
    pub correlation_id: Uuid,
    /// The work queue it was read from.
    pub queue: &'static str,
    /// How many attempts have failed before this one; 0 on the first.
    pub attempt: u32,
    /// Property `user_id`, validated by the broker: who published it.
    pub publisher: Option<String>,
    /// Property `timestamp`: when it was published, by the publisher's clock. Informational.
    pub published_at: Option<DateTime<Utc>>,
    /// The payload.
    pub body: M,
}

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Becomes `message_id`.
    pub id: Uuid,
    /// Becomes `correlation_id`.
    pub correlation_id: Uuid,
    /// Becomes `type`.
    pub kind: &'static str,
    /// The exchange to publish to.
    pub exchange: &'static str,
    /// The routing key in that exchange.
    pub routing_key: String,
    /// The payload as JSON.
    pub body: Vec<u8>,
}

impl Outgoing {
    /// The first message of a story, published by `publisher` to a public entry exchange.
    ///
    /// Its routing key is `<publisher>.<kind>`, so that a broker can restrict a partner to its own prefix.
    pub fn entry<M: Message>(publisher: &str, id: Uuid, correlation_id: Uuid, body: &M) -> Self {
        let mut outgoing = Self::new(id, correlation_id, body);
        outgoing.routing_key = format!("{publisher}.{}", outgoing.routing_key);
        outgoing
    }

    /// A message that is said of `subject` at most once, whichever of several messages causes it:
    /// its id follows from the subject and the kind.
    pub fn once<M: Message>(subject: Uuid, correlation_id: Uuid, body: &M) -> Self {
        Self::new(
            Uuid::new_v5(&subject, M::KIND.as_bytes()),
            correlation_id,
            body,
        )
    }

    /// A message that no other one caused, with an id of the caller's choice.
    pub fn new<M: Message>(id: Uuid, correlation_id: Uuid, body: &M) -> Self {
        Self {
            id,
            correlation_id,
            kind: M::KIND,
            exchange: M::EXCHANGE,
            routing_key: body.routing_key().into_owned(),
            body: encode(body),
        }
    }
}

impl<M> Envelope<M> {
    /// The next message of this story.
    ///
    /// Its id follows from this message's id, queue and the kind: a handler that runs twice
    /// publishes the same id twice, and no two handlers ever publish the same one.
    pub fn follow_up<N: Message>(&self, next: &N) -> Outgoing {
        let name = format!("{}/{}", self.queue, N::KIND);
        Outgoing::new(
            Uuid::new_v5(&self.id, name.as_bytes()),
            self.correlation_id,
            next,
        )
    }

    /// The `n`-th message of a kind, where one call returns several of it.
    pub fn follow_up_nth<N: Message>(&self, n: u32, next: &N) -> Outgoing {
        let name = format!("{}/{}/{n}", self.queue, N::KIND);
        Outgoing::new(
            Uuid::new_v5(&self.id, name.as_bytes()),
            self.correlation_id,
            next,
        )
    }
}

fn encode<M: Message>(body: &M) -> Vec<u8> {
    serde_json::to_vec(body).expect("payloads are structs of strings, integers and lists")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::WORK;

    #[derive(Serialize, serde::Deserialize)]
    struct Ping;
    impl Message for Ping {
        const KIND: &'static str = "ping.v1";
        const EXCHANGE: &'static str = WORK;
    }

    fn envelope(id: Uuid, queue: &'static str) -> Envelope<Ping> {
        Envelope {
            id,
            correlation_id: Uuid::nil(),
            queue,
            attempt: 0,
            publisher: None,
            published_at: None,
            body: Ping,
        }
    }

    #[test]
    fn a_repeated_handler_publishes_the_same_ids() {
        let parent = Uuid::now_v7();
        let first = envelope(parent, "a").follow_up(&Ping);
        assert_eq!(first, envelope(parent, "a").follow_up(&Ping));
        assert_ne!(first.id, envelope(parent, "b").follow_up(&Ping).id);
        assert_ne!(first.id, envelope(parent, "a").follow_up_nth(0, &Ping).id);
        assert_ne!(
            envelope(parent, "a").follow_up_nth(0, &Ping).id,
            envelope(parent, "a").follow_up_nth(1, &Ping).id
        );
    }

    #[test]
    fn entries_carry_their_publisher_in_the_routing_key() {
        let entry = Outgoing::entry("acme", Uuid::nil(), Uuid::nil(), &Ping);
        assert_eq!(entry.routing_key, "acme.ping.v1");
    }
}
