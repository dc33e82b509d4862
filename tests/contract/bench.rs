//! A broker of one kind, with handlers that do as they are told.

use std::path::PathBuf;
use std::sync::Arc;

use broker::{
    Broker, Consumer, Envelope, Handled, Handler, Next, Outgoing, Parked, ParkedConsumer, Publisher,
};
use schemas::invoice::InvoiceIssue;
use schemas::topology::{INVOICE, WorkQueue};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::vhost::Vhost;
use crate::support::wait::eventually;

/// 5 s become 100 ms.
pub(crate) const SCALE: f64 = 0.02;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Embedded,
    Rabbit,
}

/// A broker with nothing in it.
pub(crate) struct Bench {
    pub(crate) broker: Broker,
    pub(crate) publisher: Publisher,
    pub(crate) vhost: Option<Vhost>,
    folder: TempDir,
}

impl Bench {
    pub(crate) async fn start(transport: Transport) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vhost = match transport {
            Transport::Embedded => None,
            Transport::Rabbit => Some(Vhost::create().await),
        };
        let url = match &vhost {
            Some(vhost) => vhost.url(),
            None => format!("embedded:{}", folder.path().join("queue.db").display()),
        };
        let broker = Broker::open(&url.parse().unwrap(), "test", SCALE)
            .await
            .unwrap();
        broker.apply_topology().await.unwrap();
        let publisher = broker.publisher();
        Self {
            broker,
            publisher,
            vhost,
            folder,
        }
    }

    /// The file of the embedded queue.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("queue.db")
    }

    /// Starts to consume the invoice queue.
    pub(crate) fn consume<F, Fut>(&self, concurrency: u16, play: F) -> Consuming
    where
        F: Fn(Envelope<InvoiceIssue>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Handled> + Send,
    {
        let (failed, failures) = mpsc::unbounded_channel();
        let script = Script {
            queue: INVOICE,
            play: Arc::new(play),
            failed,
        };
        let outage = |error: &anyhow::Error| error.is::<Away>();
        let consumer = Consumer::new(
            self.broker.clone(),
            self.publisher.clone(),
            script,
            concurrency,
            outage,
        );
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(consumer.run(shutdown.clone()));
        Consuming {
            task,
            shutdown,
            failures,
        }
    }

    /// Takes over parked messages.
    pub(crate) fn parked(&self) -> mpsc::UnboundedReceiver<Parked> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let store = async move |parked: Parked| Ok(sender.send(parked)?);
        tokio::spawn(ParkedConsumer::new(self.broker.clone()).run(store, CancellationToken::new()));
        receiver
    }

    /// Publishes a message to the invoice queue and returns its id.
    pub(crate) async fn publish(&self) -> Uuid {
        let id = Uuid::now_v7();
        self.publisher.publish(&message(id)).await.unwrap();
        id
    }

    /// Waits until a queue has so many messages.
    pub(crate) async fn depth(&self, queue: &str, depth: u64) {
        eventually(&format!("{queue} to have {depth} messages"), async || {
            let depths = self.broker.depths().await.unwrap();
            depths
                .into_iter()
                .any(|(name, found)| name == queue && found == depth)
                .then_some(())
        })
        .await;
    }

    /// Ends the bench.
    pub(crate) async fn finish(self) {
        if let Some(vhost) = self.vhost {
            vhost.remove().await;
        }
    }
}

/// A message for the invoice queue.
pub(crate) fn message(id: Uuid) -> Outgoing {
    Outgoing::new(id, id, &InvoiceIssue { order_id: id })
}

/// An error that means that a server of ours is away.
#[derive(Debug)]
pub(crate) struct Away;

impl std::fmt::Display for Away {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the database is away")
    }
}

impl std::error::Error for Away {}

/// A consumer at work.
pub(crate) struct Consuming {
    task: JoinHandle<()>,
    shutdown: CancellationToken,
    /// What the handler was told of its failures.
    pub(crate) failures: mpsc::UnboundedReceiver<(String, Next)>,
}

impl Consuming {
    /// Lets it finish.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }

    /// Asks it to finish.
    pub(crate) fn ask_to_stop(&self) {
        self.shutdown.cancel();
    }

    /// Whether it has finished.
    pub(crate) fn stopped(&self) -> bool {
        self.task.is_finished()
    }

    /// Takes it away in the middle of everything, as a crash would.
    pub(crate) async fn crash(self) {
        self.task.abort();
        self.task.await.ok();
    }
}

struct Script<F> {
    queue: WorkQueue,
    play: Arc<F>,
    failed: mpsc::UnboundedSender<(String, Next)>,
}

impl<F, Fut> Handler for Script<F>
where
    F: Fn(Envelope<InvoiceIssue>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Handled> + Send,
{
    type Message = InvoiceIssue;

    fn queue(&self) -> WorkQueue {
        self.queue
    }

    async fn handle(&self, message: &Envelope<InvoiceIssue>) -> Handled {
        (self.play)(message.clone()).await
    }

    async fn failed(&self, _: &Envelope<InvoiceIssue>, error: &str, next: Next) {
        self.failed.send((error.to_owned(), next)).ok();
    }
}
