//! Faults of the neighbours: the cloud provider, the mail server and the renderer.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::frames::Protocol;
use crate::machine::signal;
use crate::proxy::{Mode, Proxy};
use crate::scene::Scene;
use crate::suite::{Choice, Suite};
use crate::support::wait::{eventually, within};

pub(crate) fn register(suite: &mut Suite) {
    suite.fault(
        Choice::Full,
        "52",
        "the_provider_asks_for_pauses",
        async |scene: &mut Scene| {
            let with = json!({ "fault": "status", "status": 429, "retry_after": 1 });
            let without = json!({ "fault": "status", "status": 429 });
            provider_fails(scene, &[with, without], 120).await;
        },
    );
    suite.fault(
        Choice::Fixed,
        "53, 56",
        "the_provider_answers_with_errors_and_rubbish",
        async |scene: &mut Scene| {
            let status = |status: u16, after: bool| json!({ "fault": "status", "status": status, "after_effect": after });
            let mut faults: Vec<_> = [500, 502, 503]
                .into_iter()
                .flat_map(|code| [status(code, false), status(code, true)])
                .collect();
            faults.push(json!({ "fault": "truncated" }));
            provider_fails(scene, &faults, 60).await;
        },
    );
    suite.fault(
        Choice::Full,
        "54",
        "the_provider_creates_and_says_nothing",
        async |scene: &mut Scene| {
            let hang = json!({ "fault": "hang", "after_effect": true });
            provider_fails(scene, &[hang], 10).await;
        },
    );
    suite.fault(
        Choice::Full,
        "55",
        "what_was_created_shows_up_late",
        created_and_not_listed,
    );
    suite.fault(Choice::Full, "58", "the_provider_is_down", provider_down);
    suite.fault(
        Choice::Full,
        "59",
        "one_provider_is_slow_and_another_is_not",
        slow_next_to_fast,
    );
    suite.fault(
        Choice::Full,
        "60",
        "servers_are_created_and_not_ready_for_a_long_time",
        never_ready,
    );
    suite.fault(Choice::Full, "61", "the_mail_server_puts_off", mail_put_off);
    suite.fault(
        Choice::Fixed,
        "62, 63, 64",
        "the_mail_server_refuses_and_hangs_up",
        mail_refused_or_unanswered,
    );
    suite.fault(
        Choice::Full,
        "65",
        "the_mail_server_thinks_for_a_long_time",
        mail_answered_late,
    );
    suite.fault(
        Choice::Full,
        "67",
        "an_invoice_has_two_thousand_lines",
        huge_invoice,
    );
    suite.fault(
        Choice::Full,
        "67",
        "the_renderer_is_killed_again_and_again",
        renderer_killed,
    );
}

/// The next `count` calls to create fail in these ways, in turn.
async fn provider_fails(scene: &mut Scene, faults: &[Value], count: usize) {
    let create: Vec<_> = faults.iter().cycle().take(count).collect();
    scene
        .system
        .provider
        .faults(json!({ "create": create }))
        .await;
    scene.orders(60, 6);
    scene.completed(60).await;
}

async fn created_and_not_listed(scene: &mut Scene) {
    let lost = json!({ "fault": "status", "status": 500, "after_effect": true });
    let faults = json!({ "list_lag_ms": 30_000, "create": vec![lost; 40] });
    scene.system.provider.faults(faults).await;
    scene.orders(40, 4);
    scene.completed(40).await;
}

/// Long enough for several attempts of each order, and too short to give up.
async fn provider_down(scene: &mut Scene) {
    scene.system.provider.faults(json!({ "down": true })).await;
    scene.orders(60, 5);
    scene.stored(60).await;
    let sql = "SELECT count(*) FROM stage WHERE name = 'provision' AND attempts >= 2";
    scene.until("every order to be tried", sql, 60).await;
    scene.system.provider.faults(json!({})).await;
}

