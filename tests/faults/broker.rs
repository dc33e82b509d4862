//! Faults of RabbitMQ.

use std::time::Duration;

use rand::Rng;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::frames::What;
use crate::proxy::{Cut, Trigger};
use crate::scene::Scene;
use crate::suite::{Choice, Suite};
use crate::support::wait::{eventually, within};

/// A server that cannot be made at first: its order climbs the retry ladder.
const UNAVAILABLE: &str = r#"{ "fault": "status", "status": 503 }"#;
/// Notices a dead peer after two missed heartbeats.
const HEARTBEATS: Duration = Duration::from_secs(45);

pub(crate) fn register(suite: &mut Suite) {
    suite.fault(
        Choice::Fixed,
        "13",
        "the_broker_is_killed_and_back_after_a_second",
        async |scene: &mut Scene| killed(scene, 1).await,
    );
    suite.fault(
        Choice::Full,
        "13",
        "the_broker_is_killed_and_back_after_ten_seconds",
        async |scene: &mut Scene| killed(scene, 10).await,
    );
    suite.fault(
        Choice::Full,
        "13, 39",
        "the_broker_is_killed_and_back_after_a_minute",
        async |scene: &mut Scene| killed(scene, 60).await,
    );
    suite.fault(
        Choice::Fixed,
        "14",
        "retries_fall_due_while_the_broker_is_stopped",
        stopped_while_retries_fall_due,
    );
    suite.fault(
        Choice::Full,
        "15",
        "the_broker_restarts_while_everything_is_retried",
        restarted_while_everything_is_retried,
    );
    suite.fault(
        Choice::Full,
        "16",
        "the_broker_is_killed_just_when_retries_fall_due",
        killed_when_retries_fall_due,
    );
    suite.fault(
        Choice::Fixed,
        "17",
        "every_connection_is_closed_every_two_seconds",
        async |scene: &mut Scene| connections_closed(scene, 5).await,
    );
    suite.fault(
        Choice::Full,
        "17",
        "every_connection_is_closed_every_two_seconds_for_two_minutes",
        async |scene: &mut Scene| connections_closed(scene, 60).await,
    );
    suite.fault(
        Choice::Full,
        "18",
        "channels_are_closed_for_errors",
        channel_errors,
    );
    suite.fault(
        Choice::Full,
        "28",
        "a_policy_lets_messages_expire",
        policy_expires_messages,
    );
    suite.fault(
        Choice::Full,
        "19",
        "the_broker_runs_out_of_memory",
        async |scene: &mut Scene| {
            let low = ["set_vm_memory_high_watermark", "absolute", "1MB"];
            let high = ["set_vm_memory_high_watermark", "absolute", "2GB"];
            alarm(scene, &low, &high, 10).await;
        },
    );
    suite.fault(
        Choice::Full,
        "20",
        "the_broker_runs_out_of_disk",
        async |scene: &mut Scene| {
            let (low, high) = (
                ["set_disk_free_limit", "900000GB"],
                ["set_disk_free_limit", "200MB"],
            );
            alarm(scene, &low, &high, 60).await;
        },
    );
    suite.fault(
        Choice::Full,
        "22",
        "the_broker_stands_still_for_45_s",
        stands_still,
    );
    suite.fault(
        Choice::Full,
        "26",
        "a_queue_is_unbound_and_bound_again",
        unbound,
    );
    suite.fault(Choice::Fixed, "29", "a_queue_is_full", full_queue);
    suite.fault(
        Choice::Full,
        "30",
        "a_message_outlives_as_many_workers_as_it_may",
        delivery_limit,
    );
    suite.fault(
        Choice::Full,
        "31",
        "a_consumer_takes_longer_than_the_broker_allows",
        consumer_timeout,
    );
    suite.fault(
        Choice::Fixed,
        "33",
        "a_replayed_message_fails_again_and_comes_back",
        replayed_and_fails_again,
    );
    suite.fault(
        Choice::Fixed,
        "23",
        "a_work_queue_is_deleted_while_it_is_used",
        queue_deleted,
    );
    suite.fault(
        Choice::Full,
        "24",
        "a_retry_queue_is_deleted_with_messages_in_it",
        retry_queue_deleted,
    );
    suite.fault(Choice::Full, "27", "the_broker_forgets_everything", wiped);
}

