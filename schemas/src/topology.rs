//! Exchanges and queues as data. `flow topology apply` declares what is listed here, workers only
//! check that it is there.
//!
//! ```text
//!  orders tickets invoices work events      entries, commands, facts
//!        │                    │
//!        ▼                    ▼
//!   ┌─────────── work queue ───────────┐ ◀── requeue ◀── retry queues (TTL) ◀── retry
//!   └──────────────────────────────────┘
//!        │ parked by a worker, or delivered too often
//!        ▼
//!      dead ──▶ <queue>.dead             whatever has no queue ──▶ unrouted
//! ```

use std::time::Duration;

use uuid::Uuid;

use crate::Message;
use crate::event::MessageRejected;

/// Public entry for orders. Topic; routing key `<publisher>.<kind>`.
pub const ORDERS: &str = "orders";
/// Public entry for tickets. Topic; routing key `<publisher>.<kind>`.
pub const TICKETS: &str = "tickets";
/// Public entry for invoice requests. Topic; routing key `<publisher>.<kind>`.
pub const INVOICES: &str = "invoices";
/// Commands between our pools. Topic; routing key is the kind.
pub const WORK: &str = "work";
/// Public facts. Topic; routing key `<kind>.<whom it concerns>`. Nobody need listen, so it has no
/// alternate exchange.
pub const EVENTS: &str = "events";
/// Messages that wait. Topic; routing key `<level>.<queue>`.
pub const RETRY: &str = "retry";
/// Messages on their way back into one work queue. Topic; routing key `<anything>.<queue>`.
pub const REQUEUE: &str = "requeue";
/// Messages that are given up. Topic; routing key is the work queue.
pub const DEAD: &str = "dead";
/// Receives, as alternate exchange, what no queue is bound for. Also the name of its queue.
pub const UNROUTED: &str = "unrouted";

/// How an exchange chooses queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeType {
    /// By matching the routing key with `*` (one word) and `#` (any words).
    Topic,
    /// Every bound queue.
    Fanout,
}

/// A durable exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Its name.
    pub name: &'static str,
    /// How it chooses queues.
    pub kind: ExchangeType,
    /// Where messages go that it has no queue for.
    pub alternate: Option<&'static str>,
}

/// A group of handlers that is scaled as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pool {
    /// Takes orders in.
    Order,
    /// Talks to cloud providers.
    Provider,
    /// Issues invoices.
    Invoice,
    /// Renders documents.
    Document,
    /// Sends mail.
    Email,
    /// Takes tickets and replies in, and handles them.
    Ticket,
    /// Copies parked messages into the database and replays them.
    Parker,
    /// Sends the current step of what stands still again.
    Reconciler,
}

impl Pool {
    /// Every pool.
    pub const ALL: [Self; 8] = [
        Self::Order,
        Self::Provider,
        Self::Invoice,
        Self::Document,
        Self::Email,
        Self::Ticket,
        Self::Parker,
        Self::Reconciler,
    ];

    /// The name on the command line and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Provider => "provider",
            Self::Invoice => "invoice",
            Self::Document => "document",
            Self::Email => "email",
            Self::Ticket => "ticket",
            Self::Parker => "parker",
            Self::Reconciler => "reconciler",
        }
    }
}

impl std::str::FromStr for Pool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|pool| pool.as_str() == text)
            .ok_or_else(|| {
                format!(
                    "unknown pool; one of {}",
                    Self::ALL.map(Self::as_str).join(", ")
                )
            })
    }
}

impl std::fmt::Display for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A queue that one handler consumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkQueue {
    /// Its name, without dots so that `*.<name>` matches it; its dead queue is `<name>.dead`.
    pub name: &'static str,
    /// The pool whose processes consume it.
    pub pool: Pool,
    /// The exchange it is bound to.
    pub exchange: &'static str,
    /// The binding key in that exchange.
    pub key: &'static str,
    /// How long one call of the handler may take. Far below RabbitMQ's `consumer_timeout` (30 min).
    pub timeout: Duration,
}