/// A second provider takes eight seconds for every answer. Whoever orders from the first one does
/// not notice.
async fn slow_next_to_fast(scene: &mut Scene) {
    let second = "INSERT INTO provider_account SELECT (jsonb_populate_record(p, jsonb_build_object(
              'id', '00000000-0000-0000-0000-000000000002', 'provider', 'simulated-2'))).*
          FROM provider_account p;
        INSERT INTO offering SELECT (jsonb_populate_record(o, jsonb_build_object(
              'id', '00000000-0000-0000-0000-000000000003', 'code', 'slow-server',
              'provider_account_id', '00000000-0000-0000-0000-000000000002'))).*
          FROM offering o WHERE code = 'cloud-server';
        INSERT INTO plan SELECT (jsonb_populate_record(p, jsonb_build_object(
              'id', '00000000-0000-0000-0000-000000000004',
              'offering_id', '00000000-0000-0000-0000-000000000003'))).*
          FROM plan p JOIN offering o ON o.id = p.offering_id
          WHERE o.code = 'cloud-server' AND p.code = 's';
        INSERT INTO price SELECT (jsonb_populate_record(r, jsonb_build_object(
              'id', gen_random_uuid(), 'plan_id', '00000000-0000-0000-0000-000000000004'))).*
          FROM price r JOIN plan p ON p.id = r.plan_id JOIN offering o ON o.id = p.offering_id
          WHERE o.code = 'cloud-server' AND p.code = 's'";
    for statement in second.split(';') {
        scene.execute(statement).await.unwrap();
    }
    let first: url::Url = scene.system.provider.url().parse().unwrap();
    let way = Proxy::start(first.port().expect("a port"), Protocol::Plain).await;
    way.both(Mode::Delay(Duration::from_secs(4)));
    let second = format!("http://127.0.0.1:{}", way.port());
    let variable = [("SIMULATED_PROVIDER_2_URL", second.as_str())];
    scene.parts.restart("provider", &variable).await;
    scene.load.offering = Some("slow-server");
    scene.orders(60, 1);
    scene.stored(60).await;
    let began = Instant::now();
    scene.load.offering = None;
    scene.orders(30, 3);
    let fast = "SELECT count(*) FROM \"order\"
        WHERE offering = 'cloud-server' AND state = 'completed'";
    scene.until("the fast orders to complete", fast, 30).await;
    let took = began.elapsed();
    let slow = "SELECT count(*) FROM \"order\"
        WHERE offering = 'slow-server' AND state = 'completed'";
    let slow = scene.count(slow).await.unwrap();
    assert!(slow < 60, "nothing was slow");
    assert!(
        took < Duration::from_secs(15),
        "the fast orders took {took:?}"
    );
    scene.completed(90).await;
}

/// They are asked for again and again, and shown to a person in the end. Others are not held up.
async fn never_ready(scene: &mut Scene) {
    scene.allowed.parked = vec!["not_ready"];
    scene.allowed.replay = true;
    let slow = json!({ "provision_ms": 240_000 });
    scene.system.provider.faults(slow).await;
    scene.orders(20, 0);
    scene.load.accepted().await;
    let created = "SELECT count(*) FROM resource WHERE external_id IS NOT NULL";
    scene.until("servers to be created", created, 20).await;
    scene.system.provider.faults(json!({})).await;
    let began = Instant::now();
    scene.orders(20, 2);
    scene.completed(20).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(30), "the others took {took:?}");
    let parked = "SELECT count(*) FROM parked_message WHERE reason = 'not_ready'";
    within(
        Duration::from_secs(300),
        "nobody to wait any more",
        async || (scene.count(parked).await.ok()? == 20).then_some(()),
    )
    .await;
}

async fn mail_put_off(scene: &mut Scene) {
    let places = [
        json!({ "at": "connect", "reply": "421 4.3.2 too busy" }),
        json!({ "at": "mail", "reply": "450 4.3.0 later" }),
        json!({ "at": "rcpt", "reply": "451 4.3.0 greylisted" }),
        json!({ "at": "data" }),
        json!({ "at": "body", "reply": "452 4.3.1 disk full" }),
    ];
    let faults: Vec<_> = places.iter().cycle().take(100).collect();
    scene.system.mail.faults(json!(faults)).await;
    scene.orders(60, 6);
    sent(scene, 60).await;
}

async fn sent(scene: &Scene, count: i64) {
    let sql = "SELECT count(*) FROM email_delivery WHERE state = 'sent'";
    scene.until("mails to be sent", sql, count).await;
}