/// It is killed under load and away for some seconds.
async fn killed(scene: &mut Scene, seconds: u64) {
    scene.orders(100, 15);
    scene.stored(20).await;
    scene.rabbit.kill().await;
    sleep(Duration::from_secs(seconds)).await;
    scene.rabbit.boot().await;
}

/// The next `count` servers cannot be made at once, so that their orders are retried.
async fn everything_is_retried(scene: &Scene, count: usize) {
    let fault: Value = serde_json::from_str(UNAVAILABLE).unwrap();
    let faults = json!({ "create": vec![fault; count] });
    scene.system.provider.faults(faults).await;
}

async fn some_are_retried(scene: &Scene) {
    let sql = "SELECT count(*) FROM stage WHERE name = 'provision' AND state = 'retrying'";
    scene.until("orders to be retried", sql, 10).await;
}

/// Dead-lettering must survive that: the queues it goes through are away when it is due.
async fn stopped_while_retries_fall_due(scene: &mut Scene) {
    everything_is_retried(scene, 60).await;
    scene.orders(60, 4);
    some_are_retried(scene).await;
    scene.rabbit.ctl(&["stop_app"]).await;
    sleep(Duration::from_secs(3)).await;
    scene.rabbit.ctl(&["start_app"]).await;
    scene.rabbit.serving().await;
}

async fn restarted_while_everything_is_retried(scene: &mut Scene) {
    everything_is_retried(scene, 150).await;
    scene.orders(100, 8);
    some_are_retried(scene).await;
    scene.rabbit.stop().await;
    scene.rabbit.boot().await;
}

async fn killed_when_retries_fall_due(scene: &mut Scene) {
    for round in 0..5 {
        everything_is_retried(scene, 40).await;
        scene.orders(20, 0);
        some_are_retried(scene).await;
        // Retries of the first level fall due every 100 ms.
        let offset = 20 * round + scene.random.random_range(0..20);
        sleep(Duration::from_millis(offset)).await;
        scene.rabbit.kill().await;
        scene.rabbit.boot().await;
        scene
            .completed(20 * (i64::try_from(round).unwrap() + 1))
            .await;
    }
}

async fn connections_closed(scene: &mut Scene, times: usize) {
    scene.orders(20 * times.min(10), 2 * times as u64);
    let vhost = scene.vhost();
    for _ in 0..times {
        let next = Instant::now() + Duration::from_secs(2);
        let reason = "a fault closes everything";
        scene
            .rabbit
            .ctl(&["close_all_connections", "--vhost", &vhost, reason])
            .await;
        tokio::time::sleep_until(next).await;
    }
    assert!(scene.logged("interrupted") > 0, "no connection was closed");
}

/// The broker closes channels: with 406 for a message that is acknowledged twice, with 404 for an
/// exchange that somebody has deleted.
async fn channel_errors(scene: &mut Scene) {
    let times = 6;
    scene.broker.arm(Trigger {
        what: What::Ack,
        cut: Cut::Twice,
        every: 17,
        times,
    });
    scene.orders(60, 10);
    eventually("acknowledgements to be doubled", async || {
        (scene.broker.fired() == times).then_some(())
    })
    .await;
    eventually("a consumer whose channel is closed", async || {
        (scene.logged("PRECONDITION_FAILED") > 0).then_some(())
    })
    .await;
    let path = format!("exchanges/{}/work", scene.vhost());
    scene.rabbit.call(Method::DELETE, &path, json!({})).await;
    scene.orders(20, 2);
    eventually("a publisher whose channel is closed", async || {
        (scene.logged("NOT_FOUND") > 0).then_some(())
    })
    .await;
    // Between the exchange and its bindings messages find no queue.
    scene.allowed.parked = vec!["unrouted"];
    scene.allowed.replay = true;
    scene.system.flow(&["topology", "apply"]).await;
}

