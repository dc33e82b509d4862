//! The publishing side of RabbitMQ: one task owns the connection and publishes in batches.
//!
//! A batch is published, then every confirm is awaited by itself, and only then the next batch
//! begins on the same channel. lapin may hand a returned message to the confirm of a neighbour;
//! because the batches of a channel do not overlap, every return of a batch surfaces within it, and
//! is matched by message id. While one channel waits for confirms, the next one publishes.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use futures_util::StreamExt;
use futures_util::stream::{FuturesOrdered, FuturesUnordered};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation, Connection, ConnectionStatus};
use rand::Rng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::wire::to_amqp;
use super::{CALL_TIMEOUT, SENT_FRAME, Server, call, close, open_channel};
use crate::broker::Health;
use crate::crash::crash_point;
use crate::publisher::PublishError;
use crate::wire::Publication;

/// How many channels publish, and how many messages one of them has under way at most. More gains
/// nothing: one disk write of the broker confirms them all.
const CHANNELS: usize = 4;
const MAX_BATCH: usize = 64;
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
                kept: Vec::new(),
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
        // Without its task the last status says nothing.
        if self.status.has_changed().is_err() {
            return Health::Down;
        }
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
    /// What was under way when a session failed. The next one publishes it again.
    kept: Vec<Request>,
    status: watch::Sender<Option<ConnectionStatus>>,
}

