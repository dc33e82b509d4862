//! The topology of `schemas` on RabbitMQ. Arguments are the same for 3.10 and 4.x.

use std::time::Duration;

use anyhow::{Context, bail};
use lapin::options::{
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPHardError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};
use schemas::topology::{
    DEAD, DELIVERY_LIMIT, Exchange, ExchangeType, MOST_ANSWERS, NO_DELIVERY_LIMIT, Queue,
    QueueType, REQUEUE, exchanges, queues,
};

use super::{SENT_FRAME, Server, call, close, open_channel};
use crate::broker::scaled;

/// How often everything is declared before a broker that fails inside is given up.
const ATTEMPTS: u32 = 5;
const AGAIN: Duration = Duration::from_secs(1);

/// Declares everything. A busy broker may fail to bring a quorum queue up in time, and says
/// `INTERNAL_ERROR`; to declare it again is safe.
pub(crate) async fn apply(server: &Server, retry_scale: f64) -> anyhow::Result<()> {
    for _ in 1..ATTEMPTS {
        match declare_all(server, retry_scale).await {
            Err(error) if is_internal(&error) => {
                tracing::warn!("the broker failed inside; declaring everything again: {error:#}");
                tokio::time::sleep(AGAIN).await;
            }
            declared => return declared,
        }
    }
    declare_all(server, retry_scale).await
}

/// Whether the broker says `INTERNAL_ERROR` (AMQP 0-9-1, reply code 541).
fn is_internal(error: &anyhow::Error) -> bool {
    let internal = AMQPErrorKind::Hard(AMQPHardError::INTERNALERROR).get_id();
    error.chain().any(|cause| {
        let kind = cause.downcast_ref::<lapin::Error>().map(lapin::Error::kind);
        matches!(kind, Some(ErrorKind::ProtocolError(error)) if error.get_id() == internal)
    })
}

async fn declare_all(server: &Server, retry_scale: f64) -> anyhow::Result<()> {
    let connection = server.connect("topology", SENT_FRAME).await?;
    let channel = open_channel(&connection).await?;
    for exchange in exchanges() {
        declare_exchange(&channel, &exchange).await?;
    }
    for queue in queues() {
        declare_queue(&channel, &queue, retry_scale).await?;
    }
    close(&connection).await;
    Ok(())
}

