//! Faults of our own processes: killed, paused, ended, several of a kind.

use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;
use tokio::time::{Instant, sleep};

use crate::scene::Scene;
use crate::suite::{Choice, Suite};

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
        Choice::Fixed,
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
        "11",
        "two_parkers_and_reconcilers_work_side_by_side",
        two_of_a_kind,
    );
}

async fn killed_at_random(scene: &mut Scene, orders: usize, time: Duration) {
    scene.allowed.held = true;
    // Every crash counts against all messages that were prefetched.
    scene.allowed.parked = vec!["delivery_limit"];
    scene.allowed.replay = true;
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

async fn two_of_a_kind(scene: &mut Scene) {
    scene.parts.add("invoice-2", "invoice", &[]);
    if crate::supervised::has_reconciler() {
        let often = [("RECONCILE_AFTER", "1")];
        scene.parts.restart("reconciler", &often).await;
        scene.parts.add("reconciler-2", "reconciler", &often);
    }
    scene.allowed.parked = vec!["provider_rejected"];
    scene.allowed.replay = true;
    let refused = serde_json::json!({ "fault": "status", "status": 403 });
    let faults = serde_json::json!({ "create": vec![refused; 20] });
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
