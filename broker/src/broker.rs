//! The broker: where it is, what is declared on it, and whether it is there.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use schemas::topology::{self, WORK_QUEUES};
use uuid::Uuid;

use crate::publisher::Publisher;
use crate::rabbit::access::Access;
use crate::wire::Received;
use crate::{embedded, rabbit};

/// Where the broker is: `amqp://…`, `amqps://…`, or `embedded:` and the path of a file.
#[derive(Clone, PartialEq, Eq)]
pub enum BrokerUrl {
    /// RabbitMQ 3.10 or later.
    Rabbit(String),
    /// The durable queue in a SQLite file, for one process.
    Embedded(PathBuf),
}

impl FromStr for BrokerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("embedded:") {
            if path.is_empty() {
                return Err(
                    "embedded: needs the path of a file, as in embedded:./data/queue.db".into(),
                );
            }
            return Ok(Self::Embedded(PathBuf::from(path)));
        }
        if text.starts_with("amqp://") || text.starts_with("amqps://") {
            url::Url::parse(text).map_err(|error| error.to_string())?;
            return Ok(Self::Rabbit(text.to_owned()));
        }
        Err("must begin with amqp://, amqps:// or embedded:".into())
    }
}

/// Never shows the password.
impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(path) => write!(f, "embedded:{}", path.display()),
            Self::Rabbit(text) => match url::Url::parse(text) {
                Ok(mut url) => {
                    if url.password().is_some() {
                        url.set_password(Some("***")).ok();
                    }
                    url.fmt(f)
                }
                Err(_) => f.write_str("amqp://***"),
            },
        }
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether messages can be published at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Yes.
    Up,
    /// No: the broker takes no messages until its memory or disk alarm is over.
    Blocked,
    /// No: there is no connection.
    Down,
}

/// A broker of either kind. Cheap to clone.
#[derive(Clone)]
pub struct Broker {
    transport: Transport,
    name: String,
    retry_scale: f64,
}

#[derive(Clone)]
enum Transport {
    Rabbit(rabbit::Server),
    Embedded(embedded::Queue),
}

impl Broker {
    /// Opens the broker for a process called `name` (`ingress`, `worker`), as its connections and
    /// messages will say.
    ///
    /// `retry_scale` multiplies every delay of the retry ladder; 1 but in tests and trials.
    /// RabbitMQ need not be reachable yet; the embedded queue is opened here.
    ///
    /// # Errors
    /// When the URL cannot be used, or another process has the embedded queue open.
    pub async fn open(url: &BrokerUrl, name: &str, retry_scale: f64) -> anyhow::Result<Self> {
        let transport = match url {
            BrokerUrl::Rabbit(url) => Transport::Rabbit(rabbit::Server::new(url, name)?),
            BrokerUrl::Embedded(path) => {
                let opened = embedded::Queue::open(path.clone(), retry_scale).await;
                Transport::Embedded(
                    opened.with_context(|| format!("open the queue {}", path.display()))?,
                )
            }
        };
        Ok(Self {
            transport,
            name: name.to_owned(),
            retry_scale,
        })
    }

    /// Declares every exchange, queue and binding. Doing it again changes nothing.
    ///
    /// # Errors
    /// When the broker cannot be reached, or has one of the queues with other arguments.
    pub async fn apply_topology(&self) -> anyhow::Result<()> {
        match &self.transport {
            Transport::Rabbit(server) => rabbit::topology::apply(server, self.retry_scale).await,
            // The embedded queue routes by the topology it is compiled with.
            Transport::Embedded(_) => Ok(()),
        }
    }

    /// Checks that every exchange and queue is there, and declares nothing.
    ///
    /// # Errors
    /// When the broker cannot be reached, or with the list of what is missing.
    pub async fn check_topology(&self) -> anyhow::Result<()> {
        match &self.transport {
            Transport::Rabbit(server) => rabbit::topology::check(server).await,
            Transport::Embedded(_) => Ok(()),
        }
    }

    /// Declares the queue of answers of a partner system, and takes the facts about those accounts
    /// away that it acts for no longer.
    ///
    /// # Errors
    /// When the broker cannot be reached, or is the embedded queue.
    pub async fn declare_answers(
        &self,
        publisher: &str,
        accounts: &[Uuid],
        no_longer: &[Uuid],
    ) -> anyhow::Result<()> {
        let queue = topology::answers(publisher, accounts);
        let mut stale = topology::answers(publisher, no_longer).bindings;
        stale.retain(|binding| !queue.bindings.contains(binding));
        rabbit::topology::declare(self.rabbit()?, &queue, &stale).await
    }

    /// Deletes the queue of answers of a partner system, with what is left in it.
    ///
    /// # Errors
    /// When the broker cannot be reached, or is the embedded queue.
    pub async fn remove_answers(&self, publisher: &str) -> anyhow::Result<()> {
        let queue = topology::answers(publisher, &[]);
        rabbit::topology::remove(self.rabbit()?, &queue.name).await
    }