/// Declares one queue that is not part of the topology, with its bindings, and takes those away that
/// it shall not have any more.
pub(crate) async fn declare(
    server: &Server,
    queue: &Queue,
    stale: &[(&'static str, String)],
) -> anyhow::Result<()> {
    let connection = server.connect("topology", SENT_FRAME).await?;
    let channel = open_channel(&connection).await?;
    declare_queue(&channel, queue, 1.0).await?;
    for (exchange, key) in stale {
        let (queue, exchange, key) = (queue.name.as_str(), *exchange, key.as_str());
        let table = FieldTable::default();
        let unbinding = channel.queue_unbind(queue.into(), exchange.into(), key.into(), table);
        call("unbind", unbinding)
            .await
            .with_context(|| format!("unbind {queue} from {exchange}"))?;
    }
    close(&connection).await;
    Ok(())
}

/// Deletes a queue with everything in it; it need not exist.
pub(crate) async fn remove(server: &Server, queue: &str) -> anyhow::Result<()> {
    let connection = server.connect("topology", SENT_FRAME).await?;
    let channel = open_channel(&connection).await?;
    let deleting = channel.queue_delete(queue.into(), QueueDeleteOptions::default());
    let deleted = call("delete", deleting).await;
    deleted.with_context(|| format!("delete queue {queue}"))?;
    close(&connection).await;
    Ok(())
}

async fn declare_queue(channel: &Channel, queue: &Queue, retry_scale: f64) -> anyhow::Result<()> {
    let declaring = channel.queue_declare(
        queue.name.as_str().into(),
        QueueDeclareOptions::durable(),
        arguments(queue, retry_scale),
    );
    call("declare", declaring).await.with_context(|| {
        format!(
            "declare queue {}; if it exists with other arguments, delete it first",
            queue.name
        )
    })?;
    for (exchange, key) in &queue.bindings {
        let binding = channel.queue_bind(
            queue.name.as_str().into(),
            (*exchange).into(),
            key.as_str().into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        call("bind", binding)
            .await
            .with_context(|| format!("bind {} to {exchange}", queue.name))?;
    }
    Ok(())
}

async fn declare_exchange(channel: &Channel, exchange: &Exchange) -> anyhow::Result<()> {
    let kind = match exchange.kind {
        ExchangeType::Topic => ExchangeKind::Topic,
        ExchangeType::Fanout => ExchangeKind::Fanout,
    };
    let mut arguments = FieldTable::default();
    if let Some(alternate) = exchange.alternate {
        arguments.insert("alternate-exchange".into(), text(alternate));
    }
    let options = ExchangeDeclareOptions {
        durable: true,
        ..Default::default()
    };
    call(
        "declare",
        channel.exchange_declare(exchange.name.into(), kind, options, arguments),
    )
    .await
    .with_context(|| format!("declare exchange {}", exchange.name))
}

/// Quorum queues throughout: only they write to disk before they confirm. Dead-lettering is
/// at-least-once, which needs `reject-publish`; anything less loses what expires during a restart.
fn arguments(queue: &Queue, retry_scale: f64) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    let limit = match queue.kind {
        QueueType::Work => DELIVERY_LIMIT,
        QueueType::Retry(_) | QueueType::Park | QueueType::Answers => NO_DELIVERY_LIMIT,
    };
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(limit));
    match queue.kind {
        QueueType::Work => {
            arguments.insert("x-dead-letter-exchange".into(), text(DEAD));
            arguments.insert("x-dead-letter-routing-key".into(), text(&queue.name));
        }
        QueueType::Retry(delay) => {
            let millis = scaled(delay, retry_scale).as_millis();
            let millis = AMQPValue::LongLongInt(i64::try_from(millis).unwrap_or(i64::MAX));
            arguments.insert("x-message-ttl".into(), millis);
            arguments.insert("x-dead-letter-exchange".into(), text(REQUEUE));
        }
        QueueType::Park => return arguments,
        QueueType::Answers => {
            let most = AMQPValue::LongLongInt(MOST_ANSWERS);
            arguments.insert("x-max-length".into(), most);
            return arguments;
        }
    }
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

pub(crate) async fn check(server: &Server) -> anyhow::Result<()> {
    let connection = server.connect("topology", SENT_FRAME).await?;
    let mut missing = Vec::new();
    for exchange in exchanges() {
        let options = ExchangeDeclareOptions {
            passive: true,
            durable: true,
            ..Default::default()
        };
        let channel = open_channel(&connection).await?;
        let declaring = channel.exchange_declare(
            exchange.name.into(),
            ExchangeKind::Topic,
            options,
            FieldTable::default(),
        );
        if call("check", declaring).await.is_err() {
            missing.push(format!("exchange {}", exchange.name));
        }
    }
    for queue in queues() {
        if require_queue(&connection, &queue.name).await.is_err() {
            missing.push(format!("queue {}", queue.name));
        }
    }
    close(&connection).await;
    if !missing.is_empty() {
        bail!(
            "missing on the broker: {}; run `flow topology apply`",
            missing.join(", ")
        );
    }
    Ok(())
}

/// Fails when the queue does not exist. Returns how many messages wait in it.
pub(super) async fn require_queue(connection: &Connection, queue: &str) -> anyhow::Result<u32> {
    let channel = open_channel(connection).await?;
    let options = QueueDeclareOptions {
        passive: true,
        ..Default::default()
    };
    let declaring = channel.queue_declare(queue.into(), options, FieldTable::default());
    let declared = call("check", declaring)
        .await
        .with_context(|| format!("queue {queue} is missing; run `flow topology apply`"))?;
    let count = declared.message_count();
    call("close the channel", channel.close(200, "bye".into())).await?;
    Ok(count)
}

pub(crate) async fn depths(
    server: &Server,
    names: Vec<String>,
) -> anyhow::Result<Vec<(String, u64)>> {
    let connection = server.connect("depths", SENT_FRAME).await?;
    let mut depths = Vec::with_capacity(names.len());
    for name in names {
        let count = require_queue(&connection, &name).await?;
        depths.push((name, u64::from(count)));
    }
    close(&connection).await;
    Ok(depths)
}
