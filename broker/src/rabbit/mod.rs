//! RabbitMQ, over lapin.
//!
//! lapin's own recovery stays off: once its retries are used up it leaves consumers that look alive
//! and never receive anything. Here every session is built anew by whoever owns it. Every await has
//! a timeout, for lapin's can wait for ever on a broker that is blocked or half dead.

pub(crate) mod access;
mod consumer;
mod publisher;
pub(crate) mod topology;
mod wire;

use std::time::Duration;

use anyhow::{Context, bail};
use lapin::options::BasicAckOptions;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::time::timeout;

pub(crate) use consumer::Deliveries;
pub(crate) use lapin::message::Delivery as Delivered;
pub(crate) use publisher::Publisher;

pub(crate) const SYSTEM: &str = "rabbitmq";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Seconds between heartbeats; a dead peer is noticed after two.
const HEARTBEAT: u16 = 10;
/// The largest frame that is sent. lapin keeps buffers of 64 frames for a connection; ours are small.
const SENT_FRAME: u32 = 16 * 1024;
/// The largest frame that is received: headers fit into one frame, and a publisher's own may be as
/// large as RabbitMQ's default. A message with larger ones than this could not be delivered, and
/// would block its queue.
const RECEIVED_FRAME: u32 = 128 * 1024;

/// The address of a RabbitMQ server and who we are to it.
#[derive(Clone)]
pub(crate) struct Server {
    uri: AMQPUri,
    name: String,
}

impl Server {
    pub(crate) fn new(url: &str, name: &str) -> anyhow::Result<Self> {
        let mut uri: AMQPUri = url
            .parse()
            .map_err(anyhow::Error::msg)
            .context("parse the broker URL")?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        Ok(Self {
            uri,
            name: name.to_owned(),
        })
    }

    pub(crate) fn user(&self) -> &str {
        &self.uri.authority.userinfo.username
    }

    pub(crate) fn vhost(&self) -> &str {
        &self.uri.vhost
    }

    /// Opens a connection for `purpose`, which RabbitMQ's connection list will show.
    async fn connect(&self, purpose: &str, frame_max: u32) -> anyhow::Result<Connection> {
        let mut uri = self.uri.clone();
        uri.query.frame_max = Some(frame_max);
        let properties = ConnectionProperties::default()
            .with_connection_name(format!("{} {purpose}", self.name).into());
        let connecting = Connection::connect_uri(uri, properties);
        let address = format!("{}:{}", self.uri.authority.host, self.uri.authority.port);
        timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| anyhow::anyhow!("no answer within {CONNECT_TIMEOUT:?}"))
            .and_then(|connected| connected.map_err(Into::into))
            .with_context(|| format!("connect to RabbitMQ at {address}"))
    }
}

/// Awaits a lapin call, at most [`CALL_TIMEOUT`].
async fn call<T>(what: &str, future: impl Future<Output = lapin::Result<T>>) -> anyhow::Result<T> {
    match timeout(CALL_TIMEOUT, future).await {
        Ok(result) => result.with_context(|| what.to_owned()),
        Err(_) => bail!("{what}: no answer within {CALL_TIMEOUT:?}"),
    }
}

async fn open_channel(connection: &Connection) -> anyhow::Result<Channel> {
    call("open a channel", connection.create_channel()).await
}

/// Says goodbye. The connection dies with its last reference if the broker does not answer.
async fn close(connection: &Connection) {
    timeout(CLOSE_TIMEOUT, connection.close(200, "bye".into()))
        .await
        .ok();
}

pub(crate) async fn ack(acker: &Delivered) -> anyhow::Result<()> {
    match timeout(ACK_TIMEOUT, acker.ack(BasicAckOptions::default())).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => bail!("the channel closed before the acknowledgement"),
        Ok(Err(error)) => Err(error).context("acknowledge"),
        Err(_) => bail!("acknowledge: no answer within {ACK_TIMEOUT:?}"),
    }
}
