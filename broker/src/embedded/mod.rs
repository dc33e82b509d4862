//! The embedded queue: RabbitMQ's semantics as far as we use them, in one SQLite file, for one
//! process. Confirmed means committed.
//!
//! One thread owns the file ([`store`]). It takes whatever commands have gathered, applies them in
//! one transaction and answers after the commit, so that many publishers share one disk write.

mod route;
mod store;

use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::Poll;

use anyhow::Context;
use tokio::sync::{mpsc as deliveries, oneshot};

use crate::broker::{self, Delivery};
use crate::publisher::PublishError;
use crate::wire::{Publication, Received};
use store::{Ack, Command, Store};

pub(crate) const SYSTEM: &str = "embedded";
/// Everything in the one process is one user.
pub(crate) const USER: &str = "flow";

/// A handle to the thread that owns the file. The thread ends with the last handle.
#[derive(Clone)]
pub(crate) struct Queue {
    commands: mpsc::Sender<Command>,
}

impl Queue {
    pub(crate) async fn open(path: PathBuf, retry_scale: f64) -> anyhow::Result<Self> {
        let (commands, received) = mpsc::channel();
        let (opened, opening) = oneshot::channel();
        std::thread::Builder::new()
            .name("queue".to_owned())
            .spawn(move || match Store::open(&path, retry_scale) {
                Ok(store) => {
                    if opened.send(Ok(())).is_ok() {
                        store.run(&received);
                    }
                }
                Err(error) => {
                    opened.send(Err(error)).ok();
                }
            })
            .context("start the queue's thread")?;
        opening.await.context("the queue's thread ended")??;
        Ok(Self { commands })
    }

    pub(crate) async fn publish(&self, publication: Publication) -> Result<(), PublishError> {
        let gone = || PublishError::Unavailable("the queue is closed".to_owned());
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(Command::Publish {
                publication: Box::new(publication),
                reply,
            })
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    pub(crate) async fn consume(
        &self,
        queues: &[&str],
        prefetch: u16,
    ) -> anyhow::Result<Deliveries> {
        let mut consumers = Vec::with_capacity(queues.len());
        for queue in queues {
            consumers.push(self.consume_one(queue, prefetch).await?);
        }
        Ok(Deliveries { consumers })
    }

    async fn consume_one(&self, queue: &str, prefetch: u16) -> anyhow::Result<Consumer> {
        let (sender, receiver) = deliveries::unbounded_channel();
        let (reply, answer) = oneshot::channel();
        let consume = Command::Consume {
            queue: queue.to_owned(),
            prefetch,
            sender,
            reply,
        };
        self.commands.send(consume).context("the queue is closed")?;
        let consumer = answer.await.context("the queue is closed")?;
        let session = Arc::new(Session {
            commands: self.commands.clone(),
            consumer,
        });
        Ok(Consumer { receiver, session })
    }

    pub(crate) async fn depths(&self, names: Vec<String>) -> anyhow::Result<Vec<(String, u64)>> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(Command::Depths { names, reply })
            .context("the queue is closed")?;
        answer
            .await
            .context("the queue is closed")?
            .map_err(anyhow::Error::msg)
    }
}

/// One consumer. When it and its deliveries are dropped, what they did not acknowledge comes again.
struct Session {
    commands: mpsc::Sender<Command>,
    consumer: u64,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.commands
            .send(Command::Close {
                consumer: self.consumer,
            })
            .ok();
    }
}

/// The deliveries of one queue.
struct Consumer {
    receiver: deliveries::UnboundedReceiver<(i64, Received)>,
    session: Arc<Session>,
}

/// The deliveries of one queue or several.
pub(crate) struct Deliveries {
    consumers: Vec<Consumer>,
}

impl Deliveries {
    pub(crate) async fn next(&mut self) -> anyhow::Result<Delivery> {
        let next = poll_fn(|context| {
            for Consumer { receiver, session } in &mut self.consumers {
                if let Poll::Ready(delivered) = receiver.poll_recv(context) {
                    return Poll::Ready(delivered.map(|delivered| (delivered, session.clone())));
                }
            }
            Poll::Pending
        });
        let ((seq, received), session) = next.await.context("the queue is closed")?;
        let acker = broker::Acker::Embedded(Acker { seq, session });
        Ok(Delivery { received, acker })
    }

    pub(crate) fn cancel(&mut self) {
        for Consumer { receiver, session } in &mut self.consumers {
            let consumer = session.consumer;
            session.commands.send(Command::Cancel { consumer }).ok();
            receiver.close();
        }
    }
}

/// Acknowledges one delivery.
pub(crate) struct Acker {
    seq: i64,
    session: Arc<Session>,
}

impl Acker {
    pub(crate) async fn ack(&self) -> anyhow::Result<()> {
        let (reply, answer) = oneshot::channel();
        let ack = Command::Ack(Ack {
            consumer: self.session.consumer,
            seq: self.seq,
            reply,
        });
        self.session
            .commands
            .send(ack)
            .context("the queue is closed")?;
        answer
            .await
            .context("the queue is closed")?
            .map_err(anyhow::Error::msg)
    }

    pub(crate) fn usable(&self) -> bool {
        // The file is in this process: the session lasts as long as the process does.
        true
    }
}