/// What expires is not gone: it is parked, says so, and is replayed once the policy is gone.
async fn policy_expires_messages(scene: &mut Scene) {
    scene.allowed.parked = vec!["expired"];
    scene.allowed.replay = true;
    let path = format!("policies/{}/hasty", scene.vhost());
    let policy = json!({ "pattern": "^(order|invoice|document|email|provider-.*)$",
                         "apply-to": "queues", "definition": { "message-ttl": 200 } });
    scene.rabbit.call(Method::PUT, &path, policy).await;
    scene.parts.stop("invoice").await;
    scene.orders(20, 2);
    let sql = "SELECT count(*) FROM parked_message WHERE reason = 'expired'";
    scene.until("messages to expire", sql, 20).await;
    scene.rabbit.call(Method::DELETE, &path, json!({})).await;
    scene.parts.add("invoice", "invoice", &[]);
}

/// Publishers are blocked for some seconds: the ingress says so and nothing hangs.
async fn alarm(scene: &mut Scene, raise: &[&str], end: &[&str], seconds: u64) {
    scene.orders(60, 30);
    scene.stored(10).await;
    scene.rabbit.ctl(raise).await;
    eventually("the ingress to see the alarm", async || {
        let ready = scene.client.get("/readyz").await;
        (ready.body["checks"]["broker"] == "blocked").then_some(())
    })
    .await;
    sleep(Duration::from_secs(seconds)).await;
    scene.rabbit.ctl(end).await;
}

async fn stands_still(scene: &mut Scene) {
    scene.orders(60, 30);
    scene.stored(10).await;
    scene.rabbit.pause().await;
    sleep(HEARTBEATS).await;
    scene.rabbit.resume().await;
    scene.rabbit.serving().await;
}

/// Commands that find no queue are kept, shown and replayed.
async fn unbound(scene: &mut Scene) {
    scene.allowed.parked = vec!["unrouted"];
    scene.allowed.replay = true;
    let path = format!(
        "bindings/{}/e/work/q/invoice/invoice.issue.v1",
        scene.vhost()
    );
    scene.rabbit.call(Method::DELETE, &path, json!({})).await;
    scene.orders(20, 2);
    scene
        .until(
            "unrouted messages",
            "SELECT count(*) FROM parked_message",
            20,
        )
        .await;
    scene.system.flow(&["topology", "apply"]).await;
}

/// A queue that takes no more refuses, and whoever publishes to it waits.
async fn full_queue(scene: &mut Scene) {
    let vhost = scene.vhost();
    let rabbit = &scene.rabbit;
    let policy = json!({ "pattern": "^(invoice|document)$", "apply-to": "queues",
                         "definition": { "max-length": 3 } });
    rabbit
        .call(Method::PUT, &format!("policies/{vhost}/full"), policy)
        .await;
    scene.parts.signal("invoice", "STOP").await;
    scene.orders(60, 5);
    within(Duration::from_secs(60), "a refused message", async || {
        (scene.logged("the broker refused the message") > 0).then_some(())
    })
    .await;
    scene.parts.signal("invoice", "CONT").await;
    scene.completed(60).await;
    let path = format!("policies/{vhost}/full");
    scene.rabbit.call(Method::DELETE, &path, json!({})).await;
}

/// A worker dies of every message that it is given. The broker gives the messages up, with a
/// reason, and a replay finishes them once the worker is mended.
async fn delivery_limit(scene: &mut Scene) {
    scene.allowed.parked = vec!["delivery_limit"];
    scene.allowed.replay = true;
    scene.orders(5, 0);
    scene.load.accepted().await;
    scene
        .parts
        .doom("order", ("CRASH_AT", "consume.decoded:1"))
        .await;
    let id = scene.order("culprit").await;
    let sql = format!("SELECT count(*) FROM parked_message WHERE correlation_id = '{id}'");
    scene.until("the broker to give up", &sql, 1).await;
    let deaths = scene.parts.deaths("order");
    assert!(deaths > 49, "given up after {deaths} deliveries");
    scene.parts.restart("order", &[]).await;
}

