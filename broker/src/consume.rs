//! The loop: decode → handle → publish what follows, confirmed → acknowledge.
//!
//! It alone settles deliveries. On failure it publishes the message to the retry ladder, or parks
//! it, confirmed, and then acknowledges. If it cannot publish it does not acknowledge, and the
//! broker delivers the message again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use chrono::{TimeDelta, Utc};
use futures_util::FutureExt;
use rand::Rng;
use schemas::topology::{DEAD, RETRY};
use schemas::{Envelope, Outgoing};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::broker::{Broker, Delivery, scaled};
use crate::crash::crash_point;
use crate::handler::{Disposition, Failure, Handler, Next, Refused, Standing};
use crate::publisher::{PublishError, Publisher};
use crate::wire::{ATTEMPT, Publication, WAITS};
use crate::{park, trace};

/// How long running handlers may take to finish after the shutdown began.
const GRACE: Duration = Duration::from_secs(25);
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// Tells whether a transient error means that a server of our own is away, so that consuming had
/// better pause than burn attempts. Decides by type.
pub type Outage = fn(&anyhow::Error) -> bool;

/// Consumes one queue with one handler until shutdown, through any number of broker sessions.
pub struct Consumer<H> {
    broker: Broker,
    publisher: Publisher,
    handler: H,
    concurrency: u16,
    outage: Outage,
}

impl<H: Handler> Consumer<H> {
    /// A consumer that runs up to `concurrency` handlers at once and prefetches no more than that.
    pub fn new(
        broker: Broker,
        publisher: Publisher,
        handler: H,
        concurrency: u16,
        outage: Outage,
    ) -> Self {
        Self {
            broker,
            publisher,
            handler,
            concurrency: concurrency.max(1),
            outage,
        }
    }

    /// Runs until `shutdown`, then lets the running handlers finish, for 25 seconds at most.
    pub async fn run(self, shutdown: CancellationToken) {
        let queue = self.handler.queue().name;
        // Handlers of a lost session go on; the next session starts new ones only as they finish.
        let slots = Arc::new(Semaphore::new(self.concurrency.into()));
        let consumer = Arc::new(self);
        let mut running = JoinSet::new();
        let mut failures = 0;
        let mut session = 0_u64;
        while !shutdown.is_cancelled() {
            let began = Instant::now();
            session += 1;
            let ended = consumer
                .clone()
                .session(session, &slots, &mut running, &shutdown)
                .await;
            let Err(error) = ended else { break };
            failures = if began.elapsed() > Duration::from_secs(60) {
                1
            } else {
                failures + 1
            };
            tracing::warn!(
                messaging.destination.name = queue,
                "consumer of {queue} interrupted: {error:#}"
            );
            pause(failures, &shutdown).await;
        }
    }

