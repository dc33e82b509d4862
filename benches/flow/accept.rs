//! `accept`: orders accepted over HTTP, against the same messages published without HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use schemas::order::OrderPlace;
use schemas::{Message, Outgoing};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::load::{CLIENTS, accepted_per_second};
use crate::place::{Place, discard, order};
use crate::support::vhost::Vhost;
use crate::{median, report};

const ROUND: Duration = Duration::from_secs(4);
const ROUNDS: usize = 5;

pub(crate) async fn run(place: Place) {
    let (mut limits, mut values) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let limit = match place {
            Place::Distributed => bare_lapin().await,
            Place::Embedded => bare_queue().await,
        };
        let value = ingress(place).await;
        // The first round warms up.
        if round > 0 {
            limits.push(limit);
            values.push(value);
        }
        eprintln!("accept: round {round}: bare {limit:.0}/s, ingress {value:.0}/s");
    }
    report(place, "accept", median(values), "1/s", Some(median(limits)));
}

/// The message of an accepted order.
fn message() -> Outgoing {
    let id = Uuid::now_v7();
    let request = serde_json::from_value(order()).unwrap();
    let place = OrderPlace {
        order_id: Some(id),
        account_id: id,
        placed_at: Some(chrono::Utc::now()),
        request,
    };
    Outgoing::entry("ingress", id, id, &place)
}

/// Published and confirmed by lapin alone, by as many publishers as there are clients.
async fn bare_lapin() -> f64 {
    let vhost = Vhost::create().await;
    let broker = broker::Broker::open(&vhost.url().parse().unwrap(), "bench", 1.0)
        .await
        .unwrap();
    broker.apply_topology().await.unwrap();
    let url: reqwest::Url = vhost.url().parse().unwrap();
    let user = url.username().to_owned();
    let connection = Connection::connect(&vhost.url(), ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .unwrap();
    let published = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let mut publishers = JoinSet::new();
    for _ in 0..CLIENTS {
        let (channel, published) = (channel.clone(), published.clone());
        let user = user.clone();
        publishers.spawn(async move {
            while began.elapsed() < ROUND {
                let outgoing = message();
                let properties = properties(&outgoing, &user);
                let options = BasicPublishOptions {
                    mandatory: true,
                    ..BasicPublishOptions::default()
                };
                let (exchange, key) = (
                    outgoing.exchange.into(),
                    outgoing.routing_key.as_str().into(),
                );
                let publishing =
                    channel.basic_publish(exchange, key, options, &outgoing.body, properties);
                assert!(publishing.await.unwrap().await.unwrap().is_ack());
                published.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    publishers.join_all().await;
    let seconds = began.elapsed().as_secs_f64();
    // Dropping the channel closes it too, and whichever comes second is refused.
    connection.close(200, "done".into()).await.ok();
    vhost.remove().await;
    f64::from(u32::try_from(published.load(Ordering::Relaxed)).unwrap()) / seconds
}

/// The properties that the ingress gives the message too.
fn properties(outgoing: &Outgoing, user: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    headers.insert(
        "traceparent".into(),
        AMQPValue::LongString(traceparent.into()),
    );
    let seconds = u64::try_from(chrono::Utc::now().timestamp()).unwrap();
    BasicProperties::default()
        .with_delivery_mode(2)
        .with_user_id(user.into())
        .with_message_id(outgoing.id.to_string().into())
        .with_correlation_id(outgoing.correlation_id.to_string().into())
        .with_type(OrderPlace::KIND.into())
        .with_content_type("application/json".into())
        .with_app_id("ingress".into())
        .with_timestamp(seconds)
        .with_headers(headers)
}

/// Published to the embedded queue without HTTP.
async fn bare_queue() -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("embedded:{}", folder.path().join("queue.db").display());
    let broker = broker::Broker::open(&url.parse().unwrap(), "bench", 1.0)
        .await
        .unwrap();
    let publisher = broker.publisher();
    let published = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let mut publishers = JoinSet::new();
    for _ in 0..CLIENTS {
        let (publisher, published) = (publisher.clone(), published.clone());
        publishers.spawn(async move {
            while began.elapsed() < ROUND {
                publisher.publish(&message()).await.unwrap();
                published.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    publishers.join_all().await;
    f64::from(u32::try_from(published.load(Ordering::Relaxed)).unwrap())
        / began.elapsed().as_secs_f64()
}

/// Accepted by an ingress that nobody works behind.
async fn ingress(place: Place) -> f64 {
    let mut system = place.system().await;
    system.start_part("ingress");
    system.find_api().await;
    let value = accepted_per_second(&system.client, ROUND).await;
    discard(system).await;
    value
}
