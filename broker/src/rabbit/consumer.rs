//! The deliveries of one queue or several, over a connection of their own.

use anyhow::{Context, anyhow};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, SelectAll};
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};

use super::wire::from_amqp;
use super::{RECEIVED_FRAME, Server, call, open_channel, topology};
use crate::broker::{Acker, Delivery};

/// One session of a consumer. It ends with the first error; messages that were not acknowledged
/// then come again.
pub(crate) struct Deliveries {
    /// Open for as long as deliveries may be acknowledged.
    _connection: Connection,
    channel: Channel,
    /// Of each queue; each ends with the error that it ended.
    deliveries: SelectAll<BoxStream<'static, anyhow::Result<lapin::message::Delivery>>>,
    queues: Vec<String>,
}

impl Deliveries {
    /// Up to `prefetch` messages of each queue are delivered ahead.
    pub(crate) async fn open(
        server: &Server,
        queues: &[&str],
        prefetch: u16,
    ) -> anyhow::Result<Self> {
        let purpose = format!("consume {}", queues.join(", "));
        let connection = server.connect(&purpose, RECEIVED_FRAME).await?;
        // On a channel of its own: a queue that does not exist closes the channel.
        for queue in queues {
            topology::require_queue(&connection, queue).await?;
        }
        let channel = open_channel(&connection).await?;
        call(
            "set the prefetch",
            channel.basic_qos(prefetch, BasicQosOptions::default()),
        )
        .await?;
        let mut deliveries = SelectAll::new();
        for queue in queues.iter().copied() {
            let consuming = channel.basic_consume(
                queue.into(),
                // The name of the queue is the consumer's tag.
                queue.into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            );
            let consumer = call("consume", consuming).await?;
            let queue = queue.to_owned();
            // A deleted queue or a cancel by the broker is no error to lapin: the stream just ends.
            let cancelled = anyhow!("the broker cancelled the consumer of {queue}");
            let delivered = consumer
                .map(move |delivery| delivery.with_context(|| format!("consume {queue}")))
                .chain(stream::once(async { Err(cancelled) }));
            deliveries.push(delivered.boxed());
        }
        Ok(Self {
            _connection: connection,
            channel,
            deliveries,
            queues: queues.iter().map(|queue| (*queue).to_owned()).collect(),
        })
    }

    pub(crate) async fn next(&mut self) -> anyhow::Result<Delivery> {
        let next = self.deliveries.next().await;
        let mut delivery = next.context("every consumer has ended")??;
        Ok(Delivery {
            received: from_amqp(&mut delivery),
            acker: Acker::Rabbit(Box::new(delivery)),
        })
    }

    pub(crate) async fn cancel(&mut self) {
        for queue in &self.queues {
            let cancelling = self
                .channel
                .basic_cancel(queue.as_str().into(), BasicCancelOptions::default());
            if let Err(error) = call("cancel the consumer", cancelling).await {
                tracing::debug!("{error:#}");
            }
        }
    }
}
