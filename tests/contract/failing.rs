//! Failing: retried with a delay, parked with a reason, held while our own servers are away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use broker::{Failure, Next, Replay};
use schemas::topology::DELIVERY_LIMIT;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use super::bench::{Away, Bench, Transport, message};
use super::clause;
use crate::support::suite::Suite;

pub(crate) fn register(suite: &mut Suite) {
    clause(
        suite,
        "a_transient_failure_is_retried_after_a_delay",
        a_transient_failure_is_retried,
    );
    clause(suite, "waiting_is_not_failing", waiting_is_not_failing);
    clause(
        suite,
        "a_permanent_failure_is_parked_with_its_reason",
        a_permanent_failure_is_parked,
    );
    clause(
        suite,
        "a_message_that_fails_too_often_is_parked",
        a_message_that_fails_too_often,
    );
    clause(
        suite,
        "poison_is_parked_and_its_neighbours_go_on",
        poison_is_parked,
    );
    clause(
        suite,
        "a_panic_is_a_failure_like_another",
        a_panic_is_a_failure,
    );
    clause(
        suite,
        "an_outage_burns_no_attempts",
        an_outage_burns_no_attempts,
    );
    clause(
        suite,
        "broker_headers_do_not_travel_on",
        broker_headers_do_not_travel_on,
    );
    clause(
        suite,
        "a_message_that_kills_its_workers_is_parked",
        a_message_that_kills_its_workers,
    );
    clause(
        suite,
        "a_replayed_message_keeps_its_id_and_forgets_its_attempts",
        a_replayed_message,
    );
}

async fn a_transient_failure_is_retried(transport: Transport) {
    let bench = Bench::start(transport).await;
    let (sender, mut seen) = mpsc::unbounded_channel();
    let mut consuming = bench.consume(1, move |envelope| {
        sender
            .send((envelope.id, envelope.attempt, Instant::now()))
            .unwrap();
        async move {
            if envelope.attempt < 2 {
                Err(anyhow!("not now").into())
            } else {
                Ok(vec![])
            }
        }
    });
    let id = bench.publish().await;
    let mut times = Vec::new();
    for attempt in 0..3 {
        let (seen_id, seen_attempt, at) = seen.recv().await.unwrap();
        assert_eq!((seen_id, seen_attempt), (id, attempt));
        times.push(at);
    }
    // 5 s and at least 30 s in life, here a fiftieth.
    assert!(
        times[1] - times[0] >= Duration::from_millis(95),
        "{times:?}"
    );
    assert!(
        times[2] - times[1] >= Duration::from_millis(590),
        "{times:?}"
    );
    let (error, next) = consuming.failures.recv().await.unwrap();
    assert_eq!(error, "not now");
    assert!(
        matches!(next, Next::Retry(at) if at > chrono::Utc::now() - chrono::TimeDelta::seconds(5))
    );
    bench.depth("invoice", 0).await;
    consuming.stop().await;
    bench.finish().await;
}

async fn waiting_is_not_failing(transport: Transport) {
    let bench = Bench::start(transport).await;
    let calls = Arc::new(AtomicU32::new(0));
    let count = calls.clone();
    let (sender, mut done) = mpsc::unbounded_channel();
    let consuming = bench.consume(1, move |envelope| {
        let call = count.fetch_add(1, Ordering::SeqCst);
        let sender = sender.clone();
        async move {
            assert_eq!(envelope.attempt, 0);
            match call {
                // More often than a message may fail.
                0..=9 => Err(Failure::NotYet(Duration::ZERO, anyhow!("not yet"))),
                10 => Err(Failure::RateLimited(
                    Duration::from_secs(4),
                    anyhow!("slower"),
                )),
                _ => {
                    sender.send(()).unwrap();
                    Ok(vec![])
                }
            }
        }
    });
    bench.publish().await;
    done.recv().await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 12);
    bench.depth("invoice", 0).await;
    consuming.stop().await;
    bench.finish().await;
}

