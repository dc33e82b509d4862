//! Partner systems: publish straight to RabbitMQ with credentials of their own, and read what became
//! of it.

use std::path::Path;
use std::time::Duration;

use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::client::small_server;
use crate::support::database::{number, texts};
use crate::support::partner::{Partner, administer, of_kind, word_behind};
use crate::support::process::{command, try_flow};
use crate::support::suite::{Need, Servers, Suite};
use crate::support::system::{System, World};
use crate::support::vhost::STRANGER;
use crate::support::wait::{eventually, within};

const KIND: &str = "order.place.v1";
/// Of the accounts here.
const OPTIONS: [&str; 8] = [
    "--country",
    "DE",
    "--currency",
    "EUR",
    "--locale",
    "en",
    "--email",
    "billing@customer.example",
];

pub(crate) fn register(suite: &mut Suite) {
    let worlds = [World::Distributed, World::RabbitSqlite];
    suite.story(
        "a_partner_orders_by_message_and_reads_what_became_of_it",
        &worlds,
        ordered_by_message,
    );
    suite.story(
        "what_a_partner_may_not_do_is_refused_and_said",
        &worlds,
        refused_and_said,
    );
    suite.story(
        "a_partner_gets_a_new_password_and_is_shut_out",
        &[World::Distributed],
        rotated_and_revoked,
    );
    suite.story_with(
        "the_example_publishers_work_as_they_are_printed",
        &[
            Need::RabbitMq,
            Need::Postgres,
            Need::Wkhtmltopdf,
            Need::Pika,
        ],
        example_publishers,
    );
}

fn order(account: &str, reference: &str) -> Value {
    let mut request = small_server("web");
    request["external_ref"] = reference.into();
    json!({ "account_id": account, "request": request })
}

async fn ordered_by_message(world: World) {
    let system = System::start(world).await;
    let (account, customer) = system.account("Partner's customer", &OPTIONS).await;
    let partner = Partner::create(&system, &[&account]).await;
    let listed = system.flow(&["publisher", "list"]).await;
    assert!(listed.contains(&partner.name) && listed.contains(&account));

    let session = partner.connect().await.unwrap();
    session.order(&order(&account, "po-1")).await.unwrap();
    let facts = [
        "order.accepted.v1",
        "order.completed.v1",
        "invoice.issued.v1",
        "invoice.delivered.v1",
    ];
    let answers = session.answers(&facts).await;
    let accepted = of_kind(&answers, "order.accepted.v1");
    assert_eq!(accepted["external_ref"], "po-1");
    let id = accepted["order_id"].as_str().unwrap();
    assert_eq!(of_kind(&answers, "order.completed.v1")["order_id"], id);
    assert_eq!(of_kind(&answers, "invoice.issued.v1")["order_id"], id);
    let seen = customer.get(&format!("/v1/orders/{id}")).await;
    assert_eq!(seen.body["status"], "completed");

    // The same reference is the same order, whichever way it comes.
    session.order(&order(&account, "po-1")).await.unwrap();
    let again = session.answers(&["order.accepted.v1"]).await;
    assert_eq!(of_kind(&again, "order.accepted.v1")["order_id"], id);
    let mut same = small_server("web");
    same["external_ref"] = "po-1".into();
    let over_http = customer.order("po-1", &same).await;
    assert_eq!(over_http.status, 202);
    assert_eq!(over_http.body["id"], id);
    // Another content under it is refused, and the first one stands.
    let mut other = order(&account, "po-1");
    other["request"]["plan"] = "l".into();
    session.order(&other).await.unwrap();
    let refused = session.answers(&["order.rejected.v1"]).await;
    let problem = &of_kind(&refused, "order.rejected.v1")["problem"];
    assert!(
        problem["type"]
            .as_str()
            .unwrap()
            .ends_with("/idempotency-key-reused"),
        "{problem}"
    );
    assert_eq!(system.provider.created().await.len(), 1);
    partner.end(&system).await;
    system.finish().await;
}

