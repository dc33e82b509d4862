//! Faults of the neighbours: the cloud provider, the mail server and the renderer.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::machine::signal;
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