/// A refusal is for good. Silence behind the body is ambiguous: held, never sent again, whether the
/// server kept the mail or not.
async fn mail_refused_or_unanswered(scene: &mut Scene) {
    scene.allowed.held = true;
    scene.allowed.refused = true;
    let faults = json!([
        { "at": "rcpt", "reply": "550 5.1.1 no such user" },
        { "at": "rcpt", "reply": "550 5.1.1 no such user" },
        { "at": "body", "reply": "554 5.7.1 spam" },
        { "at": "body", "keep": true },
        { "at": "body", "keep": true },
        { "at": "body", "keep": false },
        { "at": "middle" },
        { "at": "middle" },
    ]);
    scene.system.mail.faults(faults).await;
    scene.orders(40, 4);
    sent(scene, 32).await;
    for (state, count) in [("refused", 3), ("ambiguous", 5)] {
        let sql = format!("SELECT count(*) FROM email_delivery WHERE state = '{state}'");
        let states = eventually("the states of the mails", async || {
            let number = scene.count(&sql).await.ok()?;
            (number >= count).then_some(number)
        })
        .await;
        assert_eq!(states, count, "{state}");
    }
    assert_eq!(scene.system.mail.accepted().await.len(), 34);
}

/// One answer takes half a minute; the other mails do not wait for it.
async fn mail_answered_late(scene: &mut Scene) {
    let slow =
        json!([{ "at": "body", "reply": "250 2.0.0 queued", "keep": true, "delay_ms": 30_000 }]);
    scene.system.mail.faults(slow).await;
    let began = Instant::now();
    scene.orders(30, 3);
    sent(scene, 29).await;
    assert!(
        began.elapsed() < Duration::from_secs(25),
        "all mails wait for one"
    );
    sent(scene, 30).await;
}

/// It is rendered like the others, and they do not wait for it.
async fn huge_invoice(scene: &mut Scene) {
    scene.parts.stop("document").await;
    scene.orders(10, 1);
    let issued = "SELECT count(*) FROM invoice WHERE state = 'issued'";
    scene.until("invoices to be issued", issued, 10).await;
    // No order comes to as many lines. What is issued is frozen, but for the owner of the database.
    let longer = "UPDATE invoice SET content = jsonb_set(content::jsonb, '{lines}',
            (SELECT jsonb_agg(line) FROM (SELECT content::jsonb #> '{lines,0}' AS line
             FROM generate_series(1, 2000)) AS lines))::text
        WHERE id = (SELECT min(id::text) FROM invoice)::uuid";
    let thaw = "ALTER TABLE invoice DISABLE TRIGGER USER";
    for statement in [thaw, longer, "ALTER TABLE invoice ENABLE TRIGGER USER"] {
        scene.execute(statement).await.unwrap();
    }
    scene.parts.add("document", "document", &[]);
    sent(scene, 10).await;
    let pages = scene
        .count("SELECT max(pages) FROM document")
        .await
        .unwrap();
    assert!(pages > 40, "only {pages} pages");
}

/// Killed while it is idle and while it works, and then stopped: what hangs is killed and replaced.
async fn renderer_killed(scene: &mut Scene) {
    // A pool that cannot render its example ends; that is not what this is about.
    eventually("the pool to render", async || {
        (scene.logged("consuming document") > 0).then_some(())
    })
    .await;
    scene.orders(60, 10);
    let mut killed = 0;
    while scene.load.acknowledged().len() < 60 {
        for pid in scene.parts.children("document") {
            signal("KILL", pid).await;
            killed += 1;
        }
        sleep(Duration::from_millis(100)).await;
    }
    assert!(killed > 5, "only {killed} renderers were killed");
    scene.completed(60).await;
    let renderers = eventually("renderers to be warm", async || {
        let renderers = scene.parts.children("document");
        (!renderers.is_empty()).then_some(renderers)
    })
    .await;
    for pid in renderers {
        signal("STOP", pid).await;
    }
    scene.orders(10, 1);
    within(
        Duration::from_secs(90),
        "a document that fails",
        async || (scene.logged("a message of document failed") > 0).then_some(()),
    )
    .await;
}