async fn refused_and_said(world: World) {
    let system = System::start(world).await;
    let (own, _) = system.account("Partner's customer", &OPTIONS).await;
    let (foreign, _) = system.account("Somebody else", &OPTIONS).await;
    let partner = Partner::create(&system, &[&own]).await;

    // What the broker refuses ends the channel, and nothing of it arrives.
    let internal = ["work", "requeue", "retry", "dead", "events", "unrouted", ""];
    let own_key = format!("{}.{KIND}", partner.name);
    for exchange in internal {
        let session = partner.connect().await.unwrap();
        let body = order(&own, "internal");
        for key in [own_key.as_str(), "order"] {
            let sent = session.publish(exchange, key, session.properties(KIND), &body);
            assert!(sent.await.is_err(), "{exchange:?} {key:?} is open");
        }
    }
    for key in ["ingress.order.place.v1", "other.order.place.v1", KIND] {
        let session = partner.connect().await.unwrap();
        let body = order(&own, "foreign-prefix");
        let sent = session.publish("orders", key, session.properties(KIND), &body);
        assert!(sent.await.is_err(), "the prefix of {key:?} is open");
    }
    let session = partner.connect().await.unwrap();
    let spoofed = session.properties(KIND).with_user_id("flow".into());
    let body = order(&own, "spoofed");
    let sent = session.publish("orders", &own_key, spoofed, &body);
    assert!(sent.await.is_err(), "a foreign user_id was taken");
    let session = partner.connect().await.unwrap();
    let options = QueueDeclareOptions::default();
    let declared = session
        .channel
        .queue_declare("mine".into(), options, FieldTable::default());
    assert!(declared.await.is_err(), "it declared a queue");
    let session = partner.connect().await.unwrap();
    let options = BasicConsumeOptions::default();
    let read =
        session
            .channel
            .basic_consume("order".into(), "".into(), options, FieldTable::default());
    assert!(read.await.is_err(), "it reads our queue");

    // What the first handler refuses is parked, and said.
    let session = partner.connect().await.unwrap();
    let mut without = order(&own, "x");
    without["request"]
        .as_object_mut()
        .unwrap()
        .remove("external_ref");
    let mut many = order(&own, "many");
    many["request"]["quantity"] = 1_000_000.into();
    for (body, name) in [
        (order(&foreign, "foreign"), "forbidden"),
        (without, "invalid-message"),
        (many, "invalid-message"),
        (json!({ "account_id": own }), "invalid-message"),
    ] {
        session.order(&body).await.unwrap();
        let answers = session.answers(&["message.rejected.v1"]).await;
        let problem = &of_kind(&answers, "message.rejected.v1")["problem"];
        let kind = problem["type"].as_str().unwrap();
        assert!(kind.ends_with(&format!("/{name}")), "{problem}");
    }
    let mut unknown = order(&own, "unknown-plan");
    unknown["request"]["plan"] = "xxl".into();
    session.order(&unknown).await.unwrap();
    let answers = session.answers(&["order.rejected.v1"]).await;
    let rejected = of_kind(&answers, "order.rejected.v1");
    assert_eq!(rejected["external_ref"], "unknown-plan");
    assert!(
        rejected["problem"]["detail"]
            .as_str()
            .unwrap()
            .contains("xxl")
    );

    // Without user_id nobody knows whom to answer.
    let anonymous = BasicProperties::default()
        .with_type(KIND.into())
        .with_content_type("application/json".into());
    let body = order(&own, "anonymous");
    let sent = session.publish("orders", &own_key, anonymous, &body);
    sent.await.unwrap();
    let db = system.db().await;
    eventually("five parked messages", async || {
        (number(&db, "SELECT count(*) FROM parked_message").await == 5).then_some(())
    })
    .await;
    let reasons = texts(&db, "SELECT reason FROM parked_message ORDER BY reason").await;
    assert_eq!(
        reasons,
        ["forbidden", "schema", "schema", "schema", "unauthenticated"]
    );
    assert_eq!(system.provider.created().await.len(), 0);
    drop(db);
    partner.end(&system).await;
    system.finish_with(5).await;
}

