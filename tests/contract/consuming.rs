//! Consuming: at least once, no more at once than asked for, and in good order at the end.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use schemas::Message;
use schemas::document::DocumentRender;
use schemas::invoice::InvoiceIssue;
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

use super::bench::{Bench, Transport, message};
use super::{clause, rabbit_clause};
use crate::support::suite::Suite;
use crate::support::wait::eventually;

pub(crate) fn register(suite: &mut Suite) {
    clause(
        suite,
        "a_handler_sees_the_envelope_and_what_follows_is_published",
        a_handler_sees_the_envelope,
    );
    clause(
        suite,
        "a_message_of_a_lost_consumer_comes_again",
        a_message_of_a_lost_consumer_comes_again,
    );
    clause(
        suite,
        "no_more_handlers_run_than_asked_for",
        no_more_handlers_run_than_asked_for,
    );
    clause(
        suite,
        "a_shutdown_lets_running_handlers_finish",
        a_shutdown_lets_running_handlers_finish,
    );
    clause(
        suite,
        "ten_thousand_messages_are_each_handled",
        ten_thousand_messages_are_each_handled,
    );
    clause(
        suite,
        "two_consumers_share_the_work",
        two_consumers_share_the_work,
    );
    rabbit_clause(
        suite,
        "closed_connections_are_opened_again",
        closed_connections_are_opened_again,
    );
    rabbit_clause(
        suite,
        "a_deleted_queue_is_waited_for",
        a_deleted_queue_is_waited_for,
    );
}

async fn a_handler_sees_the_envelope(transport: Transport) {
    let bench = Bench::start(transport).await;
    let (sender, mut seen) = mpsc::unbounded_channel();
    let consuming = bench.consume(2, move |envelope| {
        let sender = sender.clone();
        async move {
            let follow_up = envelope.follow_up(&DocumentRender {
                invoice_id: envelope.body.order_id,
            });
            sender.send(envelope).unwrap();
            Ok(vec![follow_up])
        }
    });
    let id = bench.publish().await;
    let envelope = seen.recv().await.unwrap();
    assert_eq!(
        (envelope.id, envelope.correlation_id, envelope.body),
        (id, id, InvoiceIssue { order_id: id })
    );
    assert_eq!((envelope.queue, envelope.attempt), ("invoice", 0));
    assert_eq!(envelope.publisher.as_deref(), Some(bench.broker.own_user()));
    assert!(envelope.published_at.is_some());
    bench.depth("document", 1).await;
    bench.depth("invoice", 0).await;
    consuming.stop().await;
    assert!(seen.try_recv().is_err(), "once is enough");
    bench.finish().await;
}

async fn a_message_of_a_lost_consumer_comes_again(transport: Transport) {
    let bench = Bench::start(transport).await;
    let (sender, mut seen) = mpsc::unbounded_channel();
    let first = sender.clone();
    let consuming = bench.consume(4, move |envelope| {
        first.send(envelope.id).unwrap();
        std::future::pending()
    });
    let mut published: Vec<Uuid> = Vec::new();
    for _ in 0..4 {
        published.push(bench.publish().await);
    }
    for _ in 0..4 {
        seen.recv().await.unwrap();
    }
    consuming.crash().await;
    let consuming = bench.consume(4, move |envelope| {
        sender.send(envelope.id).unwrap();
        async { Ok(vec![]) }
    });
    let mut again = Vec::new();
    for _ in 0..4 {
        again.push(seen.recv().await.unwrap());
    }
    again.sort();
    published.sort();
    assert_eq!(again, published);
    bench.depth("invoice", 0).await;
    consuming.stop().await;
    bench.finish().await;
}

async fn no_more_handlers_run_than_asked_for(transport: Transport) {
    let bench = Bench::start(transport).await;
    let (running, most, gate) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
        Arc::new(Semaphore::new(0)),
    );
    let (count, peak, door) = (running.clone(), most.clone(), gate.clone());
    let consuming = bench.consume(3, move |_| {
        let (count, peak, door) = (count.clone(), peak.clone(), door.clone());
        async move {
            let now = count.fetch_add(1, Ordering::SeqCst) + 1;
            peak.fetch_max(now, Ordering::SeqCst);
            door.acquire().await.unwrap().forget();
            count.fetch_sub(1, Ordering::SeqCst);
            Ok(vec![])
        }
    });
    for _ in 0..20 {
        bench.publish().await;
    }
    for round in 0..20 {
        let expected = 3.min(20 - round);
        eventually("the slots to be full", async || {
            (running.load(Ordering::SeqCst) == expected).then_some(())
        })
        .await;
        gate.add_permits(1);
    }
    bench.depth("invoice", 0).await;
    assert_eq!(most.load(Ordering::SeqCst), 3);
    consuming.stop().await;
    bench.finish().await;
}