/// `order.place.v1` from ingresses and partner systems.
pub const ORDER: WorkQueue = WorkQueue {
    name: "order",
    pool: Pool::Order,
    exchange: ORDERS,
    key: "*.order.place.v1",
    timeout: Duration::from_secs(30),
};
/// `resource.provision.v1` for the simulated provider. Each provider has a queue of its own, so
/// that a slow cloud does not starve another.
pub const PROVIDER_SIMULATED: WorkQueue = WorkQueue {
    name: "provider-simulated",
    pool: Pool::Provider,
    exchange: WORK,
    key: "resource.provision.v1.simulated",
    timeout: Duration::from_secs(90),
};
/// `resource.provision.v1` for a second simulated provider: to try what two clouds do to each other.
pub const PROVIDER_SIMULATED_2: WorkQueue = WorkQueue {
    name: "provider-simulated-2",
    key: "resource.provision.v1.simulated-2",
    ..PROVIDER_SIMULATED
};
/// `resource.deprovision.v1` for the simulated provider.
pub const DEPROVISION_SIMULATED: WorkQueue = WorkQueue {
    name: "deprovision-simulated",
    key: "resource.deprovision.v1.simulated",
    ..PROVIDER_SIMULATED
};
/// `resource.deprovision.v1` for the second simulated provider.
pub const DEPROVISION_SIMULATED_2: WorkQueue = WorkQueue {
    name: "deprovision-simulated-2",
    key: "resource.deprovision.v1.simulated-2",
    ..PROVIDER_SIMULATED
};
/// `usage.read.v1` for the simulated provider.
pub const USAGE_SIMULATED: WorkQueue = WorkQueue {
    name: "usage-simulated",
    key: "usage.read.v1.simulated",
    ..PROVIDER_SIMULATED
};
/// `usage.read.v1` for the second simulated provider.
pub const USAGE_SIMULATED_2: WorkQueue = WorkQueue {
    name: "usage-simulated-2",
    key: "usage.read.v1.simulated-2",
    ..PROVIDER_SIMULATED
};
/// `order.cancel.v1` from ingresses and partner systems.
pub const ORDER_CANCEL: WorkQueue = WorkQueue {
    name: "order-cancel",
    key: "*.order.cancel.v1",
    ..ORDER
};
/// `resource.terminate.v1` from ingresses and partner systems.
pub const RESOURCE_TERMINATE: WorkQueue = WorkQueue {
    name: "resource-terminate",
    key: "*.resource.terminate.v1",
    ..ORDER
};
/// `invoice.issue.v1`.
pub const INVOICE: WorkQueue = WorkQueue {
    name: "invoice",
    pool: Pool::Invoice,
    exchange: WORK,
    key: "invoice.issue.v1",
    timeout: Duration::from_secs(30),
};
/// `invoice.request.v1` from ingresses and partner systems.
pub const INVOICE_REQUEST: WorkQueue = WorkQueue {
    name: "invoice-request",
    exchange: INVOICES,
    key: "*.invoice.request.v1",
    ..INVOICE
};
/// `invoice.settle.v1`.
pub const INVOICE_SETTLE: WorkQueue = WorkQueue {
    name: "invoice-settle",
    key: "invoice.settle.v1",
    ..INVOICE
};
/// `invoice.handle.v1`.
pub const INVOICE_HANDLE: WorkQueue = WorkQueue {
    name: "invoice-handle",
    key: "invoice.handle.v1",
    ..INVOICE
};
/// `document.render.v1`.
pub const DOCUMENT: WorkQueue = WorkQueue {
    name: "document",
    pool: Pool::Document,
    exchange: WORK,
    key: "document.render.v1",
    timeout: Duration::from_secs(90),
};
/// `email.send.v1`. The timeout covers the ten minutes that RFC 5321 §4.5.3.2.6 gives the server
/// to answer after the end of the data.
pub const EMAIL: WorkQueue = WorkQueue {
    name: "email",
    pool: Pool::Email,
    exchange: WORK,
    key: "email.send.v1",
    timeout: Duration::from_secs(15 * 60),
};
/// `ticket.raise.v1` from ingresses and partner systems.
pub const TICKET: WorkQueue = WorkQueue {
    name: "ticket",
    pool: Pool::Ticket,
    exchange: TICKETS,
    key: "*.ticket.raise.v1",
    timeout: Duration::from_secs(30),
};
/// `ticket.reply.v1` from ingresses and partner systems.
pub const TICKET_REPLY: WorkQueue = WorkQueue {
    name: "ticket-reply",
    key: "*.ticket.reply.v1",
    ..TICKET
};
/// `ticket.handle.v1`.
pub const TICKET_HANDLE: WorkQueue = WorkQueue {
    name: "ticket-handle",
    exchange: WORK,
    key: "ticket.handle.v1",
    ..TICKET
};

/// Every work queue.
pub const WORK_QUEUES: [WorkQueue; 18] = [
    ORDER,
    ORDER_CANCEL,
    RESOURCE_TERMINATE,
    PROVIDER_SIMULATED,
    PROVIDER_SIMULATED_2,
    DEPROVISION_SIMULATED,
    DEPROVISION_SIMULATED_2,
    USAGE_SIMULATED,
    USAGE_SIMULATED_2,
    INVOICE,
    INVOICE_REQUEST,
    INVOICE_SETTLE,
    INVOICE_HANDLE,
    DOCUMENT,
    EMAIL,
    TICKET,
    TICKET_REPLY,
    TICKET_HANDLE,
];

