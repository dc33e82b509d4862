//! More than the system can do: nothing is lost, and no process grows.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::try_join_all;
use reqwest::Method;
use serde_json::json;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::partner::{Letter, Partner};
use crate::scene::Scene;
use crate::suite::{Choice, Suite};
use crate::support::wait::within;

/// The user that the system itself is.
const OURS: &str = "flow:faults";
/// How much more memory than at first a process may have, in KiB.
const GROWTH: u64 = 16 * 1024;

pub(crate) fn register(suite: &mut Suite) {
    suite.fault(
        Choice::Alone,
        "83",
        "ten_times_as_many_orders_come_as_can_be_done",
        overloaded,
    );
    suite.fault(Choice::Alone, "84", "a_million_messages_wait", million);
}

/// The most memory that each part had in hand.
#[derive(Default)]
struct Peaks(BTreeMap<String, u64>);

impl Peaks {
    fn look(&mut self, scene: &Scene) {
        for name in scene.parts.names() {
            if let Some(memory) = scene.parts.memory(&name) {
                let peak = self.0.entry(name).or_default();
                *peak = memory.max(*peak);
            }
        }
    }

    fn assert_flat(&self, before: &Self) {
        for (name, peak) in &self.0 {
            let first = before.0[name];
            println!("    {name}: {first} KiB at first, {peak} KiB at most");
            assert!(*peak < first + GROWTH, "{name} grew to {peak} KiB");
        }
    }
}

/// A burst is taken in ten times as fast as it is worked off. Nobody grows, and who orders after it
/// is as well served as before.
async fn overloaded(scene: &mut Scene) {
    let mut before = Peaks::default();
    scene.orders(200, 10);
    scene.completed(200).await;
    before.look(scene);
    let began = Instant::now();
    scene.orders(3_000, 0);
    let mut during = Peaks::default();
    while scene.load.acknowledged().len() < 3_200 {
        during.look(scene);
        sleep(Duration::from_millis(200)).await;
    }
    let taken_in = began.elapsed();
    within(
        Duration::from_secs(900),
        "the burst to be worked off",
        async || {
            during.look(scene);
            let sql = "SELECT count(*) FROM email_delivery WHERE state = 'sent'";
            (scene.count(sql).await.ok()? >= 3_200).then_some(())
        },
    )
    .await;
    let worked_off = began.elapsed();
    println!("    taken in within {taken_in:.1?}, worked off within {worked_off:.1?}");
    assert!(
        worked_off > taken_in * 5,
        "no overload: {taken_in:?} of {worked_off:?}"
    );
    during.assert_flat(&before);
    let began = Instant::now();
    scene.probe().await;
    let took = began.elapsed();
    assert!(
        took < Duration::from_secs(5),
        "an order took {took:?} afterwards"
    );
}

/// Most of them are orders that are refused at once, so that the queue is worked off fast and every
/// pool behind it has something to do all the time.
async fn million(scene: &mut Scene) {
    scene.orders(100, 5);
    scene.completed(100).await;
    scene.parts.stop("order").await;
    scene.load.accepted().await;
    let began = Instant::now();
    let partners = 4;
    let publishing = (0..partners).map(async |_| {
        let partner = Partner::connect(scene, OURS).await;
        let good = Letter::order(scene, "good", "good");
        let bad = String::from_utf8(good.body.clone()).unwrap();
        let bad = good.with_body(bad.replace("\"plan\":\"s\"", "\"plan\":\"none\""));
        for batch in 0..1_000_000 / partners / 1_000 {
            let letters = (0..1_000).map(|number| {
                let valid = (batch + number) % 200 == 0;
                renamed(if valid { &good } else { &bad })
            });
            partner.send_all(letters).await?;
        }
        Ok::<_, lapin::Error>(())
    });
    try_join_all(publishing).await.unwrap();
    println!("    published within {:.1?}", began.elapsed());
    scene.parts.add("order", "order", &[]);
    let sql = "SELECT count(*) FROM \"order\"";
    scene.until("orders to be stored", sql, 1_000).await;
    let mut before = Peaks::default();
    before.look(scene);
    let mut during = Peaks::default();
    let mut rates = Vec::new();
    for _ in 0..9 {
        let (began, first) = (Instant::now(), scene.count(sql).await.unwrap());
        while began.elapsed() < Duration::from_secs(10) {
            during.look(scene);
            sleep(Duration::from_millis(500)).await;
        }
        let done = scene.count(sql).await.unwrap() - first;
        rates.push(done as f64 / began.elapsed().as_secs_f64());
    }
    let queue = format!("queues/{}/order", scene.vhost());
    let waiting = scene.rabbit.get(&queue).await.unwrap_or_default()["messages"].as_i64();
    println!("    {rates:.0?} orders/s, {waiting:?} still wait");
    assert!(waiting.unwrap_or_default() > 500_000, "the backlog is gone");
    during.assert_flat(&before);
    let (early, late) = (median(&rates[..4]), median(&rates[5..]));
    assert!(late > early * 0.7, "from {early:.0} to {late:.0} orders/s");
    // The rest would take hours.
    scene.parts.stop("order").await;
    let contents = format!("{queue}/contents");
    scene
        .rabbit
        .call(Method::DELETE, &contents, json!({}))
        .await;
    scene.parts.add("order", "order", &[]);
}

/// The same order under another id.
fn renamed(letter: &Letter) -> Letter {
    let mut body: serde_json::Value = serde_json::from_slice(&letter.body).unwrap();
    let id = Uuid::now_v7().to_string();
    body["order_id"] = id.as_str().into();
    body["request"]["external_ref"] = id.as_str().into();
    let letter = letter.with_body(body.to_string());
    letter.with(|with| with.with_message_id(id.into()))
}

fn median(rates: &[f64]) -> f64 {
    let mut rates = rates.to_vec();
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
