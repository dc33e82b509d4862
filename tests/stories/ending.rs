//! How things end: an order is taken back, a resource is given up; once, and for good.

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::{Answer, Client, small_server};
use crate::support::database::{number, texts};
use crate::support::partner::{Partner, of_kind};
use crate::support::suite::Suite;
use crate::support::system::{BOTH, System, World};
use crate::support::wait::eventually;

/// Of the accounts here.
const OPTIONS: [&str; 6] = [
    "--country",
    "DE",
    "--currency",
    "EUR",
    "--email",
    "billing@customer.example",
];

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "an_order_taken_back_while_its_server_starts_leaves_nothing",
        &BOTH,
        taken_back,
    );
    suite.story(
        "an_order_whose_server_nobody_knows_of_leaves_nothing",
        &BOTH,
        unknown_server,
    );
    suite.story(
        "an_order_that_waits_for_a_person_can_be_taken_back",
        &BOTH,
        failed_order,
    );
    suite.story(
        "a_resource_is_given_up_once_and_ends_when_the_provider_says",
        &BOTH,
        given_up,
    );
    suite.story(
        "a_server_is_deleted_once_although_its_worker_dies",
        &[World::Distributed, World::RabbitSqlite],
        worker_dies,
    );
    suite.story("what_cannot_end_says_why", &BOTH, what_cannot_end);
    suite.story(
        "a_partner_takes_back_and_gives_up_by_message",
        &[World::Distributed, World::RabbitSqlite],
        by_message,
    );
}

async fn cancel(client: &Client, order: &str) -> Answer {
    let body = json!({ "reason": "ordered twice" });
    let path = format!("{order}/cancellations");
    client.with_body(Method::POST, &path, &body).await
}

async fn terminate(client: &Client, resource: &str) -> Answer {
    let path = format!("{resource}/terminations");
    client.with_body(Method::POST, &path, &json!({})).await
}

