//! What stands still goes on by itself, and what differs at the provider is shown.

use serde_json::{Value, json};

use crate::support::client::small_server;
use crate::support::database::number;
use crate::support::suite::Suite;
use crate::support::system::{BOTH, Setup, System, World};
use crate::support::wait::eventually;

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "a_broker_that_lost_everything_is_a_delay",
        &BOTH,
        a_broker_that_lost_everything,
    );
    suite.story(
        "servers_that_differ_at_the_provider_are_shown_and_left_alone",
        &BOTH,
        servers_that_differ,
    );
    suite.story(
        "two_reconcilers_share_what_stands_still",
        &[World::Distributed],
        two_reconcilers,
    );
}

/// A system whose reconciler is patient for a second.
async fn impatient(world: World) -> System {
    let mut system = System::start_with(
        world,
        Setup {
            idle: true,
            ..Setup::default()
        },
    )
    .await;
    system.set_environment("RECONCILE_AFTER", "1");
    system.start_all().await;
    system
}

/// Places orders and waits until each is in the database, being provisioned at a slow provider.
async fn under_way(system: &System, count: usize) -> Vec<String> {
    system.provider.faults(json!({ "latency_ms": 1500 })).await;
    let mut orders = Vec::new();
    for index in 0..count {
        let accepted = system
            .client
            .order(&format!("order-{index}"), &small_server("web"))
            .await;
        orders.push(accepted.header("location").to_owned());
    }
    let db = system.db().await;
    let expected = i64::try_from(count).unwrap();
    eventually("every order to be taken in", async || {
        let taken_in = number(&db, "SELECT count(*) FROM \"order\"").await;
        (taken_in == expected).then_some(())
    })
    .await;
    orders
}

async fn a_broker_that_lost_everything(world: World) {
    let mut system = impatient(world).await;
    let orders = under_way(&system, 20).await;
    let parts: Vec<_> = system.processes.iter().map(|(name, _)| *name).collect();
    for part in &parts {
        system.kill(part).await;
    }
    match &system.vhost {
        Some(vhost) => {
            vhost.delete_every_queue().await;
            system.flow(&["topology", "apply"]).await;
        }
        None => {
            for suffix in ["", "-wal", "-shm"] {
                let file = format!("{}{suffix}", system.queue_file().display());
                std::fs::remove_file(file).ok();
            }
        }
    }
    system.provider.faults(json!({})).await;
    system.start_all().await;
    for order in &orders {
        let delivered = system.delivered(&system.client, order).await;
        assert_eq!(delivered["status"], "completed");
    }
    let created = system.provider.created().await.len();
    assert_eq!((created, system.mail.accepted().await.len()), (20, 20));
    system.finish().await;
}

async fn servers_that_differ(world: World) {
    let system = impatient(world).await;
    let order = system
        .order_and_deliver(&system.client, "k1", &small_server("web"))
        .await;
    let resource = system
        .client
        .get(order["links"]["resources"][0].as_str().unwrap())
        .await
        .body;
    let server = resource["external_id"].as_str().unwrap();
    let audit = system.flow(&["resource", "audit"]).await;
    assert_eq!(audit, "", "nothing differs yet");

    // Somebody deletes ours, and creates one with our label.
    system.provider.delete(server).await;
    let orphan = system.provider.create_labelled("gone-order").await;
    let found = eventually("both differences", async || {
        let lines = audit_lines(&system).await;
        let found: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        (found.len() == 2).then_some(found)
    })
    .await;
    let of = |kind: &str| found.iter().find(|row| row["kind"] == kind).unwrap();
    assert_eq!(of("ghost")["external_id"], server);
    assert_eq!(of("ghost")["resource_id"], resource["id"]);
    assert_eq!(of("orphan")["external_id"], orphan);
    assert_eq!(of("orphan")["order_label"], "gone-order");
    // Nothing was deleted, and no server was created in its place.
    let deleted = system.provider.ledger().await;
    assert_eq!(
        deleted
            .iter()
            .filter(|entry| entry["what"] == "delete")
            .count(),
        1
    );
    assert_eq!(system.provider.created().await.len(), 2);

    // What is put right is no difference any more.
    system.provider.delete(&orphan).await;
    eventually("one difference", async || {
        (audit_lines(&system).await.lines().count() == 1).then_some(())
    })
    .await;
    system.finish().await;
}

/// What the audit prints, whatever it ends with.
async fn audit_lines(system: &System) -> String {
    system.printed(&["resource", "audit", "--json"]).await
}

async fn two_reconcilers(world: World) {
    let mut system = impatient(world).await;
    system.start_part("parker");
    // Nobody provisions: each order stands still, and both reconcilers see it.
    let provider = system.kill("provider").await;
    let mut orders = Vec::new();
    for index in 0..10 {
        let accepted = system
            .client
            .order(&format!("order-{index}"), &small_server("web"))
            .await;
        orders.push(accepted.header("location").to_owned());
    }
    let db = system.db().await;
    let log = system.folder().join("parker.log");
    let sql = "SELECT CAST(coalesce(sum(checks), 0) AS bigint) FROM stage";
    eventually(
        "each step to be sent again twice, and never by both",
        async || {
            let sent = std::fs::read_to_string(&log).unwrap();
            let sent = i64::try_from(sent.matches("sending a step again").count()).unwrap();
            let checks = number(&db, sql).await;
            assert!(sent <= checks, "{sent} were sent for {checks} checks");
            (sent == checks && checks >= 20).then_some(())
        },
    )
    .await;
    drop(db);
    system.restart(provider).await;
    for order in &orders {
        system.delivered(&system.client, order).await;
    }
    let created = system.provider.created().await.len();
    assert_eq!((created, system.mail.accepted().await.len()), (10, 10));
    system.finish().await;
}
