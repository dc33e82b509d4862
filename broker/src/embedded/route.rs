//! Which queues a message goes to: exchanges and bindings of `schemas`, applied in process.

use std::collections::HashMap;
use std::time::Duration;

use schemas::topology::{
    DEAD, Exchange, ExchangeType, Queue, QueueType, REQUEUE, exchanges, queues, topic_matches,
};

use crate::broker::scaled;

/// The compiled topology.
pub(super) struct Router {
    exchanges: HashMap<&'static str, Exchange>,
    queues: HashMap<String, Queue>,
    retry_scale: f64,
}

impl Router {
    pub(super) fn new(retry_scale: f64) -> Self {
        Self {
            exchanges: exchanges()
                .into_iter()
                .map(|exchange| (exchange.name, exchange))
                .collect(),
            queues: queues()
                .into_iter()
                .map(|queue| (queue.name.clone(), queue))
                .collect(),
            retry_scale,
        }
    }

    /// The queues for a message, through the alternate exchange if it has none.
    pub(super) fn route(&self, exchange: &str, routing_key: &str) -> Vec<&Queue> {
        let Some(exchange) = self.exchanges.get(exchange) else {
            return Vec::new();
        };
        let bound = |queue: &&Queue| {
            queue.bindings.iter().any(|(from, key)| {
                *from == exchange.name
                    && (exchange.kind == ExchangeType::Fanout || topic_matches(key, routing_key))
            })
        };
        let found: Vec<_> = self.queues.values().filter(bound).collect();
        match exchange.alternate {
            Some(alternate) if found.is_empty() => self.route(alternate, routing_key),
            _ => found,
        }
    }

    /// How long a message stays in `queue` before it moves on by itself.
    pub(super) fn delay(&self, queue: &Queue) -> Option<Duration> {
        match queue.kind {
            QueueType::Retry(delay) => Some(scaled(delay, self.retry_scale)),
            QueueType::Work | QueueType::Park | QueueType::Answers => None,
        }
    }

    /// Where a message goes that its queue gives up, and with which routing key. Nothing for a
    /// queue that keeps its messages.
    pub(super) fn dead_letter<'a>(
        &self,
        queue: &'a str,
        routing_key: &'a str,
    ) -> Option<(&'static str, &'a str)> {
        match self.queues.get(queue)?.kind {
            QueueType::Work => Some((DEAD, queue)),
            QueueType::Retry(_) => Some((REQUEUE, routing_key)),
            QueueType::Park | QueueType::Answers => None,
        }
    }

    pub(super) fn has_exchange(&self, name: &str) -> bool {
        self.exchanges.contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(router: &Router, exchange: &str, key: &str) -> Vec<String> {
        router
            .route(exchange, key)
            .into_iter()
            .map(|queue| queue.name.clone())
            .collect()
    }

    #[test]
    fn messages_go_where_rabbitmq_would_send_them() {
        let router = Router::new(1.0);
        assert_eq!(names(&router, "orders", "acme.order.place.v1"), ["order"]);
        assert_eq!(names(&router, "orders", "acme.unheard.of"), ["unrouted"]);
        assert_eq!(names(&router, "events", "order.accepted.v1"), [""; 0]);
        assert_eq!(names(&router, "retry", "30s.email"), ["retry.30s"]);
        assert_eq!(names(&router, "requeue", "30s.email"), ["email"]);
        assert_eq!(names(&router, "dead", "email"), ["email.dead"]);
        assert_eq!(router.dead_letter("email", "k"), Some(("dead", "email")));
        assert_eq!(
            router.dead_letter("retry.5s", "5s.email"),
            Some(("requeue", "5s.email"))
        );
        assert_eq!(router.dead_letter("email.dead", "k"), None);
    }
}