/// Waits until a request is decided.
async fn decided(client: &Client, request: &str) -> Value {
    eventually(&format!("{request} to be decided"), async || {
        let answer = client.get(request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        (answer.body["status"] != "accepted").then_some(answer.body)
    })
    .await
}

/// What was created and deleted at the provider.
async fn created_and_deleted(system: &System) -> (usize, usize) {
    let ledger = system.provider.ledger().await;
    let created = ledger.iter().filter(|entry| entry["what"] == "create");
    (
        created.count(),
        ledger.len() - system.provider.created().await.len(),
    )
}

/// Nothing is charged for an order that was taken back.
async fn nothing_charged(system: &System) {
    let db = system.db().await;
    assert_eq!(number(&db, "SELECT count(*) FROM invoice").await, 0);
    let waiting = "SELECT name FROM stage WHERE state NOT IN ('done', 'cancelled')";
    assert_eq!(texts(&db, waiting).await, Vec::<String>::new());
}

async fn taken_back(world: World) {
    let system = System::start(world).await;
    system
        .provider
        .faults(json!({ "provision_ms": 600_000 }))
        .await;
    let accepted = system.client.order("k1", &small_server("web")).await;
    let order = accepted.header("location").to_owned();
    eventually("the server to be there", async || {
        (!system.provider.created().await.is_empty()).then_some(())
    })
    .await;
    let cancelled = cancel(&system.client, &order).await;
    assert_eq!(cancelled.status, 202, "{cancelled:?}");
    let request = cancelled.header("location").to_owned();
    // Asked for again it is the same request.
    let again = cancel(&system.client, &order).await;
    assert_eq!(
        (again.status.as_u16(), &again.body["id"]),
        (202, &cancelled.body["id"])
    );
    assert_eq!(again.header("idempotency-replayed"), "true");

    let done = decided(&system.client, &request).await;
    assert_eq!(done["status"], "done", "{done}");
    assert_eq!(done["kind"], "order.cancel.v1");
    let order = system.status(&order, "cancelled").await.body;
    let history: Vec<_> = order["history"].as_array().unwrap().iter().collect();
    let cancelling = history.iter().find(|event| event["state"] == "cancelling");
    assert_eq!(cancelling.unwrap()["note"], "ordered twice");
    assert_eq!(created_and_deleted(&system).await, (1, 1));
    let resource = system.client.get("/v1/resources").await.body["items"][0].clone();
    assert_eq!(resource["status"], "terminated", "{resource}");
    nothing_charged(&system).await;
    system.finish().await;
}

async fn unknown_server(world: World) {
    let system = System::start(world).await;
    // It is created, and nobody hears of it for a long time.
    system
        .provider
        .faults(json!({ "create": [{ "fault": "hang", "after_effect": true }] }))
        .await;
    let accepted = system.client.order("k1", &small_server("web")).await;
    eventually("the server to be there", async || {
        (!system.provider.created().await.is_empty()).then_some(())
    })
    .await;
    let cancelled = cancel(&system.client, accepted.header("location")).await;
    let done = decided(&system.client, cancelled.header("location")).await;
    assert_eq!(done["status"], "done", "{done}");
    assert_eq!(created_and_deleted(&system).await, (1, 1));
    nothing_charged(&system).await;
    system.finish().await;
}

async fn failed_order(world: World) {
    let system = System::start(world).await;
    system
        .provider
        .faults(json!({ "create": [{ "fault": "status", "status": 422 }] }))
        .await;
    let accepted = system.client.order("k1", &small_server("web")).await;
    let order = accepted.header("location").to_owned();
    system.status(&order, "failed").await;
    let cancelled = cancel(&system.client, &order).await;
    let done = decided(&system.client, cancelled.header("location")).await;
    assert_eq!(done["status"], "done", "{done}");
    assert_eq!(system.client.get(&order).await.body["status"], "cancelled");
    assert_eq!(created_and_deleted(&system).await, (0, 0));
    // Replayed all the same, the message creates nothing any more.
    system
        .flow(&["dead", "replay", "--all", "--note", "try"])
        .await;
    eventually("the message to be replayed", async || {
        let listed = system.flow(&["dead", "list", "--json"]).await;
        listed.is_empty().then_some(())
    })
    .await;
    assert_eq!(created_and_deleted(&system).await, (0, 0));
    nothing_charged(&system).await;
    system.finish().await;
}

async fn given_up(world: World) {
    let system = System::start(world).await;
    let order = system
        .order_and_deliver(&system.client, "k1", &small_server("web"))
        .await;
    let resource = order["links"]["resources"][0].as_str().unwrap().to_owned();
    // It is deleted, but the answer is lost; then the provider is out of order for a moment.
    let hang = json!({ "fault": "hang", "after_effect": true });
    let broken = json!({ "fault": "status", "status": 503 });
    system
        .provider
        .faults(json!({ "delete": [hang, broken] }))
        .await;
    let accepted = terminate(&system.client, &resource).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let early = system.client.get(accepted.header("location")).await;
    assert_eq!(early.status, 200, "{early:?}");
    let done = decided(&system.client, accepted.header("location")).await;
    assert_eq!(done["status"], "done", "{done}");
    assert_eq!(created_and_deleted(&system).await, (1, 1));

    // Billing ends when the provider really deleted it, not when we heard of it.
    let ledger = system.provider.ledger().await;
    let deleted: DateTime<Utc> = serde_json::from_value(ledger[1]["at"].clone()).unwrap();
    let seen = system.client.get(&resource).await.body;
    assert_eq!(seen["status"], "terminated");
    let ended: DateTime<Utc> = serde_json::from_value(seen["terminated_at"].clone()).unwrap();
    assert!(
        (ended - deleted).num_milliseconds().abs() <= 1,
        "{ended} {deleted}"
    );
    // Again it is the same request, and changes nothing.
    let again = terminate(&system.client, &resource).await;
    assert_eq!(again.body["id"], accepted.body["id"]);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(created_and_deleted(&system).await, (1, 1));
    // The order stays what it was.
    let order = system
        .client
        .get(order["links"]["self"].as_str().unwrap())
        .await;
    assert_eq!(order.body["status"], "completed");
    system.finish().await;
}

async fn worker_dies(world: World) {
    let mut system = System::start(world).await;
    let order = system
        .order_and_deliver(&system.client, "k1", &small_server("web"))
        .await;
    let resource = order["links"]["resources"][0].as_str().unwrap().to_owned();
    system.set_environment("CRASH_AT", "deprovision.effect:1");
    system.kill_and_restart("provider").await;
    system.unset_environment("CRASH_AT");
    let accepted = terminate(&system.client, &resource).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    system.part("provider").wait().await;
    system.kill_and_restart("provider").await;
    decided(&system.client, accepted.header("location")).await;
    let seen = system.client.get(&resource).await.body;
    assert_eq!(seen["status"], "terminated", "{seen}");
    assert_eq!(created_and_deleted(&system).await, (1, 1));
    system.finish().await;
}

async fn what_cannot_end(world: World) {
    let system = System::start(world).await;
    let (_, stranger) = system.account("Somebody else", &OPTIONS).await;
    let order = system
        .order_and_deliver(&system.client, "k1", &small_server("web"))
        .await;
    let own = order["links"]["self"].as_str().unwrap();
    let resource = order["links"]["resources"][0].as_str().unwrap();
    let late = cancel(&system.client, own).await;
    assert_eq!((late.status.as_u16(), late.problem()), (409, "conflict"));
    let detail = late.body["detail"].as_str().unwrap();
    assert!(detail.contains("terminated"), "{detail}");
    assert_eq!(cancel(&stranger, own).await.status, 404);
    assert_eq!(terminate(&stranger, resource).await.status, 404);
    let nowhere = format!("/v1/requests/{}", uuid::Uuid::now_v7());
    assert_eq!(system.client.get(&nowhere).await.status, 404);

    let unknown =
        json!({ "offering": "cloud-server", "plan": "xxl", "region": "eu-central", "name": "web" });
    let accepted = system.client.order("k2", &unknown).await;
    let rejected = accepted.header("location");
    system.status(rejected, "rejected").await;
    assert_eq!(cancel(&system.client, rejected).await.status, 409);

    // A request is its account's alone.
    let ended = terminate(&system.client, resource).await;
    let request = ended.header("location");
    assert_eq!(stranger.get(request).await.status, 404);
    decided(&system.client, request).await;
    assert_eq!(stranger.get(request).await.status, 404);
    // A body that is not understood ends nothing.
    let path = format!("{resource}/terminations");
    let wrong = json!({ "reason": 7 });
    let wrong = system.client.with_body(Method::POST, &path, &wrong).await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.wrong_fields()),
        (422, vec!["reason"])
    );
    system.finish().await;
}

