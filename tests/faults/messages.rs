//! Faults of messages: doubled, shuffled, malformed, forged, from outsiders.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use schemas::topology::{REQUEUE, WORK, WORK_QUEUES};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::partner::{Letter, Partner, outsider, text};
use crate::scene::Scene;
use crate::suite::{Choice, Suite};
use crate::support::process::command;
use crate::support::wait::eventually;

/// The user that the system itself is.
const OURS: &str = "flow:faults";

pub(crate) fn register(suite: &mut Suite) {
    suite.fault(
        Choice::Fixed,
        "68, 71",
        "every_command_comes_one_to_five_times_and_out_of_order",
        shuffled_and_doubled,
    );
    suite.fault(
        Choice::Full,
        "69, 70",
        "a_partner_sends_an_order_again_and_differently",
        ordered_again,
    );
    suite.fault(
        Choice::Fixed,
        "72, 73, 74",
        "messages_are_malformed",
        malformed,
    );
    suite.fault(Choice::Full, "75", "headers_are_forged", forged_headers);
    suite.fault(
        Choice::Full,
        "76",
        "outsiders_try_what_they_may_not",
        forbidden,
    );
    suite.fault(
        Choice::Full,
        "77",
        "a_message_expires_before_it_is_read",
        expired,
    );
    suite.fault(
        Choice::Full,
        "78",
        "a_partner_is_careless_and_the_broker_restarts",
        careless,
    );
    suite.fault(
        Choice::Alone,
        "79",
        "ten_thousand_messages_are_replayed_at_once",
        replay_storm,
    );
    suite.fault(
        Choice::Full,
        "80",
        "finished_orders_are_replayed",
        replayed_when_finished,
    );
}

