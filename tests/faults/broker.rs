//! Faults of RabbitMQ.

use std::time::Duration;

use tokio::time::sleep;

use crate::scene::Scene;
use crate::suite::{Choice, Suite};

pub(crate) fn register(suite: &mut Suite) {
    suite.fault(
        Choice::Fixed,
        "13",
        "the_broker_is_killed_and_back_after_a_second",
        async |scene: &mut Scene| killed(scene, 1).await,
    );
}

/// It is killed under load and away for some seconds.
async fn killed(scene: &mut Scene, seconds: u64) {
    scene.orders(100, 15);
    scene.stored(20).await;
    scene.rabbit.kill().await;
    sleep(Duration::from_secs(seconds)).await;
    scene.rabbit.boot().await;
}