    /// One broker session. It ends with an error when the broker is lost, or when a message could
    /// not be settled: only the end of its session makes the broker deliver that one again.
    async fn session(
        self: Arc<Self>,
        session: u64,
        slots: &Arc<Semaphore>,
        running: &mut JoinSet<(u64, anyhow::Result<()>)>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let queue = self.handler.queue().name;
        let queues = [queue];
        let mut deliveries = tokio::select! {
            opened = self.broker.deliveries(&queues, self.concurrency) => opened?,
            () = shutdown.cancelled() => return Ok(()),
        };
        tracing::info!(
            messaging.destination.name = queue,
            concurrency = self.concurrency,
            "consuming {queue}"
        );
        loop {
            let delivery = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = running.join_next() => match ended? {
                    (began_in, Err(error)) if began_in == session => return Err(error),
                    _ => continue,
                },
                next = deliveries.next() => next?,
            };
            let slot = slots.clone().acquire_owned();
            let (consumer, shutdown) = (self.clone(), shutdown.clone());
            running.spawn(async move {
                let _slot = slot.await;
                (session, consumer.process(delivery, &shutdown).await)
            });
        }
        crash_point("drain");
        deliveries.cancel().await;
        // What is not finished in time is not acknowledged, and comes again elsewhere.
        timeout(GRACE, async {
            while running.join_next().await.is_some() {}
        })
        .await
        .ok();
        running.shutdown().await;
        Ok(())
    }

    async fn process(
        &self,
        delivery: Delivery,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let queue = self.handler.queue();
        let span = trace::process_span(self.broker.system(), queue.name, &delivery.received);
        let settling = async {
            match delivery.received.decode(&queue, self.broker.own_user()) {
                Ok(message) => self.settle(&delivery, &message, shutdown).await,
                Err(undecodable) => {
                    let error = undecodable.error.as_str();
                    self.refuse(&delivery, undecodable.reason, error, shutdown)
                        .await
                }
            }
        };
        settling
            .instrument(span)
            .await
            .context("a message was left unsettled")
    }

    async fn settle(
        &self,
        delivery: &Delivery,
        message: &Envelope<H::Message>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let received = &delivery.received;
        let waits = received.counter(WAITS, self.broker.own_user());
        let mut holds = 0;
        loop {
            let began = Instant::now();
            crash_point("consume.decoded");
            let (outcome, panicked) = self.call(message).await;
            crash_point("consume.handled");
            let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let failure = match outcome {
                Ok(outgoing) => {
                    self.publish_until_confirmed(delivery, &outgoing, shutdown)
                        .await?;
                    crash_point("consume.published");
                    delivery.acker.ack().await?;
                    crash_point("consume.acked");
                    self.log(message, "done", duration_ms, None);
                    return Ok(());
                }
                Err(Failure::Transient(error)) if (self.outage)(&error) => {
                    Failure::Unavailable(error)
                }
                Err(failure) => failure,
            };
            let error = failure.chain();
            let standing = Standing {
                attempt: message.attempt,
                waits,
                jitter: rand::rng().random_range(0.0..1.0),
            };
            match Disposition::of(&failure, panicked, standing) {
                Disposition::Hold => {
                    holds += 1;
                    self.log(message, "held", duration_ms, Some(&error));
                    pause(holds, shutdown).await;
                    anyhow::ensure!(!shutdown.is_cancelled(), "stopped while waiting: {error}");
                    anyhow::ensure!(
                        delivery.acker.usable(),
                        "the session ended while waiting: {error}"
                    );
                }
                Disposition::Retry {
                    level,
                    attempt,
                    waits,
                } => {
                    let delay = scaled(level.delay, self.broker.retry_scale());
                    let at = Utc::now() + TimeDelta::from_std(delay).unwrap_or_default();
                    mark_failed(&failure);
                    self.handler.failed(message, &error, Next::Retry(at)).await;
                    let build = || {
                        let key = format!("{}.{}", level.name, self.handler.queue().name);
                        let mut copy = received.republish(self.broker.own_user(), RETRY, key);
                        copy.properties
                            .headers
                            .insert(ATTEMPT.to_owned(), attempt.into());
                        copy.properties
                            .headers
                            .insert(WAITS.to_owned(), waits.into());
                        copy
                    };
                    self.send_until_confirmed(delivery, RETRY, build, shutdown)
                        .await?;
                    crash_point("retry.published");
                    delivery.acker.ack().await?;
                    self.log(message, level.name, duration_ms, Some(&error));
                    return Ok(());
                }
                Disposition::Park { reason } => {
                    mark_failed(&failure);
                    self.handler.failed(message, &error, Next::Parked).await;
                    if matches!(failure, Failure::Permanent(..)) {
                        return self.refuse(delivery, reason, &error, shutdown).await;
                    }
                    return self.park(delivery, reason, &error, shutdown).await;
                }
            }
        }
    }

    /// One call of the handler, bounded in time; a panic is a failure like another. Also tells
    /// whether it panicked.
    async fn call(&self, message: &Envelope<H::Message>) -> (Result<Vec<Outgoing>, Failure>, bool) {
        let limit = self.handler.queue().timeout;
        let calling = AssertUnwindSafe(self.handler.handle(message)).catch_unwind();
        match timeout(limit, calling).await {
            Ok(Ok(outcome)) => (outcome, false),
            Ok(Err(panic)) => {
                let text = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("no message");
                (
                    Err(Failure::Transient(anyhow!("the handler panicked: {text}"))),
                    true,
                )
            }
            Err(_) => (
                Err(Failure::Transient(anyhow!("no result within {limit:?}"))),
                false,
            ),
        }
    }

    /// Parks a message, and says so to whoever published it.
    async fn refuse(
        &self,
        delivery: &Delivery,
        reason: &'static str,
        error: &str,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let received = &delivery.received;
        let publisher = received.publisher(self.broker.own_user());
        let refused = Refused {
            id: received.id(),
            correlation_id: received.correlation_id(),
            publisher: publisher.as_deref(),
            message_id: received.properties.message_id.as_deref(),
            message_type: received.properties.kind.as_deref(),
            reason,
            error,
        };
        if let Some(answer) = self.handler.refused(&refused) {
            self.publish_until_confirmed(delivery, &[answer], shutdown)
                .await?;
        }
        self.park(delivery, reason, error, shutdown).await
    }

    async fn park(
        &self,
        delivery: &Delivery,
        reason: &'static str,
        error: &str,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let queue = self.handler.queue().name;
        let build = || {
            park::publication(
                &delivery.received,
                self.broker.own_user(),
                queue,
                reason,
                error,
            )
        };
        self.send_until_confirmed(delivery, DEAD, build, shutdown)
            .await?;
        crash_point("park.published");
        delivery.acker.ack().await?;
        tracing::error!(
            messaging.destination.name = queue,
            reason,
            error,
            "parked a message of {queue}: {reason}"
        );
        Ok(())
    }

    async fn publish_until_confirmed(
        &self,
        delivery: &Delivery,
        outgoing: &[Outgoing],
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut failures = 0;
        while let Err(error) = self.publisher.publish_all(outgoing).await {
            self.wait_to_publish(delivery, &error, &mut failures, shutdown)
                .await?;
        }
        Ok(())
    }

    async fn send_until_confirmed(
        &self,
        delivery: &Delivery,
        exchange: &str,
        build: impl Fn() -> Publication,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut failures = 0;
        while let Err(error) = self.publisher.send(&build, exchange).await {
            self.wait_to_publish(delivery, &error, &mut failures, shutdown)
                .await?;
        }
        Ok(())
    }

    /// Waits before the consequences are published again; the work is done and need not be repeated.
    /// Gives up when the delivery will come again anyway.
    async fn wait_to_publish(
        &self,
        delivery: &Delivery,
        error: &PublishError,
        failures: &mut u32,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        anyhow::ensure!(
            delivery.acker.usable() && !shutdown.is_cancelled(),
            "{error}"
        );
        *failures += 1;
        tracing::warn!("cannot publish what follows, trying again: {error}");
        pause(*failures, shutdown).await;
        Ok(())
    }

    fn log(
        &self,
        message: &Envelope<H::Message>,
        disposition: &str,
        duration_ms: u64,
        error: Option<&str>,
    ) {
        let (queue, id) = (self.handler.queue().name, message.id);
        let attempt = message.attempt;
        match error {
            None => tracing::info!(
                messaging.destination.name = queue, messaging.message.id = %id, attempt, disposition, duration_ms,
                "handled a message of {queue}"
            ),
            Some(error) => tracing::warn!(
                messaging.destination.name = queue, messaging.message.id = %id, attempt, disposition, duration_ms,
                error, "a message of {queue} failed, {disposition}"
            ),
        }
    }
}

/// Marks the current span as failed.
fn mark_failed(failure: &Failure) {
    let name = match failure {
        Failure::Transient(_) => "transient",
        Failure::RateLimited(..) => "rate_limited",
        Failure::NotYet(..) => "not_yet",
        Failure::Permanent(reason, _) => reason,
        Failure::Unavailable(_) => "unavailable",
    };
    let span = tracing::Span::current();
    span.record("error.type", name);
    if !matches!(failure, Failure::NotYet(..)) {
        span.record("otel.status_code", "ERROR");
    }
}

/// Waits with full jitter, longer after each failure, or until shutdown.
pub(crate) async fn pause(failures: u32, shutdown: &CancellationToken) {
    let most = Duration::from_millis(200 << failures.min(6)).min(MAX_BACKOFF);
    let wait = most.mul_f64(rand::rng().random_range(0.2..1.0));
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = shutdown.cancelled() => {}
    }
}