async fn rotated_and_revoked(world: World) {
    let system = System::start(world).await;
    let (account, _) = system.account("Partner's customer", &OPTIONS).await;
    let mut partner = Partner::create(&system, &[&account]).await;
    let printed = administer(&system, &["publisher", "rotate", &partner.name]).await;
    assert!(partner.connect().await.is_err(), "the old password works");
    partner.password = word_behind(&printed, "password");
    let session = partner.connect().await.unwrap();
    session.order(&order(&account, "po-1")).await.unwrap();
    session.answers(&["order.completed.v1"]).await;

    // Nobody has read its last message when it is shut out.
    let second = partner.connect().await.unwrap();
    partner.end(&system).await;
    within(
        Duration::from_secs(20),
        "its connections to be closed",
        async || {
            (!session.connection.status().connected() && !second.connection.status().connected())
                .then_some(())
        },
    )
    .await;
    assert!(partner.connect().await.is_err(), "it is let in");
    let listed = system.flow(&["publisher", "list"]).await;
    assert!(
        !listed.contains(&format!("{:<24}-", partner.name)),
        "{listed}"
    );
    // A broker user that is no partner is left alone, whatever it may be.
    let api = Servers::of_environment().amqp_admin;
    let ours = url::Url::parse(&partner.url).unwrap().username().to_owned();
    let stranger = format!("stranger-{}", Uuid::now_v7().simple());
    system.vhost.as_ref().unwrap().add_user(&stranger).await;
    let take = ["publisher", "create", &stranger, "--accounts", &account];
    let remove = ["publisher", "revoke", &stranger];
    let own = ["publisher", "create", &ours, "--accounts", &account];
    for (arguments, reason) in [
        (take.as_slice(), "no publisher of ours"),
        (remove.as_slice(), "there is no publisher"),
        (own.as_slice(), "the broker user of Customer Flow itself"),
    ] {
        let mut all = arguments.to_vec();
        all.extend(["--admin-url", &api]);
        let refused = try_flow(system.folder(), &all, system.environment()).await;
        assert!(refused.unwrap_err().contains(reason), "{arguments:?}");
    }
    let mut known = partner.url.parse::<url::Url>().unwrap();
    known.set_username(&stranger).unwrap();
    known.set_password(Some(STRANGER)).unwrap();
    let properties = ConnectionProperties::default();
    assert!(
        Connection::connect(known.as_str(), properties)
            .await
            .is_ok()
    );
    system.vhost.as_ref().unwrap().remove_user(&stranger).await;
    // For somebody without the management API the lines are printed.
    let name = format!("acme-{}", Uuid::now_v7().simple());
    let create = ["publisher", "create", &name, "--accounts", &account];
    let printed = system.flow(&create).await;
    assert!(
        printed.contains("rabbitmqctl set_topic_permissions"),
        "{printed}"
    );
    let db = system.db().await;
    let audited = "SELECT action FROM audit_entry WHERE action LIKE 'publisher.%' ORDER BY at";
    assert_eq!(
        texts(&db, audited).await,
        [
            "publisher.allow",
            "publisher.rotate",
            "publisher.revoke",
            "publisher.allow"
        ]
    );
    drop(db);
    system.finish().await;
}

/// In Python and in Rust: an order that is completed, and one that is refused.
async fn example_publishers() {
    let system = System::start(World::Distributed).await;
    let (account, _) = system.account("Partner's customer", &OPTIONS).await;
    let partner = Partner::create(&system, &[&account]).await;
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/order.py");
    let built = Path::new(env!("CARGO_BIN_EXE_flow")).with_file_name("examples");
    let rust = built.join("order").display().to_string();
    // `cargo test` builds examples only where it builds everything.
    assert!(
        Path::new(&rust).exists(),
        "first: cargo build --example order"
    );
    let python = python.display().to_string();
    let mut url: url::Url = partner.url.parse().unwrap();
    url.set_username(&partner.name).unwrap();
    url.set_password(Some(&partner.password)).unwrap();
    for line in [
        vec!["/usr/bin/python3", python.as_str()],
        vec![rust.as_str()],
    ] {
        for (plan, last) in [("s", "order.completed.v1"), ("xxl", "order.rejected.v1")] {
            let mut program = command(line[0]);
            program
                .args(&line[1..])
                .arg(format!("{}-{plan}", line.len()));
            program.env("BROKER_URL", url.as_str());
            program.env("ACCOUNT", &account).env("PLAN", plan);
            let ended = program.output().await.unwrap();
            let said = String::from_utf8_lossy(&ended.stdout).into_owned();
            assert_eq!(ended.status.success(), plan == "s", "{line:?}: {ended:?}");
            let end = said.lines().last().unwrap_or_default();
            assert!(end.starts_with(last), "{line:?}: {said}");
        }
    }
    assert_eq!(system.provider.created().await.len(), 2);
    partner.end(&system).await;
    system.finish().await;
}
