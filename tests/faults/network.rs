//! Faults of the network between the system and RabbitMQ.

use std::time::Duration;

use tokio::time::sleep;

use crate::frames::{Protocol, Way, What};
use crate::proxy::{Cut, Door, Mode, Proxy, Trigger};
use crate::scene::Scene;
use crate::suite::{Choice, Suite};
use crate::support::wait::{eventually, within};

pub(crate) fn register(suite: &mut Suite) {
    suite.fault(
        Choice::Full,
        "35",
        "connections_break_between_a_publish_and_its_body",
        async |scene: &mut Scene| cut(scene, What::Publish, Cut::After).await,
    );
    suite.fault(
        Choice::Fixed,
        "36",
        "confirms_are_lost",
        async |scene: &mut Scene| {
            cut(scene, What::Confirm, Cut::Before).await;
            bitten(scene).await;
        },
    );
    suite.fault(
        Choice::Fixed,
        "37",
        "acknowledgements_are_lost",
        async |scene: &mut Scene| {
            cut(scene, What::Ack, Cut::Before).await;
            bitten(scene).await;
        },
    );
    suite.fault(
        Choice::Full,
        "38",
        "nothing_arrives_in_either_direction_for_a_minute",
        async |scene: &mut Scene| silence(scene, &[Way::Up, Way::Down], 60).await,
    );
    suite.fault(
        Choice::Full,
        "38",
        "nothing_arrives_from_the_broker_for_a_minute",
        async |scene: &mut Scene| silence(scene, &[Way::Down], 60).await,
    );
    suite.fault(
        Choice::Full,
        "38",
        "nothing_arrives_at_the_broker_for_a_minute",
        async |scene: &mut Scene| silence(scene, &[Way::Up], 60).await,
    );
    suite.fault(
        Choice::Full,
        "39",
        "every_connection_is_refused_for_fifteen_seconds",
        async |scene: &mut Scene| shut(scene, Door::Refuse, 15).await,
    );
    suite.fault(
        Choice::Full,
        "40",
        "the_network_is_slow",
        async |scene: &mut Scene| slow(scene).await,
    );
    suite.fault(
        Choice::Full,
        "41",
        "connections_are_taken_and_nobody_speaks",
        async |scene: &mut Scene| shut(scene, Door::Mute, 30).await,
    );
    suite.fault(
        Choice::Full,
        "41",
        "workers_are_sent_to_the_wrong_broker",
        misdirected,
    );
}

/// Connections are cut at a message, a dozen times.
async fn cut(scene: &mut Scene, what: What, cut: Cut) {
    let times = 12;
    scene.broker.arm(Trigger {
        what,
        cut,
        every: 23,
        times,
    });
    scene.orders(100, 10);
    within(
        Duration::from_secs(120),
        "connections to be cut",
        async || (scene.broker.fired() == times).then_some(()),
    )
    .await;
}

/// Something was handled twice, or the fault was none.
async fn bitten(scene: &mut Scene) {
    eventually("a message that is handled again", async || {
        (scene.repeated() > 0).then_some(())
    })
    .await;
}

/// The connections stay, but are good for nothing.
async fn silence(scene: &mut Scene, ways: &[Way], seconds: u64) {
    scene.orders(60, 20);
    scene.stored(10).await;
    for way in ways {
        scene.broker.set(*way, Mode::Blackhole);
    }
    sleep(Duration::from_secs(seconds)).await;
    // Half a stream is left; a real network would not mend it either.
    scene.broker.reset();
    scene.broker.heal();
}

/// Connections are gone, and new ones come to nothing.
async fn shut(scene: &mut Scene, door: Door, seconds: u64) {
    scene.orders(60, 5);
    scene.stored(10).await;
    scene.broker.door(door);
    scene.broker.reset();
    eventually("the ingress to say that the broker is away", async || {
        let ready = scene.client.get("/readyz").await;
        (ready.body["checks"]["broker"] == "down").then_some(())
    })
    .await;
    sleep(Duration::from_secs(seconds)).await;
    scene.broker.door(Door::Open);
    // Those that were taken and kept waiting.
    scene.broker.reset();
}

/// A worker that shakes hands with nobody over TLS, and one whose virtual host is not there: both
/// say so, try again, and end when they are asked to. The others do not notice.
async fn misdirected(scene: &mut Scene) {
    let mute = Proxy::start(scene.rabbit.port(), Protocol::Amqp).await;
    mute.door(Door::Mute);
    let silent = format!(
        "amqps://flow:faults@127.0.0.1:{}/{}",
        mute.port(),
        scene.vhost()
    );
    let elsewhere = format!("{}/nowhere", scene.rabbit.url());
    for (name, url) in [("order-silent", &silent), ("order-elsewhere", &elsewhere)] {
        scene.parts.add(name, "order", &[("BROKER_URL", url)]);
    }
    scene.orders(40, 5);
    for complaint in ["no answer within", "vhost nowhere not found"] {
        within(Duration::from_secs(60), complaint, async || {
            (scene.logged(complaint) > 1).then_some(())
        })
        .await;
    }
    scene.completed(40).await;
    for name in ["order-silent", "order-elsewhere"] {
        scene.parts.stop(name).await;
    }
    assert_eq!(scene.parts.all_deaths(), 0, "a process ended");
}

async fn slow(scene: &mut Scene) {
    scene.broker.both(Mode::Delay(Duration::from_millis(500)));
    scene.orders(20, 5);
    scene.completed(20).await;
    scene.broker.both(Mode::Slow(1000));
    scene.orders(5, 1);
    scene.completed(25).await;
    // A drop at a time.
    scene.broker.both(Mode::Slow(20 * 8));
    sleep(Duration::from_secs(10)).await;
}