async fn a_shutdown_lets_running_handlers_finish(transport: Transport) {
    let bench = Bench::start(transport).await;
    let gate = Arc::new(Semaphore::new(0));
    let (sender, mut started) = mpsc::unbounded_channel();
    let door = gate.clone();
    let consuming = bench.consume(2, move |envelope| {
        let (door, sender) = (door.clone(), sender.clone());
        async move {
            sender.send(envelope.id).unwrap();
            door.acquire().await.unwrap().forget();
            Ok(vec![envelope.follow_up(&DocumentRender {
                invoice_id: envelope.id,
            })])
        }
    });
    for _ in 0..5 {
        bench.publish().await;
    }
    for _ in 0..2 {
        started.recv().await.unwrap();
    }
    consuming.ask_to_stop();
    // It waits for the two that run, and takes no others.
    bench.depth("document", 0).await;
    assert!(!consuming.stopped());
    gate.add_permits(10);
    consuming.stop().await;
    bench.depth("document", 2).await;
    bench.depth("invoice", 3).await;
    assert!(started.try_recv().is_err());
    bench.finish().await;
}

async fn ten_thousand_messages_are_each_handled(transport: Transport) {
    let bench = Bench::start(transport).await;
    let handled = Arc::new(Mutex::new(HashSet::new()));
    let seen = handled.clone();
    let consuming = bench.consume(32, move |envelope| {
        seen.lock().unwrap().insert(envelope.id);
        async { Ok(vec![]) }
    });
    let mut published = HashSet::new();
    for _ in 0..100 {
        let batch: Vec<_> = (0..100).map(|_| message(Uuid::now_v7())).collect();
        published.extend(batch.iter().map(|message| message.id));
        bench.publisher.publish_all(&batch).await.unwrap();
    }
    eventually("every message to be handled", async || {
        (handled.lock().unwrap().len() == 10_000).then_some(())
    })
    .await;
    assert_eq!(*handled.lock().unwrap(), published);
    bench.depth("invoice", 0).await;
    consuming.stop().await;
    bench.finish().await;
}

async fn two_consumers_share_the_work(transport: Transport) {
    let bench = Bench::start(transport).await;
    let counts = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
    let consuming = counts.clone().map(|count| {
        bench.consume(4, move |_| {
            let count = count.clone();
            async move {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                Ok(vec![])
            }
        })
    });
    for _ in 0..50 {
        let batch: Vec<_> = (0..8).map(|_| message(Uuid::now_v7())).collect();
        bench.publisher.publish_all(&batch).await.unwrap();
    }
    bench.depth("invoice", 0).await;
    for consuming in consuming {
        consuming.stop().await;
    }
    let [first, second] = counts.map(|count| count.load(Ordering::SeqCst));
    assert_eq!(first + second, 400);
    assert!(first > 0 && second > 0, "{first} and {second}");
    bench.finish().await;
}

async fn closed_connections_are_opened_again(transport: Transport) {
    let bench = Bench::start(transport).await;
    let handled = Arc::new(Mutex::new(HashSet::new()));
    let seen = handled.clone();
    let consuming = bench.consume(4, move |envelope| {
        seen.lock().unwrap().insert(envelope.id);
        async { Ok(vec![]) }
    });
    let mut published = HashSet::new();
    for round in 0..5 {
        for _ in 0..20 {
            // The publisher publishes again what it had no confirm for.
            let id = Uuid::now_v7();
            eventually("a confirm", async || {
                bench.publisher.publish(&message(id)).await.ok()
            })
            .await;
            published.insert(id);
        }
        if round < 4 {
            bench.vhost.as_ref().unwrap().close_connections().await;
        }
    }
    eventually("every message to be handled", async || {
        handled
            .lock()
            .unwrap()
            .is_superset(&published)
            .then_some(())
    })
    .await;
    consuming.stop().await;
    bench.finish().await;
}

async fn a_deleted_queue_is_waited_for(transport: Transport) {
    let bench = Bench::start(transport).await;
    let (sender, mut seen) = mpsc::unbounded_channel();
    let consuming = bench.consume(1, move |envelope| {
        sender.send(envelope.id).unwrap();
        async { Ok(vec![]) }
    });
    bench.publish().await;
    seen.recv().await.unwrap();
    bench.vhost.as_ref().unwrap().delete_queue("invoice").await;
    let checked = bench.broker.check_topology().await.unwrap_err().to_string();
    assert!(checked.contains("queue invoice"), "{checked}");
    bench.broker.apply_topology().await.unwrap();
    let id = bench.publish().await;
    assert_eq!(
        seen.recv().await,
        Some(id),
        "{} is consumed again",
        InvoiceIssue::KIND
    );
    consuming.stop().await;
    bench.finish().await;
}
