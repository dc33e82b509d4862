//! The deliveries of one queue, over a connection of their own.

use anyhow::{Context, bail};
use futures_util::StreamExt;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};

use super::wire::from_amqp;
use super::{RECEIVED_FRAME, Server, call, open_channel, topology};
use crate::broker::{Acker, Delivery};

const TAG: &str = "flow";

/// One session of a consumer. It ends with the first error; messages that were not acknowledged
/// then come again.
pub(crate) struct Deliveries {
    /// Open for as long as deliveries may be acknowledged.
    _connection: Connection,
    channel: Channel,
    consumer: lapin::Consumer,
    queue: String,
}

impl Deliveries {
    pub(crate) async fn open(server: &Server, queue: &str, prefetch: u16) -> anyhow::Result<Self> {
        let purpose = format!("consume {queue}");
        let connection = server.connect(&purpose, RECEIVED_FRAME).await?;
        // On a channel of its own: a queue that does not exist closes the channel.
        topology::require_queue(&connection, queue).await?;
        let channel = open_channel(&connection).await?;
        call(
            "set the prefetch",
            channel.basic_qos(prefetch, BasicQosOptions::default()),
        )
        .await?;
        let consuming = channel.basic_consume(
            queue.into(),
            TAG.into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let consumer = call("consume", consuming).await?;
        Ok(Self {
            _connection: connection,
            channel,
            consumer,
            queue: queue.to_owned(),
        })
    }

    pub(crate) async fn next(&mut self) -> anyhow::Result<Delivery> {
        match self.consumer.next().await {
            Some(Ok(mut delivery)) => {
                let received = from_amqp(&mut delivery);
                Ok(Delivery {
                    received,
                    acker: Acker::Rabbit(Box::new(delivery)),
                })
            }
            Some(Err(error)) => Err(error).with_context(|| format!("consume {}", self.queue)),
            // A deleted queue or a cancel by the broker is no error to lapin: the stream just ends.
            None => bail!("the broker cancelled the consumer of {}", self.queue),
        }
    }

    pub(crate) async fn cancel(&mut self) {
        let cancelling = self
            .channel
            .basic_cancel(TAG.into(), BasicCancelOptions::default());
        if let Err(error) = call("cancel the consumer", cancelling).await {
            tracing::debug!("{error:#}");
        }
    }
}
