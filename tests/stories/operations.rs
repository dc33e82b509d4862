//! Operations: parked messages, one process per embedded queue, a complete topology.

use serde_json::{Value, json};

use crate::support::client::small_server;
use crate::support::database::number;
use crate::support::process::try_flow;
use crate::support::suite::Suite;
use crate::support::system::{BOTH, System, World};
use crate::support::wait::eventually;

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "a_parked_message_is_shown_and_replayed_to_success",
        &BOTH,
        a_parked_message_is_replayed,
    );
    suite.story(
        "a_parked_message_is_discarded_with_a_reason",
        &BOTH,
        a_parked_message_is_discarded,
    );
    suite.story(
        "a_replay_of_a_finished_order_changes_nothing",
        &BOTH,
        a_replay_of_a_finished_order,
    );
    suite.story(
        "two_processes_cannot_share_an_embedded_queue",
        &[World::Embedded],
        two_processes_cannot_share,
    );
    suite.story(
        "a_missing_queue_is_named",
        &[World::Distributed],
        a_missing_queue_is_named,
    );
    suite.story(
        "migrations_are_applied_once",
        &BOTH,
        migrations_are_applied_once,
    );
}

/// Waits for the one parked message.
async fn parked(system: &System) -> Value {
    eventually("a parked message", async || {
        let listed = system.flow(&["dead", "list", "--json"]).await;
        serde_json::from_str(listed.lines().next()?).ok()
    })
    .await
}

/// An order whose server was refused by the provider.
async fn failed_order(system: &System) -> String {
    system
        .provider
        .faults(json!({ "create": [{ "fault": "status", "status": 403 }] }))
        .await;
    let accepted = system.client.order("k1", &small_server("web")).await;
    system.status(accepted.header("location"), "failed").await;
    accepted.header("location").to_owned()
}

async fn a_parked_message_is_replayed(world: World) {
    let system = System::start(world).await;
    let order = failed_order(&system).await;
    let message = parked(&system).await;
    assert_eq!(
        (&message["reason"], &message["attempts"]),
        (&json!("provider_rejected"), &json!(1))
    );
    assert_eq!(message["account_id"], system.account_id);
    assert!(order.ends_with(message["correlation_id"].as_str().unwrap()));
    let id = message["id"].as_str().unwrap();
    let shown: Value = serde_json::from_str(&system.flow(&["dead", "show", id]).await).unwrap();
    assert_eq!(shown["body"]["provider"], "simulated");
    assert!(
        shown["headers"]["traceparent"]
            .as_str()
            .unwrap()
            .contains(shown["trace_id"].as_str().unwrap())
    );
    assert!(
        shown["error"]
            .as_str()
            .unwrap()
            .contains("the provider refused")
    );
    // A filter that chooses nothing decides nothing.
    let none = system
        .flow(&["dead", "replay", "--all", "--queue", "email"])
        .await;
    assert!(none.starts_with("0 messages"), "{none}");
    let old = ["dead", "list", "--json", "--older-than", "1h"];
    assert_eq!(system.flow(&old).await, "");
    let new = ["dead", "list", "--json", "--newer-than", "1h"];
    assert_eq!(system.flow(&new).await.lines().count(), 1);

    system
        .flow(&[
            "dead",
            "replay",
            id,
            "--operator",
            "alice",
            "--note",
            "quota raised",
        ])
        .await;
    let finished = system.delivered(&system.client, &order).await;
    assert_eq!(finished["status"], "completed");
    assert_eq!(finished["problem"], Value::Null);
    assert_eq!(system.provider.created().await.len(), 1);
    let replayed = eventually("the replay to be noted", async || {
        let listed = system
            .flow(&["dead", "list", "--state", "replayed", "--json"])
            .await;
        serde_json::from_str::<Value>(listed.lines().next()?).ok()
    })
    .await;
    assert_eq!(
        (&replayed["decided_by"], &replayed["note"]),
        (&json!("alice"), &json!("quota raised"))
    );
    let audit = "SELECT count(*) FROM audit_entry WHERE actor = 'alice' AND action = 'parked_message.replay'";
    assert_eq!(number(&system.db().await, audit).await, 1);
    let again = try_flow(
        system.folder(),
        &["dead", "replay", id],
        system.environment(),
    )
    .await;
    assert!(again.unwrap_err().contains("do not wait for a decision"));
    system.finish().await;
}

async fn a_parked_message_is_discarded(world: World) {
    let system = System::start(world).await;
    let order = failed_order(&system).await;
    let id = parked(&system).await["id"].as_str().unwrap().to_owned();
    system
        .flow(&[
            "dead",
            "discard",
            &id,
            "--operator",
            "bob",
            "--note",
            "customer gave up",
        ])
        .await;
    assert_eq!(system.flow(&["dead", "list", "--json"]).await, "");
    let discarded = system
        .flow(&["dead", "list", "--state", "discarded", "--json"])
        .await;
    assert!(discarded.contains("customer gave up"), "{discarded}");
    assert_eq!(system.client.get(&order).await.body["status"], "failed");
    system.finish().await;
}

async fn a_replay_of_a_finished_order(world: World) {
    let system = System::start(world).await;
    let order = failed_order(&system).await;
    let id = parked(&system).await["id"].as_str().unwrap().to_owned();
    system.flow(&["dead", "replay", &id]).await;
    system.delivered(&system.client, &order).await;
    // Somebody makes it be replayed once more.
    let db = system.db().await;
    sea_orm::ConnectionTrait::execute_unprepared(
        &db,
        "UPDATE parked_message SET state = 'replaying'",
    )
    .await
    .unwrap();
    eventually("the second replay", async || {
        let sql = "SELECT count(*) FROM parked_message WHERE state = 'replayed'";
        (number(&db, sql).await == 1).then_some(())
    })
    .await;
    // It has gone through once another order behind it has.
    let other = system
        .order_and_deliver(&system.client, "k2", &small_server("db"))
        .await;
    assert_eq!(other["status"], "completed");
    assert_eq!(system.provider.created().await.len(), 2);
    assert_eq!(system.mail.accepted().await.len(), 2);
    assert_eq!(number(&db, "SELECT count(*) FROM invoice").await, 2);
    drop(db);
    system.finish().await;
}

async fn two_processes_cannot_share(world: World) {
    let system = System::start(world).await;
    let second = try_flow(system.folder(), &["worker", "order"], system.environment()).await;
    let error = second.unwrap_err();
    assert!(
        error.contains("another process has it open") && error.contains("amqp://"),
        "{error}"
    );
    system
        .order_and_deliver(&system.client, "k1", &small_server("web"))
        .await;
    system.finish().await;
}

async fn a_missing_queue_is_named(world: World) {
    let system = System::start(world).await;
    system.flow(&["topology", "check"]).await;
    system.flow(&["topology", "apply"]).await;
    let vhost = system.vhost.as_ref().unwrap();
    vhost.delete_queue("retry.2m").await;
    vhost.delete_exchange("tickets").await;
    let check = try_flow(
        system.folder(),
        &["topology", "check"],
        system.environment(),
    )
    .await;
    let error = check.unwrap_err();
    assert!(
        error.contains("exchange tickets, queue retry.2m"),
        "{error}"
    );
    assert!(error.contains("flow topology apply"), "{error}");
    system.finish().await;
}

async fn migrations_are_applied_once(world: World) {
    let system = System::start(world).await;
    let again = system.flow(&["migrate"]).await;
    assert!(again.starts_with("0 migrations applied"), "{again}");
    let seeded = system.flow(&["seed"]).await;
    assert!(seeded.contains("nothing is changed"), "{seeded}");
    system.finish().await;
}