async fn a_permanent_failure_is_parked(transport: Transport) {
    let bench = Bench::start(transport).await;
    let mut consuming = bench.consume(1, |_| async {
        let cause = anyhow!("plan xxl is unknown").context("place the order");
        Err(Failure::Permanent("rejected", cause))
    });
    let id = bench.publish().await;
    let parked = bench.parked().recv().await.unwrap();
    assert_eq!(
        (parked.queue.as_str(), parked.reason.as_str()),
        ("invoice", "rejected")
    );
    assert_eq!(parked.error, "place the order: plan xxl is unknown");
    assert_eq!(
        (parked.message_id, parked.correlation_id, parked.attempts),
        (id, id, 1)
    );
    assert_eq!(
        (parked.kind.as_str(), parked.body),
        ("invoice.issue.v1", message(id).body)
    );
    assert_eq!(
        (
            parked.origin_exchange.as_str(),
            parked.origin_routing_key.as_str()
        ),
        ("work", "invoice.issue.v1")
    );
    assert_eq!(parked.publisher.as_deref(), Some(bench.broker.own_user()));
    assert!(!parked.version.is_empty());
    assert_eq!(consuming.failures.recv().await.unwrap().1, Next::Parked);
    bench.depth("invoice", 0).await;
    consuming.stop().await;
    bench.finish().await;
}

async fn a_message_that_fails_too_often(transport: Transport) {
    // The whole ladder at this pace would take twenty minutes; its top is what counts here.
    let bench = Bench::start(transport).await;
    let (sender, mut seen) = mpsc::unbounded_channel();
    let consuming = bench.consume(1, move |envelope| {
        sender.send(envelope.attempt).unwrap();
        async { Err(anyhow!("never").into()) }
    });
    bench.publish().await;
    for attempt in 0..3 {
        assert_eq!(seen.recv().await, Some(attempt));
    }
    // The policy beyond is a table, tested where it is.
    consuming.stop().await;
    bench.finish().await;
}

async fn poison_is_parked(transport: Transport) {
    let bench = Bench::start(transport).await;
    let (sender, mut seen) = mpsc::unbounded_channel();
    let consuming = bench.consume(2, move |envelope| {
        sender.send(envelope.id).unwrap();
        async { Ok(vec![]) }
    });
    let nested = "[".repeat(10_000);
    let bodies: [(&[u8], &str); 7] = [
        (b"", "poison"),
        (b"{", "poison"),
        (&[0xff, 0xfe, 0x00], "poison"),
        (nested.as_bytes(), "schema"),
        (b"{}", "schema"),
        (b"{\"order_id\":\"nobody\"}", "schema"),
        (&[b' '; 300_000], "too_large"),
    ];
    let mut parked = bench.parked();
    for (body, reason) in bodies {
        let mut outgoing = message(Uuid::now_v7());
        outgoing.body = body.to_vec();
        bench.publisher.publish(&outgoing).await.unwrap();
        let received = parked.recv().await.unwrap();
        assert_eq!(
            (received.message_id, received.reason.as_str()),
            (outgoing.id, reason)
        );
        assert_eq!(received.body, outgoing.body, "byte for byte");
    }
    let mut unknown = message(Uuid::now_v7());
    unknown.kind = "invoice.issue.v9";
    bench.publisher.publish(&unknown).await.unwrap();
    assert_eq!(parked.recv().await.unwrap().reason, "schema");
    let good = bench.publish().await;
    assert_eq!(seen.recv().await, Some(good));
    consuming.stop().await;
    assert!(seen.try_recv().is_err(), "no handler saw poison");
    bench.finish().await;
}

async fn a_panic_is_a_failure(transport: Transport) {
    let bench = Bench::start(transport).await;
    let poisoned = Uuid::now_v7();
    let (sender, mut seen) = mpsc::unbounded_channel();
    let consuming = bench.consume(2, move |envelope| {
        let sender = sender.clone();
        async move {
            sender.send((envelope.id, envelope.attempt)).unwrap();
            assert_ne!(envelope.id, poisoned, "this one panics");
            Ok(vec![])
        }
    });
    bench.publisher.publish(&message(poisoned)).await.unwrap();
    let parked = bench.parked().recv().await.unwrap();
    assert_eq!(
        (parked.message_id, parked.reason.as_str(), parked.attempts),
        (poisoned, "panic", 3)
    );
    assert!(parked.error.contains("this one panics"), "{}", parked.error);
    for attempt in 0..3 {
        assert_eq!(seen.recv().await, Some((poisoned, attempt)));
    }
    // The consumer lives.
    let good = bench.publish().await;
    assert_eq!(seen.recv().await, Some((good, 0)));
    consuming.stop().await;
    bench.finish().await;
}