async fn by_message(world: World) {
    let system = System::start(world).await;
    let (account, customer) = system.account("Partner's customer", &OPTIONS).await;
    let (foreign, _) = system.account("Somebody else", &OPTIONS).await;
    let partner = Partner::create(&system, &[&account]).await;
    let session = partner.connect().await.unwrap();
    let mut request = small_server("web");
    request["external_ref"] = "po-1".into();
    let place = json!({ "account_id": account, "request": request });
    session.order(&place).await.unwrap();
    let answers = session
        .answers(&["order.completed.v1", "invoice.delivered.v1"])
        .await;
    let completed = of_kind(&answers, "order.completed.v1").clone();

    // An order that is completed stays, and the answer says what to do instead.
    let cancel = json!({ "account_id": account, "order_id": completed["order_id"] });
    session
        .send("orders", "order.cancel.v1", &cancel)
        .await
        .unwrap();
    let answers = session.answers(&["request.rejected.v1"]).await;
    let rejected = of_kind(&answers, "request.rejected.v1");
    assert_eq!(rejected["kind"], "order.cancel.v1");
    assert_eq!(rejected["subject_id"], completed["order_id"]);
    assert_eq!(rejected["problem"]["status"], 409);

    // An unknown order, and somebody else's account.
    let unknown = json!({ "account_id": account, "order_id": uuid::Uuid::now_v7() });
    session
        .send("orders", "order.cancel.v1", &unknown)
        .await
        .unwrap();
    let answers = session.answers(&["request.rejected.v1"]).await;
    assert_eq!(
        of_kind(&answers, "request.rejected.v1")["problem"]["status"],
        404
    );
    let theirs = json!({ "account_id": foreign, "order_id": completed["order_id"] });
    session
        .send("orders", "order.cancel.v1", &theirs)
        .await
        .unwrap();
    let answers = session.answers(&["message.rejected.v1"]).await;
    assert_eq!(
        of_kind(&answers, "message.rejected.v1")["problem"]["status"],
        403
    );

    let resource_id = &completed["resource_ids"][0];
    let terminate = json!({ "account_id": account, "resource_id": resource_id, "reason": "moved" });
    session
        .send("orders", "resource.terminate.v1", &terminate)
        .await
        .unwrap();
    let answers = session.answers(&["resource.terminated.v1"]).await;
    let terminated = of_kind(&answers, "resource.terminated.v1");
    assert_eq!(&terminated["resource_id"], resource_id);

    // One that is on its way can be taken back.
    system
        .provider
        .faults(json!({ "provision_ms": 600_000 }))
        .await;
    let mut second = place.clone();
    second["request"]["external_ref"] = "po-2".into();
    session.order(&second).await.unwrap();
    let answers = session.answers(&["order.accepted.v1"]).await;
    let order_id = of_kind(&answers, "order.accepted.v1")["order_id"].clone();
    let cancel = json!({ "account_id": account, "order_id": order_id });
    session
        .send("orders", "order.cancel.v1", &cancel)
        .await
        .unwrap();
    let answers = session.answers(&["order.cancelled.v1"]).await;
    let cancelled = of_kind(&answers, "order.cancelled.v1");
    assert_eq!(
        (&cancelled["order_id"], &cancelled["external_ref"]),
        (&order_id, &json!("po-2"))
    );
    let seen = customer
        .get(&format!("/v1/orders/{}", order_id.as_str().unwrap()))
        .await;
    assert_eq!(seen.body["status"], "cancelled");
    partner.end(&system).await;
    system.finish_with(1).await;
}
