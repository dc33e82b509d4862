//! Publishing: confirmed means kept; what has no queue is not lost.

use std::net::ToSocketAddrs;
use std::time::Duration;

use broker::{Broker, Health, PublishError};
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use schemas::Outgoing;
use schemas::event::OrderAccepted;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::bench::{Bench, SCALE, Transport, message};
use super::{clause, rabbit_clause};
use crate::support::proxy::Proxy;
use crate::support::suite::{Suite, environment};
use crate::support::vhost::Vhost;
use crate::support::wait::eventually;

pub(crate) fn register(suite: &mut Suite) {
    clause(
        suite,
        "a_message_reaches_its_queue_and_no_other",
        a_message_reaches_its_queue_and_no_other,
    );
    clause(
        suite,
        "a_confirmed_message_survives",
        a_confirmed_message_survives,
    );
    clause(
        suite,
        "a_message_without_a_queue_waits_for_a_person",
        a_message_without_a_queue,
    );
    clause(
        suite,
        "a_message_that_nothing_takes_is_an_error",
        a_message_that_nothing_takes,
    );
    clause(suite, "a_fact_needs_no_listener", a_fact_needs_no_listener);
    clause(
        suite,
        "many_publishers_share_a_connection",
        many_publishers_share_a_connection,
    );
    rabbit_clause(
        suite,
        "headers_larger_than_our_frames_are_received",
        headers_larger_than_our_frames_are_received,
    );
    clause(
        suite,
        "an_idle_publisher_goes_on_publishing",
        an_idle_publisher_goes_on_publishing,
    );
    rabbit_clause(
        suite,
        "a_broker_that_is_away_is_said_at_once",
        a_broker_that_is_away,
    );
    rabbit_clause(
        suite,
        "returned_messages_are_told_apart",
        returned_messages_are_told_apart,
    );
}

async fn a_message_reaches_its_queue_and_no_other(transport: Transport) {
    let bench = Bench::start(transport).await;
    bench.publish().await;
    bench.depth("invoice", 1).await;
    let depths = bench.broker.depths().await.unwrap();
    assert_eq!(
        depths.iter().map(|(_, depth)| depth).sum::<u64>(),
        1,
        "{depths:?}"
    );
    bench.finish().await;
}

async fn a_confirmed_message_survives(transport: Transport) {
    let mut bench = Bench::start(transport).await;
    for _ in 0..10 {
        bench.publish().await;
    }
    match transport {
        Transport::Embedded => {
            // Everything of this process goes away; a new one opens the file.
            let file = bench.file();
            let url = format!("embedded:{}", file.display()).parse().unwrap();
            let elsewhere = Bench::start(transport).await;
            (bench.broker, bench.publisher) =
                (elsewhere.broker.clone(), elsewhere.publisher.clone());
            drop(elsewhere);
            let broker = eventually("the file to be free", async || {
                Broker::open(&url, "test", SCALE).await.ok()
            })
            .await;
            bench.publisher = broker.publisher();
            bench.broker = broker;
        }
        Transport::Rabbit => bench.vhost.as_ref().unwrap().close_connections().await,
    }
    bench.depth("invoice", 10).await;
    bench.finish().await;
}

async fn a_message_without_a_queue(transport: Transport) {
    let bench = Bench::start(transport).await;
    let mut outgoing = message(Uuid::now_v7());
    outgoing.exchange = "tickets";
    outgoing.routing_key = "acme.ticket.raise.v9".to_owned();
    bench.publisher.publish(&outgoing).await.unwrap();
    let parked = bench.parked().recv().await.unwrap();
    assert_eq!(
        (parked.queue.as_str(), parked.reason.as_str()),
        ("unrouted", "unrouted")
    );
    assert_eq!(
        (parked.message_id, parked.body),
        (outgoing.id, outgoing.body)
    );
    assert_eq!(
        (
            parked.origin_exchange.as_str(),
            parked.origin_routing_key.as_str()
        ),
        ("tickets", "acme.ticket.raise.v9")
    );
    bench.finish().await;
}

async fn a_message_that_nothing_takes(transport: Transport) {
    let bench = Bench::start(transport).await;
    let mut outgoing = message(Uuid::now_v7());
    match transport {
        // An exchange that does not exist.
        Transport::Embedded => outgoing.exchange = "nowhere",
        // An exchange whose alternate is gone.
        Transport::Rabbit => {
            bench
                .vhost
                .as_ref()
                .unwrap()
                .delete_exchange("unrouted")
                .await;
            outgoing.routing_key = "unheard.of".to_owned();
        }
    }
    let refused = bench.publisher.publish(&outgoing).await;
    assert!(
        matches!(refused, Err(PublishError::Unroutable(_))),
        "{refused:?}"
    );
    // The publisher goes on.
    bench.publish().await;
    bench.finish().await;
}