impl Task {
    async fn run(mut self) {
        let mut failures = 0;
        loop {
            let connected_at = match self.connect().await {
                Ok((connection, channels)) => {
                    let at = Instant::now();
                    self.status.send_replace(Some(connection.status().clone()));
                    match self.session(&connection, channels).await {
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
                    self.refuse_kept(&format!("{error:#}"));
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

    async fn connect(&self) -> anyhow::Result<(Connection, Vec<Channel>)> {
        let connection = self.server.connect("publish", SENT_FRAME).await?;
        let mut channels = Vec::new();
        for _ in 0..CHANNELS {
            channels.push(confirming(&connection).await?);
        }
        Ok((connection, channels))
    }

    /// Publishes until the last handle is gone. Every error means a new connection.
    async fn session(
        &mut self,
        connection: &Connection,
        mut idle: Vec<Channel>,
    ) -> anyhow::Result<()> {
        let user = self.server.user().to_owned();
        let mut running = FuturesUnordered::new();
        let mut failed = None;
        while failed.is_none() || !running.is_empty() {
            let may_begin = failed.is_none() && !idle.is_empty();
            let batch = tokio::select! {
                Some(Published { channel, batch, result, refused }) = running.next() => {
                    // RabbitMQ may go on refusing what a channel publishes to a queue that was full,
                    // although it is not any more, if the policy that limited it is gone (3.10.8).
                    let next = match refused {
                        true => confirming(connection).await,
                        false => Ok(channel.clone()),
                    };
                    match next {
                        Ok(next) => idle.push(next),
                        Err(error) => failed = failed.or(Some(error)),
                    }
                    if refused {
                        call("close", channel.close(200, "refused".into())).await.ok();
                    }
                    self.kept.extend(batch);
                    // The others may still be confirmed.
                    failed = failed.or(result.err());
                    continue;
                }
                batch = self.next_batch(), if may_begin => batch,
            };
            let Some(batch) = batch else {
                failed = Some(anyhow!("every handle is gone"));
                continue;
            };
            if !connection.status().connected() {
                self.kept.extend(batch);
                failed = Some(anyhow!("the connection is closed"));
            } else if connection.status().blocked() {
                // A write would wait until the alarm is over, and be sent even if nobody waits any more.
                self.kept.extend(batch);
                self.refuse_kept("the broker has blocked publishing (memory or disk alarm)");
            } else if !batch.is_empty()
                && let Some(channel) = idle.pop()
            {
                running.push(publish(channel, batch, &user));
            }
        }
        match failed {
            Some(_) if self.waiting.is_closed() && self.kept.is_empty() => Ok(()),
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// What waits to be published: what the last session left behind, then what comes. Empty when
    /// nothing came for a while; nothing when nothing will come any more.
    async fn next_batch(&mut self) -> Option<Vec<Request>> {
        let mut batch = std::mem::take(&mut self.kept);
        if batch.is_empty() {
            match timeout(IDLE_CHECK, self.waiting.recv()).await {
                Ok(Some(request)) => batch.push(request),
                Ok(None) => return None,
                Err(_) => {}
            }
        }
        while batch.len() < MAX_BATCH {
            match self.waiting.try_recv() {
                Ok(request) => batch.push(request),
                Err(_) => break,
            }
        }
        // Whoever no longer waits has been told so, and may publish again.
        batch.retain(|request| !request.reply.is_closed());
        Some(batch)
    }

    fn refuse_kept(&mut self, reason: &str) {
        for request in self.kept.drain(..) {
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
                    self.kept.push(request);
                    self.refuse_kept("there is no connection to the broker");
                }
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }
}

/// A channel that is free again. After an error, with what it did not publish for sure.
struct Published {
    channel: Channel,
    batch: Vec<Request>,
    result: anyhow::Result<()>,
    /// The broker refused one of them.
    refused: bool,
}

/// Opens a channel that asks for confirms.
async fn confirming(connection: &Connection) -> anyhow::Result<Channel> {
    let channel = open_channel(connection).await?;
    let confirms = channel.confirm_select(ConfirmSelectOptions::default());
    call("ask for confirms", confirms).await?;
    Ok(channel)
}

/// Publishes a batch and answers its callers.
async fn publish(channel: Channel, mut batch: Vec<Request>, user: &str) -> Published {
    let mut refused = false;
    let result = match confirm(&channel, &batch, user).await {
        Ok(results) => {
            for (request, result) in batch.drain(..).zip(results) {
                refused |= matches!(result, Err(PublishError::Refused));
                // The caller may have stopped waiting.
                request.reply.send(result).ok();
            }
            Ok(())
        }
        Err(error) => Err(error),
    };
    Published {
        channel,
        batch,
        result,
        refused,
    }
}

/// Publishes a batch and awaits every confirm.
async fn confirm(
    channel: &Channel,
    batch: &[Request],
    user: &str,
) -> anyhow::Result<Vec<Result<(), PublishError>>> {
    // All at once: each future waits until lapin's own thread has written its message.
    let mut publishing: FuturesOrdered<_> = batch
        .iter()
        .map(|Request { publication, .. }| {
            channel.basic_publish(
                publication.exchange.as_str().into(),
                publication.routing_key.as_str().into(),
                BasicPublishOptions {
                    mandatory: publication.mandatory(),
                    ..Default::default()
                },
                &publication.body,
                to_amqp(&publication.properties, user),
            )
        })
        .collect();
    let mut confirms = Vec::with_capacity(batch.len());
    while let Some(confirm) = timeout(CALL_TIMEOUT, publishing.next())
        .await
        .context("publish: no answer")?
    {
        confirms.push(confirm.context("publish")?);
    }
    crash_point("publish.sent");
    let mut acked = Vec::with_capacity(batch.len());
    let mut returned = HashSet::new();
    for confirm in confirms {
        let confirmation = timeout(CONFIRM_TIMEOUT, confirm)
            .await
            .context("no confirm")?
            .context("await the confirm")?;
        acked.push(match &confirmation {
            Confirmation::Ack(_) => true,
            Confirmation::Nack(_) => false,
            Confirmation::NotRequested => bail!("the channel is not in confirm mode"),
        });
        if let Some(message) = confirmation.take_message() {
            let id = message.delivery.properties.message_id();
            returned.insert(id.as_ref().map(ToString::to_string));
        }
    }
    crash_point("publish.confirmed");
    let results = batch
        .iter()
        .zip(acked)
        .map(|(Request { publication, .. }, acked)| {
            match (returned.contains(&publication.properties.message_id), acked) {
                (true, _) => Err(PublishError::Unroutable(format!(
                    "{} in exchange {}",
                    publication.routing_key, publication.exchange
                ))),
                (false, true) => Ok(()),
                (false, false) => Err(PublishError::Refused),
            }
        });
    Ok(results.collect())
}
