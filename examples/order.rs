//! Places an order straight on RabbitMQ and waits for what becomes of it.
//!
//! ```sh
//! BROKER_URL=amqp://acme:password@host:5672/vhost ACCOUNT=<account id> \
//!     cargo run --example order -- po-4711
//! ```
//!
//! `flow publisher create acme --accounts <account id>` prints user, password and virtual host.
//!
//! What makes it safe: the message is persistent and mandatory and its confirm is awaited, and the
//! reference (here `po-4711`) is your own and stays the same when you send the order again. So send
//! it again whenever you are in doubt.

#![expect(clippy::print_stdout, reason = "what it is for")]
#![expect(clippy::disallowed_methods, reason = "an example has no command line")]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures_util::StreamExt;
use lapin::Confirmation;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;

const KIND: &str = "order.place.v1";
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let url = std::env::var("BROKER_URL").context("BROKER_URL is not set")?;
    let account = std::env::var("ACCOUNT").context("ACCOUNT is not set")?;
    let plan = std::env::var("PLAN").unwrap_or_else(|_| "s".to_owned());
    let reference = std::env::args().nth(1).context("which reference?")?;
    let user = url::Url::parse(&url)?.username().to_owned();

    let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    let order = json!({
        "account_id": account,
        "request": {
            "offering": "cloud-server", "plan": plan, "quantity": 1, "region": "eu-central",
            "name": "web-1", "external_ref": reference,
        },
    });
    let message_id = Uuid::now_v7().to_string();
    publish(&channel, &user, &message_id, &order).await?;
    println!("published {reference}");

    let queue = format!("answers.{user}");
    let (options, table) = (BasicConsumeOptions::default(), FieldTable::default());
    let consuming = channel.basic_consume(queue.into(), "".into(), options, table);
    let mut answers = consuming.await?;
    let mut order_id = Value::Null;
    loop {
        let next = timeout(PATIENCE, answers.next()).await;
        let next = next.context("no answer within a minute; it is safe to send the order again")?;
        let delivery = next.context("the broker ended the session")??;
        delivery.acker.ack(BasicAckOptions::default()).await?;
        let kind = delivery.properties.kind().as_ref();
        let kind = kind.map_or_else(String::new, ToString::to_string);
        let answer: Value = serde_json::from_slice(&delivery.data)?;
        // The queue holds the facts of every order; those of others are for others to read.
        let named = answer["external_ref"] == reference.as_str();
        if kind == "order.accepted.v1" && named {
            order_id = answer["order_id"].clone();
        }
        let of_order = !order_id.is_null() && answer["order_id"] == order_id;
        if !(named || of_order || answer["message_id"] == message_id.as_str()) {
            continue;
        }
        let detail = answer["problem"]["detail"].as_str();
        println!("{kind} {}", detail.unwrap_or_default());
        let code = match kind.as_str() {
            "order.completed.v1" => ExitCode::SUCCESS,
            "order.rejected.v1" | "order.failed.v1" | "message.rejected.v1" => ExitCode::FAILURE,
            _ => continue,
        };
        connection.close(200, "done".into()).await?;
        return Ok(code);
    }
}

/// Returns when the broker has the message on its disk.
async fn publish(channel: &Channel, user: &str, id: &str, order: &Value) -> anyhow::Result<()> {
    let properties = BasicProperties::default()
        .with_type(KIND.into())
        .with_content_type("application/json".into())
        .with_message_id(id.into())
        .with_user_id(user.into())
        .with_delivery_mode(2);
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let body = order.to_string();
    let key = format!("{user}.{KIND}");
    let publishing = channel.basic_publish(
        "orders".into(),
        key.into(),
        options,
        body.as_bytes(),
        properties,
    );
    match timeout(PATIENCE, publishing.await?).await?? {
        Confirmation::Ack(returned) => {
            ensure!(returned.is_none(), "the order reached no queue");
            Ok(())
        }
        refused => bail!("the broker did not take the order: {refused:?}"),
    }
}