/// A mail server that thinks for a long time keeps a message in hand longer than the broker allows.
async fn consumer_timeout(scene: &mut Scene) {
    let set = "application:set_env(rabbit, consumer_timeout, 4000), \
               application:set_env(rabbit, channel_tick_interval, 1000).";
    scene.rabbit.ctl(&["eval", set]).await;
    scene.parts.restart("email", &[]).await;
    let slow =
        json!([{ "at": "body", "reply": "250 2.0.0 queued", "keep": true, "delay_ms": 12_000 }]);
    scene.system.mail.faults(slow).await;
    scene.orders(10, 1);
    within(
        Duration::from_secs(60),
        "the broker to lose patience",
        async || (scene.logged("consumer of email interrupted") > 0).then_some(()),
    )
    .await;
    let unset = "application:set_env(rabbit, consumer_timeout, 1800000), \
                 application:set_env(rabbit, channel_tick_interval, 60000).";
    scene.rabbit.ctl(&["eval", unset]).await;
    // The handler goes on without its session, and notes what the server says in the end.
    let sql = "SELECT count(*) FROM email_delivery WHERE state = 'sent'";
    scene.until("mails to be sent", sql, 10).await;
}

/// RabbitMQ 3.10 takes a message that was parked by it and retried for a dead-letter cycle, if it
/// still carries the marks.
async fn replayed_and_fails_again(scene: &mut Scene) {
    scene.allowed.parked = vec!["provider_rejected"];
    let refused = json!({ "fault": "status", "status": 403 });
    scene
        .system
        .provider
        .faults(json!({ "create": vec![refused; 10] }))
        .await;
    scene.orders(10, 1);
    scene
        .until(
            "messages to be parked",
            "SELECT count(*) FROM parked_message",
            10,
        )
        .await;
    everything_is_retried(scene, 25).await;
    scene.system.flow(&["dead", "replay", "--all"]).await;
    scene.completed(10).await;
}

/// What was in it is gone from the broker; the database knows it all.
async fn queue_deleted(scene: &mut Scene) {
    soon_reconciled(scene).await;
    scene.orders(60, 8);
    scene.completed(5).await;
    for queue in ["provider-simulated", "invoice"] {
        let path = format!("queues/{}/{queue}", scene.vhost());
        scene.rabbit.call(Method::DELETE, &path, json!({})).await;
    }
    scene.rabbit.declares();
    scene.system.flow(&["topology", "apply"]).await;
    // What was sent to it meanwhile found no queue.
    scene.allowed.parked = vec!["unrouted"];
    scene.allowed.replay = true;
}

async fn retry_queue_deleted(scene: &mut Scene) {
    soon_reconciled(scene).await;
    everything_is_retried(scene, 120).await;
    scene.orders(40, 2);
    some_are_retried(scene).await;
    let path = format!("queues/{}/retry.5s", scene.vhost());
    scene.rabbit.call(Method::DELETE, &path, json!({})).await;
    scene.rabbit.declares();
    scene.system.flow(&["topology", "apply"]).await;
    scene.allowed.parked = vec!["unrouted"];
    scene.allowed.replay = true;
}

/// Orders that were only in the broker are lost with it. Everything that reached the database is
/// completed.
async fn wiped(scene: &mut Scene) {
    soon_reconciled(scene).await;
    scene.orders(40, 3);
    scene.load.accepted().await;
    scene.stored(40).await;
    scene.rabbit.stop().await;
    scene.rabbit.wipe();
    scene.rabbit.boot().await;
    scene
        .system
        .vhost
        .as_ref()
        .expect("a vhost")
        .declare()
        .await;
    scene.rabbit.declares();
    scene.system.flow(&["topology", "apply"]).await;
}

async fn soon_reconciled(scene: &mut Scene) {
    scene
        .parts
        .restart("parker", &[("RECONCILE_AFTER", "3")])
        .await;
}