/// One step of the retry ladder: a name and how long a message waits there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// The first word of the routing key in `retry`.
    pub name: &'static str,
    /// How long messages wait.
    pub delay: Duration,
}

/// The retry ladder, shortest first. Six queues serve all pools.
pub const LADDER: [Level; 6] = [
    Level {
        name: "5s",
        delay: Duration::from_secs(5),
    },
    Level {
        name: "30s",
        delay: Duration::from_secs(30),
    },
    Level {
        name: "2m",
        delay: Duration::from_secs(2 * 60),
    },
    Level {
        name: "10m",
        delay: Duration::from_secs(10 * 60),
    },
    Level {
        name: "1h",
        delay: Duration::from_secs(60 * 60),
    },
    Level {
        name: "6h",
        delay: Duration::from_secs(6 * 60 * 60),
    },
];

/// After this many returns to a work queue without an outcome the broker itself parks a message.
/// Every crash of a worker counts for all it had prefetched, so it is far above a bad day's crashes.
pub const DELIVERY_LIMIT: i64 = 50;
/// The delivery limit of queues nobody should ever lose a message from. Explicit, because
/// RabbitMQ 4 would otherwise drop a message that an operator has looked at 20 times.
pub const NO_DELIVERY_LIMIT: i64 = 1_000_000;

/// What a queue is for, which decides its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueType {
    /// Consumed by a handler; dead letters go to `dead`.
    Work,
    /// Consumed by nobody; messages return through `requeue` after the delay.
    Retry(Duration),
    /// Keeps messages until somebody decides.
    Park,
    /// Read by a partner system. One that does not read loses the oldest, and holds up nobody.
    Answers,
}

/// A durable queue with its bindings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: QueueType,
    /// Exchange and binding key, for each binding.
    pub bindings: Vec<(&'static str, String)>,
}

/// Every exchange.
pub fn exchanges() -> Vec<Exchange> {
    let topic = |name, alternate| Exchange {
        name,
        kind: ExchangeType::Topic,
        alternate,
    };
    let mut exchanges = vec![
        Exchange {
            name: UNROUTED,
            kind: ExchangeType::Fanout,
            alternate: None,
        },
        topic(EVENTS, None),
    ];
    exchanges.extend(
        [ORDERS, TICKETS, INVOICES, WORK, RETRY, REQUEUE, DEAD]
            .map(|name| topic(name, Some(UNROUTED))),
    );
    exchanges
}

/// Every queue.
pub fn queues() -> Vec<Queue> {
    let mut queues = vec![Queue {
        name: UNROUTED.to_owned(),
        kind: QueueType::Park,
        bindings: vec![(UNROUTED, String::new())],
    }];
    for level in LADDER {
        queues.push(Queue {
            name: format!("{RETRY}.{}", level.name),
            kind: QueueType::Retry(level.delay),
            bindings: vec![(RETRY, format!("{}.#", level.name))],
        });
    }
    for queue in WORK_QUEUES {
        queues.push(Queue {
            name: dead_queue(queue.name),
            kind: QueueType::Park,
            bindings: vec![(DEAD, queue.name.to_owned())],
        });
        queues.push(Queue {
            name: queue.name.to_owned(),
            kind: QueueType::Work,
            bindings: vec![
                (queue.exchange, queue.key.to_owned()),
                (REQUEUE, format!("*.{}", queue.name)),
            ],
        });
    }
    queues
}

/// The most messages that wait for a partner system.
pub const MOST_ANSWERS: i64 = 100_000;

/// The queue in which the partner system `publisher` finds what became of its messages, and every
/// fact about the accounts that it acts for.
pub fn answers(publisher: &str, accounts: &[Uuid]) -> Queue {
    let mut bindings = vec![(EVENTS, format!("{}.{publisher}", MessageRejected::KIND))];
    bindings.extend(
        accounts
            .iter()
            .map(|account| (EVENTS, format!("*.*.*.{account}"))),
    );
    Queue {
        name: format!("answers.{publisher}"),
        kind: QueueType::Answers,
        bindings,
    }
}

/// Where the messages are kept that `queue` gave up.
pub fn dead_queue(queue: &str) -> String {
    format!("{queue}.dead")
}

