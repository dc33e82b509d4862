//! The publishing side of RabbitMQ: one task owns the connection and publishes in batches.
//!
//! A batch is published, then every confirm is awaited by itself, and only then the next batch
//! begins. lapin may hand a returned message to the confirm of a neighbour; because batches do not
//! overlap, every return of a batch surfaces within it, and is matched by message id.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, bail};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation, Connection, ConnectionStatus};
use rand::Rng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::wire::to_amqp;
use super::{CALL_TIMEOUT, Server, call, close, open_channel};
use crate::broker::Health;
use crate::publisher::PublishError;
use crate::wire::Publication;

/// How many messages are under way at most. More gains nothing: one disk write confirms them all.
const MAX_BATCH: usize = 128;
/// How many messages may wait for a batch before callers wait to hand theirs over.
const WAITING: usize = 1024;
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);
/// How often an idle connection is looked at.
const IDLE_CHECK: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

struct Request {
    publication: Publication,
    reply: oneshot::Sender<Result<(), PublishError>>,
}

/// A handle to the publishing task, which ends with its last handle.
#[derive(Clone)]
pub(crate) struct Publisher {
    requests: mpsc::Sender<Request>,
    status: watch::Receiver<Option<ConnectionStatus>>,
}

impl Publisher {
    pub(crate) fn start(server: Server) -> Self {
        let (requests, waiting) = mpsc::channel(WAITING);
        let (status, seen) = watch::channel(None);
        tokio::spawn(
            Task {
                server,
                waiting,
                batch: Vec::new(),
                status,
            }
            .run(),
        );
        Self {
            requests,
            status: seen,
        }
    }

    pub(crate) async fn publish(&self, publication: Publication) -> Result<(), PublishError> {
        let gone = || PublishError::Unavailable("the publisher has stopped".to_owned());
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(Request { publication, reply })
            .await
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    pub(crate) fn health(&self) -> Health {
        match &*self.status.borrow() {
            Some(status) if status.blocked() => Health::Blocked,
            Some(status) if status.connected() => Health::Up,
            _ => Health::Down,
        }
    }
}

struct Task {
    server: Server,
    waiting: mpsc::Receiver<Request>,
    /// What is being published. Kept when a session fails, and published again by the next.
    batch: Vec<Request>,
    status: watch::Sender<Option<ConnectionStatus>>,
}

impl Task {
    async fn run(mut self) {
        let mut failures = 0;
        loop {
            let connected_at = match self.connect().await {
                Ok((connection, channel)) => {
                    let at = Instant::now();
                    self.status.send_replace(Some(connection.status().clone()));
                    match self.session(&connection, &channel).await {
                        Ok(()) => {
                            close(&connection).await;
                            return;
                        }
                        Err(error) => tracing::warn!("lost the publishing connection: {error:#}"),
                    }
                    Some(at)
                }
                Err(error) => {
                    tracing::warn!("cannot publish: {error:#}");
                    self.refuse_all(&format!("{error:#}"));
                    None
                }
            };
            self.status.send_replace(None);
            match connected_at {
                // One new connection at once: what was under way is published again.
                Some(at) if at.elapsed() > IDLE_CHECK => failures = 0,
                _ => {
                    failures += 1;
                    if !self.back_off(failures).await {
                        return;
                    }
                }
            }
        }
    }

    async fn connect(&self) -> anyhow::Result<(Connection, Channel)> {
        let connection = self.server.connect("publish").await?;
        let channel = open_channel(&connection).await?;
        call(
            "ask for confirms",
            channel.confirm_select(ConfirmSelectOptions::default()),
        )
        .await?;
        Ok((connection, channel))
    }

    /// Publishes until the last handle is gone. Every error means a new connection.
    async fn session(&mut self, connection: &Connection, channel: &Channel) -> anyhow::Result<()> {
        loop {
            if self.batch.is_empty() {
                match timeout(IDLE_CHECK, self.waiting.recv()).await {
                    Ok(Some(request)) => self.batch.push(request),
                    Ok(None) => return Ok(()),
                    Err(_) => {}
                }
            }
            while self.batch.len() < MAX_BATCH {
                match self.waiting.try_recv() {
                    Ok(request) => self.batch.push(request),
                    Err(_) => break,
                }
            }
            // Whoever no longer waits has been told so, and may publish again.
            self.batch.retain(|request| !request.reply.is_closed());
            if !connection.status().connected() {
                bail!("the connection is closed");
            }
            if connection.status().blocked() {
                // A write would wait until the alarm is over, and be sent even if nobody waits any more.
                self.refuse_all("the broker has blocked publishing (memory or disk alarm)");
                continue;
            }
            self.publish_batch(channel).await?;
        }
    }

    async fn publish_batch(&mut self, channel: &Channel) -> anyhow::Result<()> {
        let mut confirms = Vec::with_capacity(self.batch.len());
        for Request { publication, .. } in &self.batch {
            let publishing = channel.basic_publish(
                publication.exchange.as_str().into(),
                publication.routing_key.as_str().into(),
                BasicPublishOptions {
                    mandatory: publication.mandatory(),
                    ..Default::default()
                },
                &publication.body,
                to_amqp(&publication.properties, self.server.user()),
            );
            let confirm = timeout(CALL_TIMEOUT, publishing)
                .await
                .context("publish: no answer")?;
            confirms.push(confirm.context("publish")?);
        }
        let deadline = Instant::now() + CONFIRM_TIMEOUT;
        let mut acked = Vec::with_capacity(confirms.len());
        let mut returned = HashSet::new();
        for confirm in confirms {
            let confirmation = timeout_at(deadline, confirm)
                .await
                .context("no confirm")?
                .context("await the confirm")?;
            acked.push(match &confirmation {
                Confirmation::Ack(_) => true,
                Confirmation::Nack(_) => false,
                Confirmation::NotRequested => bail!("the channel is not in confirm mode"),
            });
            if let Some(message) = confirmation.take_message() {
                returned.insert(
                    message
                        .delivery
                        .properties
                        .message_id()
                        .as_ref()
                        .map(ToString::to_string),
                );
            }
        }
        for (request, acked) in self.batch.drain(..).zip(acked) {
            let publication = &request.publication;
            let result = if returned.contains(&publication.properties.message_id) {
                let target = format!(
                    "{} in exchange {}",
                    publication.routing_key, publication.exchange
                );
                Err(PublishError::Unroutable(target))
            } else if acked {
                Ok(())
            } else {
                Err(PublishError::Refused)
            };
            // The caller may have stopped waiting.
            request.reply.send(result).ok();
        }
        Ok(())
    }

    fn refuse_all(&mut self, reason: &str) {
        for request in self.batch.drain(..) {
            request
                .reply
                .send(Err(PublishError::Unavailable(reason.to_owned())))
                .ok();
        }
    }

    /// Waits before the next connection, refusing at once what comes meanwhile. False when nobody
    /// is left to publish for.
    async fn back_off(&mut self, failures: u32) -> bool {
        let most = Duration::from_millis(200 << failures.min(5)).min(MAX_BACKOFF);
        let until = Instant::now() + most.mul_f64(rand::rng().random_range(0.5..1.0));
        loop {
            match timeout_at(until, self.waiting.recv()).await {
                Ok(Some(request)) => {
                    self.batch.push(request);
                    self.refuse_all("there is no connection to the broker");
                }
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }
}
