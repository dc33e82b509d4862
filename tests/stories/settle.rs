//! Invoices that are asked for: everything up to now, and nothing twice.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use reqwest::Method;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::support::client::{Answer, Client, small_server};
use crate::support::database::{number, texts};
use crate::support::partner::{Partner, of_kind};
use crate::support::suite::Suite;
use crate::support::system::{BOTH, System, World};
use crate::support::wait::eventually;

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "what_is_not_invoiced_yet_is_invoiced_once",
        &BOTH,
        invoiced_once,
    );
    suite.story(
        "meters_are_invoiced_up_to_their_last_word",
        &BOTH,
        meters_are_invoiced,
    );
    suite.story(
        "an_invoice_waits_for_a_provider_that_is_away",
        &BOTH,
        provider_is_away,
    );
    suite.story(
        "an_invoice_that_was_asked_for_keeps_its_number_although_its_worker_dies",
        &[World::Distributed],
        worker_dies,
    );
    suite.story(
        "a_partner_asks_for_an_invoice_by_message",
        &[World::Distributed, World::RabbitSqlite],
        by_message,
    );
}

pub(super) async fn ask(client: &Client, key: Option<&str>) -> Answer {
    let request = client
        .request(Method::POST, "/v1/invoices")
        .json(&json!({}));
    let request = match key {
        Some(key) => request.header("idempotency-key", key),
        None => request,
    };
    let answer = client.send(request).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer
}