/// Whether a topic binding key matches a routing key: words separated by dots, `*` for exactly one
/// word, `#` for any number of them (AMQP 0-9-1 §3.1.3.3).
pub fn topic_matches(binding: &str, routing_key: &str) -> bool {
    fn matches(binding: &[&str], key: &[&str]) -> bool {
        match (binding.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((&"#", rest)), None) => matches(rest, key),
            (Some((&"#", rest)), Some((_, tail))) => matches(rest, key) || matches(binding, tail),
            (Some((&"*", rest)), Some((_, tail))) => matches(rest, tail),
            (Some((word, rest)), Some((first, tail))) => word == first && matches(rest, tail),
            _ => false,
        }
    }
    let binding: Vec<&str> = binding.split('.').collect();
    let key: Vec<&str> = routing_key.split('.').collect();
    matches(&binding, &key)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::Message;
    use crate::document::DocumentRender;
    use crate::email::EmailSend;
    use crate::invoice::{InvoiceHandle, InvoiceIssue, InvoiceRequest, InvoiceSettle};
    use crate::order::{OrderCancel, OrderPlace};
    use crate::provision::{ResourceDeprovision, ResourceProvision, ResourceTerminate, UsageRead};
    use crate::ticket::{TicketHandle, TicketRaise, TicketReply};

    fn bound(exchange: &str, key: &str) -> Vec<String> {
        queues()
            .into_iter()
            .filter(|queue| {
                queue
                    .bindings
                    .iter()
                    .any(|(from, with)| *from == exchange && topic_matches(with, key))
            })
            .map(|queue| queue.name)
            .collect()
    }

    #[test]
    fn names_are_unique_and_work_queues_have_no_dots() {
        let names: HashSet<_> = queues().into_iter().map(|queue| queue.name).collect();
        assert_eq!(names.len(), queues().len());
        assert!(WORK_QUEUES.iter().all(|queue| !queue.name.contains('.')));
    }

    #[test]
    fn every_command_reaches_exactly_one_queue() {
        assert_eq!(
            bound(ORDERS, &format!("ingress.{}", OrderPlace::KIND)),
            ["order"]
        );
        assert_eq!(
            bound(ORDERS, &format!("ingress.{}", OrderCancel::KIND)),
            ["order-cancel"]
        );
        assert_eq!(
            bound(ORDERS, &format!("ingress.{}", ResourceTerminate::KIND)),
            ["resource-terminate"]
        );
        let deprovision = format!("{}.simulated", ResourceDeprovision::KIND);
        assert_eq!(bound(WORK, &deprovision), ["deprovision-simulated"]);
        let provision = format!("{}.simulated", ResourceProvision::KIND);
        assert_eq!(bound(WORK, &provision), ["provider-simulated"]);
        assert_eq!(bound(WORK, InvoiceIssue::KIND), ["invoice"]);
        assert_eq!(bound(WORK, InvoiceHandle::KIND), ["invoice-handle"]);
        assert_eq!(bound(WORK, InvoiceSettle::KIND), ["invoice-settle"]);
        assert_eq!(
            bound(INVOICES, &format!("ingress.{}", InvoiceRequest::KIND)),
            ["invoice-request"]
        );
        let usage = format!("{}.simulated", UsageRead::KIND);
        assert_eq!(bound(WORK, &usage), ["usage-simulated"]);
        assert_eq!(bound(WORK, DocumentRender::KIND), ["document"]);
        assert_eq!(bound(WORK, EmailSend::KIND), ["email"]);
        let entry = |kind: &str| bound(TICKETS, &format!("ingress.{kind}"));
        assert_eq!(entry(TicketRaise::KIND), ["ticket"]);
        assert_eq!(entry(TicketReply::KIND), ["ticket-reply"]);
        assert_eq!(bound(WORK, TicketHandle::KIND), ["ticket-handle"]);
    }

    #[test]
    fn a_retry_returns_to_its_own_queue_only() {
        for level in LADDER {
            for queue in WORK_QUEUES {
                let key = format!("{}.{}", level.name, queue.name);
                assert_eq!(bound(RETRY, &key), [format!("retry.{}", level.name)]);
                assert_eq!(bound(REQUEUE, &key), [queue.name]);
            }
        }
    }

    #[test]
    fn delays_grow_and_timeouts_stay_below_the_consumer_timeout() {
        assert!(LADDER.windows(2).all(|pair| pair[0].delay < pair[1].delay));
        assert!(
            WORK_QUEUES
                .iter()
                .all(|queue| queue.timeout < Duration::from_secs(20 * 60))
        );
    }

    #[test]
    fn topics_match_as_amqp_says() {
        for (binding, key, expected) in [
            ("a.b", "a.b", true),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("a.#", "a", true),
            ("a.#", "a.b.c", true),
            ("#", "", true),
            ("*.order", "5s.order", true),
            ("*.order", "order", false),
            ("#.c", "a.b.c", true),
            ("a.#.c", "a.c", true),
        ] {
            assert_eq!(topic_matches(binding, key), expected, "{binding} {key}");
        }
    }
}