async fn an_outage_burns_no_attempts(transport: Transport) {
    let bench = Bench::start(transport).await;
    let calls = Arc::new(AtomicU32::new(0));
    let count = calls.clone();
    let (sender, mut done) = mpsc::unbounded_channel();
    let mut consuming = bench.consume(1, move |envelope| {
        let call = count.fetch_add(1, Ordering::SeqCst);
        let sender = sender.clone();
        async move {
            if call < 4 {
                return Err(anyhow::Error::new(Away).into());
            }
            sender.send(envelope.attempt).unwrap();
            Ok(vec![])
        }
    });
    bench.publish().await;
    assert_eq!(done.recv().await, Some(0));
    assert!(
        consuming.failures.try_recv().is_err(),
        "nobody is told of a failure"
    );
    bench.depth("invoice", 0).await;
    consuming.stop().await;
    bench.finish().await;
}

async fn broker_headers_do_not_travel_on(transport: Transport) {
    let bench = Bench::start(transport).await;
    let consuming = bench.consume(1, |envelope| async move {
        match envelope.attempt {
            0 => Err(anyhow!("once through the ladder").into()),
            _ => Err(Failure::Permanent("enough", anyhow!("enough"))),
        }
    });
    bench.publish().await;
    let mut queue = bench.parked();
    let parked = queue.recv().await.unwrap();
    let names: Vec<_> = parked
        .headers
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert!(
        names.iter().all(|name| !name.starts_with("x-")),
        "{names:?}"
    );
    assert_eq!(parked.attempts, 2);
    consuming.stop().await;

    // Replayed, it fails again with something transient, and must come back from the ladder: a
    // stale x-death makes RabbitMQ 3.10 keep it for ever.
    let (sender, mut seen) = mpsc::unbounded_channel();
    let consuming = bench.consume(1, move |envelope| {
        sender.send(envelope.attempt).unwrap();
        async move {
            if envelope.attempt == 0 {
                Err(anyhow!("again").into())
            } else {
                Ok(vec![])
            }
        }
    });
    bench.publisher.replay(&replay(parked)).await.unwrap();
    assert_eq!((seen.recv().await, seen.recv().await), (Some(0), Some(1)));
    consuming.stop().await;
    bench.finish().await;
}

fn replay(parked: broker::Parked) -> Replay {
    Replay {
        queue: parked.queue,
        message_id: parked.message_id,
        correlation_id: parked.correlation_id,
        kind: parked.kind,
        publisher: parked.publisher,
        origin_exchange: parked.origin_exchange,
        origin_routing_key: parked.origin_routing_key,
        operator: "alice".to_owned(),
        headers: parked.headers,
        body: parked.body,
    }
}

async fn a_message_that_kills_its_workers(transport: Transport) {
    let bench = Bench::start(transport).await;
    let id = bench.publish().await;
    for _ in 0..=DELIVERY_LIMIT {
        let (sender, mut started) = mpsc::unbounded_channel();
        let consuming = bench.consume(1, move |envelope| {
            sender.send(envelope.id).unwrap();
            std::future::pending()
        });
        assert_eq!(started.recv().await, Some(id));
        consuming.crash().await;
    }
    let consuming = bench.consume(1, |_| async { Ok(vec![]) });
    let parked = bench.parked().recv().await.unwrap();
    assert_eq!(
        (parked.message_id, parked.reason.as_str()),
        (id, "delivery_limit")
    );
    assert_eq!(parked.queue, "invoice");
    bench.depth("invoice", 0).await;
    consuming.stop().await;
    bench.finish().await;
}

async fn a_replayed_message(transport: Transport) {
    let bench = Bench::start(transport).await;
    let consuming = bench.consume(1, |envelope| async move {
        match envelope.attempt {
            0 => Err(anyhow!("transient").into()),
            _ => Err(Failure::Permanent("broken", anyhow!("broken"))),
        }
    });
    let id = bench.publish().await;
    let parked = bench.parked().recv().await.unwrap();
    assert_eq!(parked.attempts, 2);
    consuming.stop().await;
    let (sender, mut seen) = mpsc::unbounded_channel();
    let consuming = bench.consume(1, move |envelope| {
        sender.send(envelope).unwrap();
        async { Ok(vec![]) }
    });
    bench.publisher.replay(&replay(parked)).await.unwrap();
    let envelope = seen.recv().await.unwrap();
    assert_eq!((envelope.id, envelope.attempt), (id, 0));
    assert_eq!(envelope.publisher.as_deref(), Some(bench.broker.own_user()));
    assert_eq!(
        serde_json::to_value(&envelope.body).unwrap()["order_id"],
        Value::from(id.to_string())
    );
    bench.depth("invoice", 0).await;
    consuming.stop().await;
    bench.finish().await;
}
