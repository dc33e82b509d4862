//! Publishing: `Ok` means that the broker has the message on disk.

use std::time::Duration;

use futures_util::future;
use schemas::Outgoing;
use tracing::Instrument;

use crate::broker::Health;
use crate::wire::Publication;
use crate::{embedded, rabbit, trace};

/// How long a publisher waits for the confirm before it gives up.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a message is not known to be on the broker's disk.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    /// No queue takes it and there is no alternate exchange: the topology is incomplete.
    #[error("no queue takes {0}; run `flow topology apply`")]
    Unroutable(String),
    /// The broker refused it, for example because the queue is full.
    #[error("the broker refused the message")]
    Refused,
    /// The broker is away or did not confirm in time. It may or may not have the message; to
    /// publish it again under the same id is safe.
    #[error("the broker did not confirm the message: {0}")]
    Unavailable(String),
}

/// Publishes messages over a connection of its own. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct Publisher {
    transport: Transport,
    app_id: String,
    timeout: Duration,
}

#[derive(Clone)]
enum Transport {
    Rabbit(rabbit::Publisher),
    Embedded(embedded::Queue),
}

impl Publisher {
    pub(crate) fn rabbit(server: rabbit::Server, app_id: &str) -> Self {
        Self::new(Transport::Rabbit(rabbit::Publisher::start(server)), app_id)
    }

    pub(crate) fn embedded(queue: embedded::Queue, app_id: &str) -> Self {
        Self::new(Transport::Embedded(queue), app_id)
    }

    fn new(transport: Transport, app_id: &str) -> Self {
        Self {
            transport,
            app_id: app_id.to_owned(),
            timeout: CONFIRM_TIMEOUT,
        }
    }

    /// The same publisher with another limit for the wait on a confirm.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Publishes one message and waits until the broker has confirmed it.
    ///
    /// # Errors
    /// When the broker did not confirm it as routed and stored.
    pub async fn publish(&self, outgoing: &Outgoing) -> Result<(), PublishError> {
        self.send(
            || Publication::new(outgoing, &self.app_id),
            outgoing.exchange,
        )
        .await
    }

    /// Publishes several messages together and waits for every confirm.
    ///
    /// # Errors
    /// The first error of any; the others may have been confirmed.
    pub async fn publish_all(&self, outgoing: &[Outgoing]) -> Result<(), PublishError> {
        let results = future::join_all(outgoing.iter().map(|message| self.publish(message))).await;
        results.into_iter().collect()
    }

    /// Publishes a message that `build` makes inside the publishing span, whose context it carries.
    pub(crate) async fn send(
        &self,
        build: impl FnOnce() -> Publication,
        exchange: &str,
    ) -> Result<(), PublishError> {
        let system = match &self.transport {
            Transport::Rabbit(_) => rabbit::SYSTEM,
            Transport::Embedded(_) => embedded::SYSTEM,
        };
        let span = trace::publish_span(system, exchange);
        let publication = span.in_scope(build);
        trace::describe(&span, &publication);
        let sent = async {
            match &self.transport {
                Transport::Rabbit(publisher) => publisher.publish(publication).await,
                Transport::Embedded(queue) => queue.publish(publication).await,
            }
        };
        let late = |_| {
            Err(PublishError::Unavailable(format!(
                "no confirm within {:?}",
                self.timeout
            )))
        };
        let result = tokio::time::timeout(self.timeout, sent.instrument(span.clone()))
            .await
            .unwrap_or_else(late);
        if let Err(error) = &result {
            span.record("otel.status_code", "ERROR");
            span.record("error.type", error.name());
        }
        result
    }

    /// Whether messages can be published at the moment.
    pub fn health(&self) -> Health {
        match &self.transport {
            Transport::Rabbit(publisher) => publisher.health(),
            Transport::Embedded(_) => Health::Up,
        }
    }
}

impl PublishError {
    fn name(&self) -> &'static str {
        match self {
            Self::Unroutable(_) => "unroutable",
            Self::Refused => "refused",
            Self::Unavailable(_) => "unavailable",
        }
    }
}