/// Every command between our pools goes through somebody who keeps it for a while and passes it on
/// one to five times.
async fn shuffled_and_doubled(scene: &mut Scene) {
    let partner = Partner::connect(scene, OURS).await;
    let channel = partner.channel();
    let declaring = channel.queue_declare(
        "shuffle".into(),
        QueueDeclareOptions::default(),
        FieldTable::default(),
    );
    declaring.await.unwrap();
    for queue in WORK_QUEUES.iter().filter(|queue| queue.exchange == WORK) {
        let (exchange, key) = (queue.exchange.into(), queue.key.into());
        let options = QueueBindOptions::default();
        let table = FieldTable::default();
        let binding = channel.queue_bind("shuffle".into(), exchange, key, options, table);
        binding.await.unwrap();
        let (exchange, key) = (queue.exchange.into(), queue.key.into());
        let unbinding =
            channel.queue_unbind(queue.name.into(), exchange, key, FieldTable::default());
        unbinding.await.unwrap();
    }
    let consuming = channel.basic_consume(
        "shuffle".into(),
        "shuffler".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let mut commands = consuming.await.unwrap();
    let mut random = StdRng::seed_from_u64(scene.random.random());
    let shuffler = Partner::connect(scene, OURS).await;
    let shuffling = tokio::spawn(async move {
        let channel = shuffler.channel().clone();
        let mut passing = JoinSet::new();
        while let Some(Ok(command)) = commands.next().await {
            let known =
                |queue: &&schemas::topology::WorkQueue| queue.key == command.routing_key.as_str();
            let queue = WORK_QUEUES.iter().find(known).expect("a command");
            for copy in 0..random.random_range(1..=5) {
                let later = Duration::from_millis(random.random_range(0..1500) * copy.min(1));
                let (channel, properties) = (channel.clone(), command.properties.clone());
                let body = command.data.clone();
                passing.spawn(async move {
                    sleep(later).await;
                    let key = format!("shuffle.{}", queue.name);
                    let options = BasicPublishOptions::default();
                    let publishing = channel.basic_publish(
                        REQUEUE.into(),
                        key.into(),
                        options,
                        &body,
                        properties,
                    );
                    publishing.await.unwrap().await.unwrap();
                });
            }
            command.acker.ack(BasicAckOptions::default()).await.unwrap();
        }
        passing.join_all().await;
    });
    scene.orders(60, 6);
    scene.load.accepted().await;
    let sql = "SELECT count(*) FROM email_delivery WHERE state = 'sent'";
    scene.until("mails to be sent", sql, 60).await;
    assert!(scene.repeated() > 60, "nothing came twice");
    // Everything is as it was.
    scene.system.flow(&["topology", "apply"]).await;
    let deleting = channel.queue_delete("shuffle".into(), QueueDeleteOptions::default());
    deleting.await.unwrap();
    shuffling.await.unwrap();
}

/// One reference is one order, over four connections at once, and the first content wins.
async fn ordered_again(scene: &mut Scene) {
    let mut partners = JoinSet::new();
    for name in ["first", "first", "second", "third"] {
        let partner = Partner::connect(scene, OURS).await;
        let letters: Vec<_> = (0..10)
            .map(|number| Letter::order(scene, &format!("ref-{number}"), name))
            .collect();
        partners.spawn(async move {
            for letter in letters {
                partner.send(&letter).await.unwrap();
            }
        });
    }
    partners.join_all().await;
    for number in 0..10 {
        let reference = format!("ref-{number}");
        let order = Letter::order(scene, &reference, "first").order_id;
        scene.load.confirmed(&reference, order);
    }
    scene.completed(10).await;
    assert_eq!(
        scene.count("SELECT count(*) FROM \"order\"").await.unwrap(),
        10
    );
}

/// Each is parked once with its reason, and its neighbours are not held up.
async fn malformed(scene: &mut Scene) {
    let good = Letter::order(scene, "good", "good");
    let valid = String::from_utf8(good.body.clone()).unwrap();
    let huge = format!("{{\"x\":\"{}\"}}", "x".repeat(1024 * 1024));
    let packing = command("sh")
        .args(["-c", "head -c 200000000 /dev/zero | gzip -9"])
        .output();
    let bomb = packing.await.unwrap().stdout;
    let corpus = [
        ("poison", good.with_body("")),
        ("poison", good.with_body([0xff, 0xfe, 0x00])),
        ("poison", good.with_body(valid.trim_end_matches('}'))),
        (
            "poison",
            good.with_body(valid.replace("\"quantity\":1", "\"quantity\":NaN")),
        ),
        ("schema", good.with_body("[".repeat(10_000))),
        (
            "schema",
            good.with_body(valid.replace("\"quantity\":1", "\"quantity\":9223372036854775808")),
        ),
        (
            "schema",
            good.with_body(valid.replace("\"good\"", "\"go\\u0000od\"")),
        ),
        ("schema", good.with_body("{}")),
        ("schema", good.with_body("[1, 2]")),
        ("too_large", good.with_body(huge)),
        ("too_large", good.with_body(vec![b' '; 20 * 1024 * 1024])),
        (
            "schema",
            good.with(|with| with.with_content_type("text/plain".into())),
        ),
        (
            "schema",
            good.with(|with| with.with_content_type("application/x-gzip".into())),
        ),
        (
            "schema",
            good.with(|with| with.with_type("order.place.v9".into())),
        ),
        ("schema", good.with(|with| with.with_type("".into()))),
        // Nothing here unpacks anything.
        (
            "poison",
            good.with_body(bomb)
                .with(|with| with.with_content_encoding("gzip".into())),
        ),
    ];
    scene.allowed.parked = vec!["poison", "schema", "too_large"];
    scene.orders(20, 2);
    let partner = Partner::connect(scene, OURS).await;
    for (_, letter) in &corpus {
        // Without an id of its own it would be the same message again.
        let letter =
            letter.with(|with| with.with_message_id(uuid::Uuid::now_v7().to_string().into()));
        partner.send(&letter).await.unwrap();
    }
    let all = i64::try_from(corpus.len()).unwrap();
    scene
        .until(
            "messages to be parked",
            "SELECT count(*) FROM parked_message",
            all,
        )
        .await;
    let reasons = scene
        .texts("SELECT reason FROM parked_message ORDER BY 1")
        .await
        .unwrap();
    let mut expected: Vec<_> = corpus.iter().map(|(reason, _)| *reason).collect();
    expected.sort_unstable();
    assert_eq!(reasons, expected);
    scene.completed(20).await;
    assert_eq!(scene.parts.all_deaths(), 0, "something died of it");
}

/// What an outsider writes into headers is not believed, and does no harm.
async fn forged_headers(scene: &mut Scene) {
    let partner = Partner::connect(scene, OURS).await;
    let death = AMQPValue::FieldArray(vec![text("order"), text("rejected")].into());
    let forged: Vec<Vec<(&str, AMQPValue)>> = vec![
        vec![],
        vec![("x", text(&"x".repeat(60_000)))],
        vec![
            ("x-death", death),
            ("x-first-death-reason", text("delivery_limit")),
        ],
        vec![("attempt", AMQPValue::LongInt(-1))],
        vec![("attempt", text("many"))],
        vec![("attempt", AMQPValue::LongLongInt(1 << 31))],
        vec![
            ("attempt", AMQPValue::LongLongInt(7)),
            ("waits", AMQPValue::LongLongInt(249)),
        ],
        vec![("traceparent", text("00-rubbish"))],
        vec![("reason", text("permanent"))],
    ];
    let count = i64::try_from(forged.len()).unwrap();
    // Each is retried, where forged counters and marks would count.
    let unavailable = json!({ "fault": "status", "status": 503 });
    scene
        .system
        .provider
        .faults(json!({ "create": vec![unavailable; 9] }))
        .await;
    for (index, headers) in forged.iter().enumerate() {
        let name = format!("forged-{index}");
        let letter = Letter::order(scene, &name, &name).with_headers(headers);
        partner.send(&letter).await.unwrap();
        scene.load.confirmed(&name, letter.order_id);
    }
    scene.completed(count).await;
}

/// The broker refuses what it can see; what it cannot, the first handler refuses.
async fn forbidden(scene: &mut Scene) {
    scene.allowed.parked = vec!["unauthenticated"];
    let user = outsider(scene).await;
    let name = user.split(':').next().unwrap_or_default().to_owned();
    let order = Letter::order(scene, "stolen", "stolen");
    let anonymous = order.with(|_| {
        lapin::BasicProperties::default()
            .with_type("order.place.v1".into())
            .with_content_type("application/json".into())
    });
    let own = order.with(|with| with.with_user_id(name.as_str().into()));
    // Nobody may give himself out for somebody else, or write to our own exchanges.
    let spoofed = Partner::connect(scene, &user).await.send(&order).await;
    assert!(spoofed.is_err(), "a foreign user_id was taken");
    for exchange in [WORK, REQUEUE, "retry", "dead", "events", ""] {
        let letter = Letter {
            exchange,
            key: "replay.order".to_owned(),
            ..own.clone()
        };
        let sent = Partner::connect(scene, &user).await.send(&letter).await;
        assert!(sent.is_err(), "an outsider wrote to {exchange:?}");
    }
    let partner = Partner::connect(scene, &user).await;
    partner.send(&own).await.unwrap();
    partner.send(&anonymous).await.unwrap();
    let sql = "SELECT count(*) FROM parked_message WHERE reason = 'unauthenticated'";
    scene.until("messages to be parked", sql, 2).await;
    let claimed = own.with_headers(&[("publisher", text("flow"))]);
    partner
        .send(&claimed.with(|with| with.with_message_id("mine".into())))
        .await
        .unwrap();
    scene.until("messages to be parked", sql, 3).await;
    assert_eq!(
        scene.count("SELECT count(*) FROM \"order\"").await.unwrap(),
        0
    );
}

/// Nobody reads for a while. The message is not gone: it is parked, and says that it expired.
async fn expired(scene: &mut Scene) {
    scene.parts.stop("order").await;
    let partner = Partner::connect(scene, OURS).await;
    let letter = Letter::order(scene, "late", "late");
    partner
        .send(&letter.with(|with| with.with_expiration("1".into())))
        .await
        .unwrap();
    scene.load.confirmed("late", letter.order_id);
    scene
        .until(
            "the parked message",
            "SELECT count(*) FROM parked_message",
            1,
        )
        .await;
    scene.parts.add("order", "order", &[]);
    scene.allowed.parked = vec!["expired"];
    scene.allowed.replay = true;
}

/// Not persistent, not mandatory: a quorum queue keeps it all the same.
async fn careless(scene: &mut Scene) {
    scene.parts.stop("order").await;
    let partner = Partner::connect(scene, OURS).await;
    for index in 0..20 {
        let name = format!("careless-{index}");
        let letter = Letter::order(scene, &name, &name);
        let letter = letter.with(|with| with.with_delivery_mode(1));
        partner.send(&letter).await.unwrap();
        scene.load.confirmed(&name, letter.order_id);
    }
    scene.rabbit.kill().await;
    scene.rabbit.boot().await;
    scene.parts.add("order", "order", &[]);
    scene.completed(20).await;
}

/// They go back at a measured pace, and each has one effect.
async fn replay_storm(scene: &mut Scene) {
    scene.allowed.parked = vec!["provider_rejected"];
    scene.allowed.replay = true;
    let refused = json!({ "fault": "status", "status": 403 });
    scene
        .system
        .provider
        .faults(json!({ "create": vec![refused; 200] }))
        .await;
    scene.orders(200, 10);
    scene
        .until(
            "messages to be parked",
            "SELECT count(*) FROM parked_message",
            200,
        )
        .await;
    // Each of them fifty times.
    let copies = "INSERT INTO parked_message
        SELECT (jsonb_populate_record(p, jsonb_build_object('id', gen_random_uuid(),
            'parked_at', p.parked_at + copy * interval '1 ms'))).*
        FROM parked_message p, generate_series(1, 49) AS copy";
    scene.execute(copies).await.unwrap();
    let began = Instant::now();
    let replay = ["dead", "replay", "--all", "--rate", "500"];
    scene.system.flow(&replay).await;
    let sql = "SELECT count(*) FROM parked_message WHERE state = 'replayed'";
    scene.until("messages to be replayed", sql, 10_000).await;
    assert!(began.elapsed() > Duration::from_secs(19), "all at once");
    scene.completed(200).await;
}

async fn replayed_when_finished(scene: &mut Scene) {
    scene.allowed.parked = vec!["provider_rejected"];
    scene.allowed.replay = true;
    let refused = json!({ "fault": "status", "status": 403 });
    scene
        .system
        .provider
        .faults(json!({ "create": vec![refused; 20] }))
        .await;
    scene.orders(20, 1);
    scene
        .until(
            "messages to be parked",
            "SELECT count(*) FROM parked_message",
            20,
        )
        .await;
    scene.system.flow(&["dead", "replay", "--all"]).await;
    scene.completed(20).await;
    // Somebody lets them be replayed once more.
    eventually("the messages to be replayed again", async || {
        let again = "WITH again AS (UPDATE parked_message SET state = 'replaying'
            WHERE state = 'replayed' RETURNING 1) SELECT count(*)::text FROM again";
        let changed = scene.texts(again).await.ok()?;
        (changed.first().map(String::as_str) == Some("20")).then_some(())
    })
    .await;
    let sql = "SELECT count(*) FROM parked_message WHERE state = 'replayed'";
    scene.until("messages to be replayed", sql, 20).await;
}