    /// What the broker user of a partner system has to be granted.
    ///
    /// # Errors
    /// When the broker is the embedded queue.
    pub fn access(&self, publisher: &str) -> anyhow::Result<Access> {
        Ok(Access {
            user: publisher.to_owned(),
            vhost: self.rabbit()?.vhost().to_owned(),
            answers: topology::answers(publisher, &[]).name,
        })
    }

    fn rabbit(&self) -> anyhow::Result<&rabbit::Server> {
        match &self.transport {
            Transport::Rabbit(server) => Ok(server),
            Transport::Embedded(_) => anyhow::bail!(
                "the embedded queue is for one process; partner systems need RabbitMQ, as in BROKER_URL=amqp://…"
            ),
        }
    }

    /// Starts a publisher with a connection of its own. Share its clones.
    pub fn publisher(&self) -> Publisher {
        match &self.transport {
            Transport::Rabbit(server) => Publisher::rabbit(server.clone(), &self.name),
            Transport::Embedded(queue) => Publisher::embedded(queue.clone(), &self.name),
        }
    }

    /// How many messages wait in each work queue and the queue of its dead letters.
    ///
    /// # Errors
    /// When the broker cannot be reached or a queue does not exist.
    pub async fn depths(&self) -> anyhow::Result<Vec<(String, u64)>> {
        let names = WORK_QUEUES
            .iter()
            .flat_map(|queue| [queue.name.to_owned(), topology::dead_queue(queue.name)]);
        match &self.transport {
            Transport::Rabbit(server) => rabbit::topology::depths(server, names.collect()).await,
            Transport::Embedded(queue) => queue.depths(names.collect()).await,
        }
    }

    pub(crate) async fn deliveries(
        &self,
        queues: &[&str],
        prefetch: u16,
    ) -> anyhow::Result<Deliveries> {
        Ok(match &self.transport {
            Transport::Rabbit(server) => Deliveries::Rabbit(Box::new(
                rabbit::Deliveries::open(server, queues, prefetch).await?,
            )),
            Transport::Embedded(file) => {
                Deliveries::Embedded(file.consume(queues, prefetch).await?)
            }
        })
    }

    /// The user that the messages of this process carry as `user_id`.
    pub fn own_user(&self) -> &str {
        match &self.transport {
            Transport::Rabbit(server) => server.user(),
            Transport::Embedded(_) => embedded::USER,
        }
    }

    /// `messaging.system` of the OpenTelemetry conventions.
    pub(crate) fn system(&self) -> &'static str {
        match &self.transport {
            Transport::Rabbit(_) => rabbit::SYSTEM,
            Transport::Embedded(_) => embedded::SYSTEM,
        }
    }

    pub(crate) fn retry_scale(&self) -> f64 {
        self.retry_scale
    }
}

/// `delay` of the retry ladder under `scale`, at least a millisecond.
pub(crate) fn scaled(delay: Duration, scale: f64) -> Duration {
    delay.mul_f64(scale).max(Duration::from_millis(1))
}

/// The deliveries of one queue or several.
pub(crate) enum Deliveries {
    Rabbit(Box<rabbit::Deliveries>),
    Embedded(embedded::Deliveries),
}

impl Deliveries {
    /// Waits for the next delivery. Every error means that the session is over.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Delivery> {
        match self {
            Self::Rabbit(deliveries) => deliveries.next().await,
            Self::Embedded(deliveries) => deliveries.next().await,
        }
    }

    /// Asks for no more deliveries. Those under way can still be acknowledged until this is dropped.
    pub(crate) async fn cancel(&mut self) {
        match self {
            Self::Rabbit(deliveries) => deliveries.cancel().await,
            Self::Embedded(deliveries) => deliveries.cancel(),
        }
    }
}

/// One message from a queue, not yet acknowledged.
pub(crate) struct Delivery {
    pub(crate) received: Received,
    pub(crate) acker: Acker,
}

/// Acknowledges one delivery. Dropping it does not: the message then comes again.
pub(crate) enum Acker {
    Rabbit(Box<rabbit::Delivered>),
    Embedded(embedded::Acker),
}

impl Acker {
    /// Takes the message off its queue.
    pub(crate) async fn ack(&self) -> anyhow::Result<()> {
        match self {
            Self::Rabbit(delivered) => rabbit::ack(delivered).await,
            Self::Embedded(acker) => acker.ack().await,
        }
    }

    /// Whether the session that delivered the message still stands. If not, it comes again.
    pub(crate) fn usable(&self) -> bool {
        match self {
            Self::Rabbit(delivered) => delivered.usable(),
            Self::Embedded(acker) => acker.usable(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_transport_and_never_show_the_password() {
        let url: BrokerUrl = "amqp://flow:s3cret@localhost/flow".parse().unwrap();
        assert_eq!(url.to_string(), "amqp://flow:***@localhost/flow");
        assert_eq!(format!("{url:?}"), url.to_string());
        let url: BrokerUrl = "embedded:./data/queue.db".parse().unwrap();
        assert_eq!(url, BrokerUrl::Embedded("./data/queue.db".into()));
        for bad in ["", "redis://x", "embedded:", "amqp:/"] {
            assert!(bad.parse::<BrokerUrl>().is_err(), "{bad:?}");
        }
    }
}