async fn a_fact_needs_no_listener(transport: Transport) {
    let bench = Bench::start(transport).await;
    let id = Uuid::now_v7();
    let fact = OrderAccepted {
        order_id: id,
        account_id: id,
        external_ref: None,
        placed_at: chrono::Utc::now(),
    };
    bench
        .publisher
        .publish(&Outgoing::new(id, id, &fact))
        .await
        .unwrap();
    bench.publish().await;
    bench.depth("invoice", 1).await;
    bench.finish().await;
}

async fn many_publishers_share_a_connection(transport: Transport) {
    let bench = Bench::start(transport).await;
    let publishing = (0..500).map(|_| {
        let publisher = bench.publisher.clone();
        tokio::spawn(async move { publisher.publish(&message(Uuid::now_v7())).await })
    });
    for published in publishing.collect::<Vec<_>>() {
        published.await.unwrap().unwrap();
    }
    bench.depth("invoice", 500).await;
    assert_eq!(bench.publisher.health(), Health::Up);
    bench.finish().await;
}

async fn a_broker_that_is_away(_: Transport) {
    let url: reqwest::Url = environment("TEST_AMQP_URL").unwrap().parse().unwrap();
    let target = (url.host_str().unwrap(), url.port().unwrap())
        .to_socket_addrs()
        .unwrap()
        .next()
        .unwrap();
    let proxy = Proxy::start(target).await;
    let vhost = Vhost::create().await;
    let broker = Broker::open(
        &vhost.url_through(proxy.port()).parse().unwrap(),
        "test",
        SCALE,
    )
    .await
    .unwrap();
    broker.apply_topology().await.unwrap();
    let publisher = broker.publisher();
    publisher.publish(&message(Uuid::now_v7())).await.unwrap();
    assert_eq!(publisher.health(), Health::Up);

    proxy.close();
    let refused = eventually("the loss to be noticed", async || {
        publisher.publish(&message(Uuid::now_v7())).await.err()
    })
    .await;
    assert!(
        matches!(refused, PublishError::Unavailable(_)),
        "{refused:?}"
    );
    eventually("the health to tell", async || {
        (publisher.health() == Health::Down).then_some(())
    })
    .await;

    proxy.reopen();
    eventually("the connection to return", async || {
        publisher.publish(&message(Uuid::now_v7())).await.ok()
    })
    .await;
    assert_eq!(publisher.health(), Health::Up);
    vhost.remove().await;
}

async fn returned_messages_are_told_apart(transport: Transport) {
    let bench = Bench::start(transport).await;
    bench
        .vhost
        .as_ref()
        .unwrap()
        .delete_exchange("unrouted")
        .await;
    // One in ten has no queue. lapin may hand the return to a neighbour's confirm.
    let publishing = (0..1000).map(|index| {
        let publisher = bench.publisher.clone();
        tokio::spawn(async move {
            let mut outgoing = message(Uuid::now_v7());
            if index % 10 == 0 {
                outgoing.routing_key = "unheard.of".to_owned();
            }
            (index, publisher.publish(&outgoing).await)
        })
    });
    for published in publishing.collect::<Vec<_>>() {
        let (index, outcome) = published.await.unwrap();
        assert_eq!(
            outcome.is_ok(),
            index % 10 != 0,
            "message {index}: {outcome:?}"
        );
    }
    bench.depth("invoice", 900).await;
    bench.finish().await;
}

async fn an_idle_publisher_goes_on_publishing(transport: Transport) {
    let bench = Bench::start(transport).await;
    // Idleness is the condition: the publisher looks at its connection every second.
    tokio::time::sleep(Duration::from_secs(6)).await;
    for _ in 0..10 {
        bench.publish().await;
    }
    assert_eq!(bench.publisher.health(), Health::Up);
    bench.depth("invoice", 10).await;
    bench.finish().await;
}

async fn headers_larger_than_our_frames_are_received(transport: Transport) {
    let bench = Bench::start(transport).await;
    let url = bench.vhost.as_ref().unwrap().url();
    let connection = Connection::connect(&url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut headers = FieldTable::default();
    headers.insert(
        "essay".into(),
        AMQPValue::LongString("x".repeat(100_000).into()),
    );
    let outgoing = message(Uuid::now_v7());
    let properties = BasicProperties::default()
        .with_message_id(outgoing.id.to_string().into())
        .with_type(outgoing.kind.into())
        .with_content_type("application/json".into())
        .with_headers(headers);
    let (exchange, key) = (
        outgoing.exchange.into(),
        outgoing.routing_key.as_str().into(),
    );
    let options = BasicPublishOptions::default();
    channel
        .basic_publish(exchange, key, options, &outgoing.body, properties)
        .await
        .unwrap();
    let small = bench.publish().await;
    let (sender, mut handled) = mpsc::unbounded_channel();
    let consuming = bench.consume(1, move |envelope| {
        sender.send(envelope.id).unwrap();
        async { Ok(vec![]) }
    });
    let both = [handled.recv().await, handled.recv().await];
    assert!(both.contains(&Some(outgoing.id)) && both.contains(&Some(small)));
    consuming.stop().await;
    bench.finish().await;
}