pub(super) async fn decided(client: &Client, accepted: &Answer) -> Value {
    let path = accepted.header("location").to_owned();
    eventually(&format!("{path} to be decided"), async || {
        let answer = client.get(&path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        (answer.body["status"] != "accepted").then_some(answer.body)
    })
    .await
}

/// The invoice that a request has made.
pub(super) async fn invoice_of(client: &Client, done: &Value) -> Value {
    assert_eq!(done["status"], "done", "{done}");
    let path = format!("/v1/invoices/{}", done["result_id"].as_str().unwrap());
    client.get(&path).await.body
}

/// Lets the time that is invoiced end so many days ago, as if they had passed since.
pub(super) async fn days_pass(system: &System, days: i64) -> DateTime<Utc> {
    let until = Utc::now().trunc_subsecs(0) - TimeDelta::days(days);
    let db = system.db().await;
    let sql = "UPDATE resource SET billed_until = $1, activated_at = $2";
    let values = [until.into(), until.into()];
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    db.execute_raw(statement).await.unwrap();
    until
}

fn nothing(outcome: &Value) -> bool {
    let problem = outcome["problem"]["type"].as_str().unwrap_or_default();
    outcome["status"] == "rejected" && problem.ends_with("/nothing-to-invoice")
}

async fn invoiced_once(world: World) {
    let system = System::start(world).await;
    let client = &system.client;
    // Nothing was ordered yet; then the first month is paid in advance.
    let early = ask(client, None).await;
    assert!(nothing(&decided(client, &early).await));
    let order = json!({ "offering": "cloud-server", "plan": "s", "quantity": 2, "region": "eu-central", "name": "web" });
    system.order_and_deliver(client, "k1", &order).await;
    let advance = ask(client, None).await;
    assert!(nothing(&decided(client, &advance).await));

    // Ten days after that month there is something to invoice: asked for by many, it is invoiced once.
    let since = days_pass(&system, 10).await;
    let asked = futures_util::future::join_all((0..5).map(|_| ask(client, None))).await;
    let outcomes = asked.iter().map(|accepted| decided(client, accepted));
    let outcomes = futures_util::future::join_all(outcomes).await;
    let done: Vec<_> = outcomes
        .iter()
        .filter(|outcome| !nothing(outcome))
        .collect();
    assert_eq!(done.len(), 1, "{outcomes:?}");
    let invoice = invoice_of(client, done[0]).await;
    let lines = invoice["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 2);
    for line in lines {
        assert_eq!(line["unit"], "month", "{line}");
        let months: f64 = line["quantity"].as_str().unwrap().parse().unwrap();
        assert!((0.32..0.37).contains(&months), "{line}");
        let start: DateTime<Utc> = serde_json::from_value(line["period"]["start"].clone()).unwrap();
        assert!((start - since).num_seconds().abs() <= 1, "{start} {since}");
    }
    let db = system.db().await;
    let periods = "SELECT count(*) FROM invoice_line WHERE unit = 'month' AND period_start >= ";
    let since = since.format("%Y-%m-%d");
    assert_eq!(number(&db, &format!("{periods} '{since}'")).await, 3);

    // The same key is the same request; another body under it is not.
    days_pass(&system, 10).await;
    let one = ask(client, Some("2026-12")).await;
    let two = ask(client, Some("2026-12")).await;
    assert_eq!(one.body["id"], two.body["id"]);
    let third = invoice_of(client, &decided(client, &one).await).await;
    assert_eq!(
        third["number"].as_str().unwrap().rsplit('-').next(),
        Some("000003")
    );
    let other = client
        .request(Method::POST, "/v1/invoices")
        .header("idempotency-key", "2026-12")
        .json(&json!({ "external_ref": "2026-12" }));
    let other = client.send(other).await;
    assert_eq!(
        (other.status.as_u16(), other.problem()),
        (422, "idempotency-key-reused")
    );
    eventually("every invoice to be mailed", async || {
        (system.mail.accepted().await.len() == 3).then_some(())
    })
    .await;
    let audit = system.flow(&["series", "audit"]).await;
    assert!(
        audit.contains("3 invoices, numbers 1 to 3, no gap"),
        "{audit}"
    );
    system.finish().await;
}

/// Orders a server whose traffic is dear, so that seconds of it cost something.
async fn metered_server(system: &System) -> String {
    let db = system.db().await;
    let dear = "UPDATE price SET unit_price = '1000' WHERE component = 'traffic'";
    db.execute_unprepared(dear).await.unwrap();
    let order = json!({ "offering": "managed-server", "plan": "standard", "region": "eu-central", "name": "db" });
    let order = system.order_and_deliver(&system.client, "m1", &order).await;
    order["links"]["resources"][0].as_str().unwrap().to_owned()
}

async fn meters_are_invoiced(world: World) {
    let system = System::start(world).await;
    let client = &system.client;
    let resource = metered_server(&system).await;
    // Traffic is counted from the first second: some of it comes to a cent soon.
    let first = eventually("some traffic to be invoiced", async || {
        let outcome = decided(client, &ask(client, None).await).await;
        (!nothing(&outcome)).then_some(outcome)
    })
    .await;
    let first = invoice_of(client, &first).await;
    assert_eq!(first["lines"][0]["unit"], "gibibyte", "{first}");
    let path = format!("{resource}/terminations");
    let ended = client.with_body(Method::POST, &path, &json!({})).await;
    assert_eq!(decided(client, &ended).await["status"], "done");
    let last = decided(client, &ask(client, None).await).await;
    if !nothing(&last) {
        let last = invoice_of(client, &last).await;
        assert_eq!(
            last["lines"][0]["period"]["start"],
            first["lines"][0]["period"]["end"]
        );
    }
    // All that was ever counted is invoiced, once.
    let db = system.db().await;
    let quantities = texts(
        &db,
        "SELECT quantity FROM invoice_line WHERE unit = 'gibibyte'",
    )
    .await;
    let invoiced: f64 = quantities
        .iter()
        .map(|text| text.parse::<f64>().unwrap())
        .sum();
    let read = texts(
        &db,
        "SELECT counter FROM usage_record WHERE meter = 'traffic' ORDER BY read_at DESC",
    )
    .await;
    let counted: f64 = read[0].parse().unwrap();
    assert!(
        (invoiced - counted).abs() < 0.000_02,
        "{invoiced} {counted}"
    );
    let settled = "SELECT count(*) FROM resource WHERE settled_at IS NOT NULL";
    assert_eq!(number(&db, settled).await, 1);
    assert!(nothing(&decided(client, &ask(client, None).await).await));
    system.finish().await;
}

async fn provider_is_away(world: World) {
    let system = System::start(world).await;
    let client = &system.client;
    metered_server(&system).await;
    days_pass(&system, 10).await;
    system.provider.faults(json!({ "down": true })).await;
    let accepted = ask(client, None).await;
    let db = system.db().await;
    eventually("an attempt to fail", async || {
        let failed = "SELECT count(*) FROM stage WHERE name = 'settle' AND state = 'retrying'";
        (number(&db, failed).await == 1).then_some(())
    })
    .await;
    assert_eq!(
        client.get(accepted.header("location")).await.body["status"],
        "accepted"
    );
    system.provider.faults(json!({})).await;
    let invoice = invoice_of(client, &decided(client, &accepted).await).await;
    assert_eq!(invoice["lines"][0]["unit"], "month", "{invoice}");
    eventually("both invoices to be mailed", async || {
        (system.mail.accepted().await.len() == 2).then_some(())
    })
    .await;
    system.finish().await;
}

async fn worker_dies(world: World) {
    let mut system = System::start(world).await;
    system
        .order_and_deliver(&system.client, "k1", &small_server("web"))
        .await;
    days_pass(&system, 10).await;
    system.set_environment("CRASH_AT", "settle.numbered:1");
    system.kill_and_restart("invoice").await;
    system.unset_environment("CRASH_AT");
    let accepted = ask(&system.client, None).await;
    system.part("invoice").wait().await;
    system.kill_and_restart("invoice").await;
    let invoice = invoice_of(&system.client, &decided(&system.client, &accepted).await).await;
    assert!(invoice["number"].as_str().unwrap().ends_with("-000002"));
    assert!(nothing(
        &decided(&system.client, &ask(&system.client, None).await).await
    ));
    eventually("both invoices to be mailed", async || {
        (system.mail.accepted().await.len() == 2).then_some(())
    })
    .await;
    system.finish().await;
}

async fn by_message(world: World) {
    let system = System::start(world).await;
    let options = [
        "--country",
        "DE",
        "--currency",
        "EUR",
        "--email",
        "b@customer.example",
    ];
    let (account, _) = system.account("Partner's customer", &options).await;
    let partner = Partner::create(&system, &[&account]).await;
    let session = partner.connect().await.unwrap();
    let request = |reference: Option<&str>| json!({ "account_id": account, "request": { "external_ref": reference } });
    let send = async |body: &Value| {
        session
            .send("invoices", "invoice.request.v1", body)
            .await
            .unwrap();
    };
    send(&request(Some("november"))).await;
    let answers = session.answers(&["request.rejected.v1"]).await;
    let rejected = of_kind(&answers, "request.rejected.v1");
    assert_eq!(
        (&rejected["external_ref"], &rejected["kind"]),
        (&json!("november"), &json!("invoice.request.v1"))
    );
    // Without a reference a repetition would be another request.
    send(&request(None)).await;
    let answers = session.answers(&["message.rejected.v1"]).await;
    assert_eq!(
        of_kind(&answers, "message.rejected.v1")["problem"]["status"],
        422
    );

    let mut order = small_server("web");
    order["external_ref"] = "po-1".into();
    session
        .order(&json!({ "account_id": account, "request": order }))
        .await
        .unwrap();
    session.answers(&["invoice.delivered.v1"]).await;
    days_pass(&system, 10).await;
    for _ in 0..2 {
        send(&request(Some("december"))).await;
    }
    let answers = session
        .answers(&["invoice.issued.v1", "invoice.delivered.v1"])
        .await;
    let issued = of_kind(&answers, "invoice.issued.v1");
    assert_eq!(issued["order_id"], Value::Null);
    assert!(
        issued["number"].as_str().unwrap().ends_with("-000002"),
        "{issued}"
    );
    let db = system.db().await;
    assert_eq!(number(&db, "SELECT count(*) FROM invoice").await, 2);
    partner.end(&system).await;
    system.finish_with(1).await;
}
