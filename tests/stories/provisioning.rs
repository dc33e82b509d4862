//! Provisioning: one resource per order, whatever the provider answers.

use serde_json::{Value, json};

use crate::support::client::small_server;
use crate::support::database::number;
use crate::support::suite::Suite;
use crate::support::system::{BOTH, System, World};
use crate::support::wait::eventually;

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "a_provider_that_answers_503_twice_makes_one_of_each",
        &BOTH,
        a_provider_that_answers_503_twice,
    );
    suite.story(
        "a_server_created_behind_a_hang_is_found_again",
        &BOTH,
        a_server_created_behind_a_hang,
    );
    suite.story(
        "a_provider_without_tokens_makes_one_server_too",
        &BOTH,
        a_provider_without_tokens,
    );
    suite.story(
        "a_provider_that_asks_for_a_pause_gets_it",
        &BOTH,
        a_provider_that_asks_for_a_pause,
    );
    suite.story(
        "a_slow_server_is_waited_for",
        &BOTH,
        a_slow_server_is_waited_for,
    );
    suite.story(
        "a_server_that_cannot_start_fails_with_a_reason",
        &BOTH,
        a_server_that_cannot_start,
    );
    suite.story(
        "an_order_of_which_one_server_is_refused_says_so_until_it_is_replayed",
        &BOTH,
        one_of_several_is_refused,
    );
}

/// One order, one server, one invoice, one mail.
async fn one_of_each(system: &System, order: &Value) {
    assert_eq!(order["status"], "completed");
    assert_eq!(system.provider.created().await.len(), 1);
    assert_eq!(
        number(&system.db().await, "SELECT count(*) FROM invoice").await,
        1
    );
    assert_eq!(system.mail.accepted().await.len(), 1);
}

async fn a_provider_that_answers_503_twice(world: World) {
    let system = System::start(world).await;
    let unavailable = json!({ "fault": "status", "status": 503 });
    system
        .provider
        .faults(json!({ "create": [unavailable, unavailable] }))
        .await;
    let order = system
        .order_and_deliver(&system.client, "k1", &small_server("web"))
        .await;
    one_of_each(&system, &order).await;
    let provision = &order["stages"][1];
    assert_eq!(
        (&provision["name"], &provision["attempts"]),
        (&json!("provision"), &json!(3))
    );
    let states: Vec<_> = order["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["state"])
        .collect();
    assert_eq!(
        states,
        [
            "accepted",
            "queued",
            "provisioning",
            "needs_reconciliation",
            "provisioning",
            "needs_reconciliation",
            "provisioning",
            "completed"
        ]
    );
    system.finish().await;
}

async fn a_server_created_behind_a_hang(world: World) {
    let system = System::start(world).await;
    system
        .provider
        .faults(json!({ "create": [{ "fault": "hang", "after_effect": true }] }))
        .await;
    let accepted = system.client.order("k1", &small_server("web")).await;
    // The customer sees what is going on.
    let order = accepted.header("location");
    system.status(order, "needs_reconciliation").await;
    let waiting = eventually("the stage to say so too", async || {
        let order = system.client.get(order).await;
        (order.body["stages"][1]["state"] == "retrying").then_some(order)
    })
    .await;
    let provision = &waiting.body["stages"][1];
    assert!(provision["next_attempt_at"].is_string());
    assert!(
        provision["last_error"]
            .as_str()
            .unwrap()
            .contains("no clear answer"),
        "{provision}"
    );
    let order = system
        .delivered(&system.client, accepted.header("location"))
        .await;
    one_of_each(&system, &order).await;
    system.finish().await;
}

async fn a_provider_without_tokens(world: World) {
    let system = System::start(world).await;
    let after_effect = json!({ "fault": "status", "status": 500, "after_effect": true });
    system
        .provider
        .faults(json!({ "ignore_tokens": true, "create": [after_effect] }))
        .await;
    let order = system
        .order_and_deliver(&system.client, "k1", &small_server("web"))
        .await;
    one_of_each(&system, &order).await;
    system
        .provider
        .faults(json!({ "ignore_tokens": true, "create": [{ "fault": "truncated" }] }))
        .await;
    system
        .order_and_deliver(&system.client, "k2", &small_server("db"))
        .await;
    assert_eq!(system.provider.created().await.len(), 2);
    system.finish().await;
}

async fn a_provider_that_asks_for_a_pause(world: World) {
    let system = System::start(world).await;
    let limited = json!({ "fault": "status", "status": 429, "retry_after": 3 });
    // More often than a message may fail: asking for a pause is not failing.
    system
        .provider
        .faults(json!({ "create": vec![limited; 10] }))
        .await;
    let order = system
        .order_and_deliver(&system.client, "k1", &small_server("web"))
        .await;
    one_of_each(&system, &order).await;
    system.finish().await;
}

async fn a_slow_server_is_waited_for(world: World) {
    let system = System::start(world).await;
    // Longer than the handler waits by itself.
    system
        .provider
        .faults(json!({ "provision_ms": 12_000 }))
        .await;
    let order = system
        .order_and_deliver(&system.client, "k1", &small_server("web"))
        .await;
    one_of_each(&system, &order).await;
    system.finish().await;
}

async fn a_server_that_cannot_start(world: World) {
    let system = System::start(world).await;
    system
        .provider
        .faults(json!({ "create": [{ "fault": "action_fails" }] }))
        .await;
    let accepted = system.client.order("k1", &small_server("web")).await;
    let failed = system
        .status(accepted.header("location"), "failed")
        .await
        .body;
    assert!(
        failed["problem"]["detail"]
            .as_str()
            .unwrap()
            .contains("no host has room"),
        "{failed}"
    );
    assert_eq!(failed["stages"][1]["state"], "failed");
    let parked = eventually("the parked message", async || {
        let line = system.flow(&["dead", "list", "--json"]).await;
        serde_json::from_str::<Value>(line.lines().next()?).ok()
    })
    .await;
    assert_eq!(
        (&parked["queue"], &parked["reason"]),
        (&json!("provider-simulated"), &json!("provisioning_failed"))
    );
    assert_eq!(parked["trace_id"], accepted.header("x-trace-id"));
    assert_eq!(
        number(&system.db().await, "SELECT count(*) FROM invoice").await,
        0
    );
    system.finish_with(1).await;
}

async fn one_of_several_is_refused(world: World) {
    let system = System::start(world).await;
    system
        .provider
        .faults(json!({ "create": [{ "fault": "status", "status": 403 }] }))
        .await;
    let mut body = small_server("web");
    body["quantity"] = json!(2);
    let accepted = system.client.order("k1", &body).await;
    let order = accepted.header("location");
    let db = system.db().await;
    eventually("the other server to be active", async || {
        let sql = "SELECT count(*) FROM resource WHERE state = 'active'";
        (number(&db, sql).await == 1).then_some(())
    })
    .await;
    drop(db);
    let failed = system.status(order, "failed").await.body;
    assert!(
        failed["problem"]["detail"]
            .as_str()
            .unwrap()
            .contains("the provider refused"),
        "{failed}"
    );
    system.flow(&["dead", "replay", "--all"]).await;
    let finished = system.delivered(&system.client, order).await;
    assert_eq!(finished["status"], "completed");
    assert_eq!(system.provider.created().await.len(), 2);
    system.finish().await;
}
