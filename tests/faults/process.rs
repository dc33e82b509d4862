//! Faults of our own processes: killed, paused, ended, several of a kind.

use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::postgres::Stop;
use crate::scene::Scene;
use crate::suite::{Choice, Suite};
use crate::support::wait::eventually;

pub(crate) fn register(suite: &mut Suite) {
    suite.fault(
        Choice::Fixed,
        "2",
        "any_process_is_killed_every_0_2_to_2_s",
        async |scene: &mut Scene| killed_at_random(scene, 100, Duration::from_secs(30)).await,
    );
    suite.fault(
        Choice::Full,
        "2",
        "any_process_is_killed_every_0_2_to_2_s_for_three_minutes",
        async |scene: &mut Scene| killed_at_random(scene, 500, Duration::from_secs(180)).await,
    );
    suite.fault(
        Choice::Full,
        "6",
        "every_process_is_asked_to_end_under_load",
        asked_to_end,
    );
    suite.fault(
        Choice::Full,
        "7",
        "pools_grow_to_eight_and_shrink_to_two",
        grown_and_shrunk,
    );
    suite.fault(
        Choice::Full,
        "8",
        "a_handler_of_each_pool_panics",
        handlers_panic,
    );
    suite.fault(
        Choice::Full,
        "11",
        "two_parkers_and_reconcilers_work_side_by_side",
        two_of_a_kind,
    );
    suite.fault(
        Choice::Full,
        "4",
        "a_worker_stands_still_past_its_lease",
        fenced_out,
    );
}

/// One of two workers stops right after it has created a server. The other takes over when the
/// lease is over; the first one wakes up, and what it has to say does not count.
async fn fenced_out(scene: &mut Scene) {
    let pause = [("PAUSE_AT", "provision.effect:1")];
    scene.parts.add("provider-2", "provider", &pause);
    scene.orders(20, 2);
    scene.parts.stopped("provider-2").await;
    scene.completed(20).await;
    scene.parts.signal("provider-2", "CONT").await;
    eventually("the first worker to be fenced out", async || {
        (scene.logged("fenced out") > 0).then_some(())
    })
    .await;
}

async fn killed_at_random(scene: &mut Scene, orders: usize, time: Duration) {
    scene.allowed.held = true;
    // Every crash counts against all messages that were prefetched.
    scene.allowed.parked = vec!["delivery_limit"];
    scene.allowed.replay = true;
    // Slow enough that a kill finds something half done.
    let slow = json!({ "latency_ms": 200, "provision_ms": 1_000 });
    scene.system.provider.faults(slow).await;
    scene.orders(orders, time.as_secs());
    let began = Instant::now();
    while began.elapsed() < time {
        sleep(Duration::from_millis(scene.random.random_range(200..2000))).await;
        let names = scene.parts.names();
        let name = names.choose(&mut scene.random).expect("parts");
        scene.parts.signal(name, "KILL").await;
    }
    assert!(scene.parts.all_deaths() > 10, "nothing was killed");
}

async fn asked_to_end(scene: &mut Scene) {
    scene.orders(60, 10);
    for name in scene.parts.names() {
        scene.stored(10).await;
        // It must end well within the time it has, and the others go on.
        scene.parts.restart(&name, &[]).await;
    }
    assert_eq!(scene.logged("a message was left unsettled"), 0);
}

async fn grown_and_shrunk(scene: &mut Scene) {
    // Each process keeps up to a dozen connections.
    scene.postgres.stop(Stop::Fast).await;
    scene.postgres.boot(&["max_connections=600"]).await;
    let pools = ["order", "provider", "invoice", "document", "email"];
    scene.orders(200, 20);
    for number in 2..=8 {
        for pool in pools {
            scene.parts.add(&format!("{pool}-{number}"), pool, &[]);
        }
    }
    scene.completed(100).await;
    for number in 3..=8 {
        for pool in pools {
            scene.parts.stop(&format!("{pool}-{number}")).await;
        }
    }
}

/// A panic is a failed attempt like another: nothing is lost, no process ends.
async fn handlers_panic(scene: &mut Scene) {
    // The mailer panics between a mail's body and the answer.
    scene.allowed.held = true;
    let places = [
        ("order", "order.stored:2"),
        ("provider", "provision.effect:2"),
        ("invoice", "invoice.numbered:2"),
        ("document", "document.rendered:2"),
        ("email", "mail.data_sent:2"),
    ];
    for (part, place) in places {
        scene.parts.restart(part, &[("PANIC_AT", place)]).await;
    }
    scene.orders(40, 4);
    for (part, _) in places {
        let queue = if part == "provider" {
            "provider-simulated"
        } else {
            part
        };
        let failed = format!("a message of {queue} failed");
        eventually(&format!("a handler of {part} to panic"), async || {
            let mut panicked = false;
            scene.each_log_line(|line| {
                let line = line.to_string();
                panicked |= line.contains(&failed) && line.contains("the handler panicked");
            });
            panicked.then_some(())
        })
        .await;
    }
    scene.completed(40).await;
    assert_eq!(scene.parts.all_deaths(), 0, "a process ended");
}

async fn two_of_a_kind(scene: &mut Scene) {
    let often = [("RECONCILE_AFTER", "1")];
    scene.parts.restart("parker", &often).await;
    scene.parts.add("parker-2", "parker", &often);
    scene.allowed.parked = vec!["provider_rejected"];
    scene.allowed.replay = true;
    let refused = json!({ "fault": "status", "status": 403 });
    let faults = json!({ "create": vec![refused; 20] });
    scene.system.provider.faults(faults).await;
    scene.orders(60, 5);
    scene
        .until(
            "messages to be parked",
            "SELECT count(*) FROM parked_message",
            20,
        )
        .await;
}
