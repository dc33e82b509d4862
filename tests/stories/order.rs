//! Orders: from POST to mail, once per key, and rejected with a reason.

use std::net::ToSocketAddrs;

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::support::client::small_server;
use crate::support::database::number;
use crate::support::proxy::Proxy;
use crate::support::suite::{Suite, environment};
use crate::support::system::{ALL, BOTH, Setup, System, World};
use crate::support::wait::eventually;

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "an_order_becomes_a_mailed_invoice",
        &ALL,
        an_order_becomes_a_mailed_invoice,
    );
    suite.story(
        "an_order_of_several_makes_one_invoice",
        &BOTH,
        an_order_of_several_makes_one_invoice,
    );
    suite.story(
        "the_same_key_twice_is_one_order",
        &BOTH,
        the_same_key_twice_is_one_order,
    );
    suite.story(
        "the_same_key_at_the_same_time_is_one_order",
        &BOTH,
        the_same_key_at_the_same_time_is_one_order,
    );
    suite.story(
        "the_same_key_with_another_body_is_422",
        &BOTH,
        the_same_key_with_another_body_is_422,
    );
    suite.story(
        "a_key_is_remembered_after_a_restart",
        &BOTH,
        a_key_is_remembered_after_a_restart,
    );
    suite.story(
        "an_external_ref_makes_a_request_repeatable",
        &BOTH,
        an_external_ref_makes_a_request_repeatable,
    );
    suite.story(
        "a_get_right_after_the_post_finds_the_order",
        &BOTH,
        a_get_right_after_the_post_finds_the_order,
    );
    suite.story(
        "what_cannot_be_ordered_is_rejected_with_a_reason",
        &BOTH,
        what_cannot_be_ordered_is_rejected,
    );
    suite.story(
        "a_price_change_does_not_touch_a_placed_order",
        &BOTH,
        a_price_change_does_not_touch_a_placed_order,
    );
    suite.story(
        "a_broker_that_is_down_means_503_and_nothing_half_done",
        &BOTH,
        a_broker_that_is_down_means_503,
    );
    suite.story(
        "orders_are_accepted_while_the_database_is_down",
        &[World::Distributed],
        orders_without_a_database,
    );
}

async fn an_order_becomes_a_mailed_invoice(world: World) {
    let system = System::start(world).await;
    let accepted = system.client.order("first", &small_server("web-1")).await;
    assert_eq!(accepted.status, 202);
    assert_eq!(accepted.body["status"], "accepted");
    assert_eq!(accepted.header("location"), accepted.body["links"]["self"]);
    assert_eq!(accepted.header("x-trace-id").len(), 32);

    let order = system
        .delivered(&system.client, accepted.header("location"))
        .await;
    assert_eq!(order["status"], "completed");
    assert_eq!(order["trace_id"], accepted.header("x-trace-id"));
    let states: Vec<_> = order["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["state"])
        .collect();
    assert_eq!(states, ["accepted", "queued", "provisioning", "completed"]);

    let created = system.provider.created().await;
    assert_eq!(created.len(), 1);
    assert_eq!(
        (&created[0]["name"], &created[0]["server_type"]),
        (&json!("web-1"), &json!("sim-s"))
    );
    let resource = system
        .client
        .get(order["links"]["resources"][0].as_str().unwrap())
        .await
        .body;
    assert_eq!(
        (&resource["status"], &resource["name"]),
        (&json!("active"), &json!("web-1"))
    );
    assert_eq!(resource["external_id"], created[0]["id"].to_string());

    let invoice = system
        .client
        .get(order["links"]["invoice"].as_str().unwrap())
        .await
        .body;
    let year = invoice["issue_date"]
        .as_str()
        .unwrap()
        .split('-')
        .next()
        .unwrap();
    assert_eq!(invoice["number"], format!("INV-{year}-000001"));
    assert_eq!(
        (&invoice["status"], &invoice["payment"]),
        (&json!("issued"), &json!("unpaid"))
    );
    // 5.00 setup + 9.90 for the month, 19 % on the sum.
    assert_eq!(
        invoice["net"],
        json!({ "minor": 1490, "exponent": 2, "currency": "EUR" })
    );
    assert_eq!(
        (&invoice["tax"]["minor"], &invoice["total"]["minor"]),
        (&json!(283), &json!(1773))
    );
    assert_eq!(invoice["trace_id"], order["trace_id"]);
    assert_eq!(invoice["deliveries"][0]["status"], "sent");

    let mails = system.mail.accepted().await;
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].to, ["buchhaltung@musterwerk.example"]);
    let delivery = invoice["deliveries"][0]["id"].as_str().unwrap();
    assert_eq!(mails[0].message_id, format!("<{delivery}@nimbus.example>"));
    system.finish().await;
}

async fn an_order_of_several_makes_one_invoice(world: World) {
    let system = System::start(world).await;
    let mut body = small_server("node");
    body["quantity"] = json!(5);
    let order = system
        .order_and_deliver(&system.client, "five", &body)
        .await;
    assert_eq!(order["resource_ids"].as_array().unwrap().len(), 5);
    let mut names: Vec<_> = system
        .provider
        .created()
        .await
        .iter()
        .map(|entry| entry["name"].to_string())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "\"node-1\"",
            "\"node-2\"",
            "\"node-3\"",
            "\"node-4\"",
            "\"node-5\""
        ]
    );
    let invoice = system
        .client
        .get(order["links"]["invoice"].as_str().unwrap())
        .await
        .body;
    assert_eq!(invoice["net"]["minor"], 5 * 1490);
    assert_eq!(invoice["lines"][1]["quantity"], "5");
    assert_eq!(system.mail.accepted().await.len(), 1);
    system.finish().await;
}

async fn the_same_key_twice_is_one_order(world: World) {
    let system = System::start(world).await;
    let first = system.client.order("k1", &small_server("web")).await;
    assert_eq!(first.header("idempotency-replayed"), "");
    let again = system.client.order("k1", &small_server("web")).await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.header("idempotency-replayed"), "true");
    system
        .delivered(&system.client, first.header("location"))
        .await;
    // Spelled differently it is still the same request.
    let spelled = "{ \"name\":\"web\", \"region\":\"eu-central\",\n\"plan\":\"s\",\"offering\":\"cloud-server\" }";
    let request = system
        .client
        .request(reqwest::Method::POST, "/v1/orders")
        .header("idempotency-key", "k1");
    let later = request
        .header("content-type", "application/json; charset=utf-8")
        .body(spelled);
    let later = crate::support::client::read(later.send().await.unwrap()).await;
    assert_eq!((later.status, &later.body), (first.status, &first.body));
    assert_eq!(system.provider.created().await.len(), 1);
    assert_eq!(
        number(&system.db().await, "SELECT count(*) FROM \"order\"").await,
        1
    );
    system.finish().await;
}

async fn the_same_key_at_the_same_time_is_one_order(world: World) {
    let system = System::start(world).await;
    let request = |index: usize| {
        let client = system.client.clone();
        async move {
            client
                .order(&format!("k{}", index % 5), &small_server("web"))
                .await
        }
    };
    let answers = futures_util::future::join_all((0..50).map(request)).await;
    assert!(
        answers.iter().all(|answer| answer.status == 202),
        "{answers:?}"
    );
    let mut locations: Vec<_> = answers
        .iter()
        .map(|answer| answer.header("location").to_owned())
        .collect();
    locations.sort();
    locations.dedup();
    assert_eq!(locations.len(), 5);
    for location in &locations {
        system.delivered(&system.client, location).await;
    }
    assert_eq!(system.provider.created().await.len(), 5);
    assert_eq!(system.mail.accepted().await.len(), 5);
    system.finish().await;
}

async fn the_same_key_with_another_body_is_422(world: World) {
    let system = System::start(world).await;
    let first = system.client.order("k1", &small_server("web")).await;
    let other = system.client.order("k1", &small_server("db")).await;
    assert_eq!(
        (other.status.as_u16(), other.problem()),
        (422, "idempotency-key-reused")
    );
    assert_eq!(other.wrong_fields(), ["Idempotency-Key"]);
    system
        .delivered(&system.client, first.header("location"))
        .await;
    let later = system.client.order("k1", &small_server("db")).await;
    assert_eq!(
        (later.status.as_u16(), later.problem()),
        (422, "idempotency-key-reused")
    );
    // Another account's keys are its own.
    let (_, other) = system
        .account("Other", &["--country", "DE", "--email", "a@other.example"])
        .await;
    let theirs = other.order("k1", &small_server("db")).await;
    assert_eq!(theirs.status, 202);
    assert_ne!(theirs.header("location"), first.header("location"));
    system.delivered(&other, theirs.header("location")).await;
    system.finish().await;
}

async fn a_key_is_remembered_after_a_restart(world: World) {
    let mut system = System::start(world).await;
    let order = system
        .order_and_deliver(&system.client, "k1", &small_server("web"))
        .await;
    system.kill_and_restart("ingress").await;
    let again = system.client.order("k1", &small_server("web")).await;
    assert_eq!(
        (again.status.as_u16(), again.header("idempotency-replayed")),
        (202, "true")
    );
    assert_eq!(again.body["id"], order["id"]);
    system.kill_and_restart("ingress").await;
    let other = system.client.order("k1", &small_server("db")).await;
    assert_eq!(other.problem(), "idempotency-key-reused");
    assert_eq!(system.provider.created().await.len(), 1);
    system.finish().await;
}

async fn an_external_ref_makes_a_request_repeatable(world: World) {
    let system = System::start(world).await;
    let mut body = small_server("web");
    body["external_ref"] = json!("PO-4711");
    let post = async |body: &Value| {
        system
            .client
            .post("application/json", body.to_string())
            .await
    };
    let (first, again) = (post(&body).await, post(&body).await);
    assert_eq!(first.body["id"], again.body["id"]);
    let order = system
        .delivered(&system.client, first.header("location"))
        .await;
    assert_eq!(order["external_ref"], "PO-4711");
    // Under another key the same reference is refused: it names one order.
    let taken = system.client.order("another", &body).await;
    let rejected = system.status(taken.header("location"), "rejected").await;
    assert!(
        rejected.body["problem"]["type"]
            .as_str()
            .unwrap()
            .ends_with("/external-ref-in-use")
    );
    assert_eq!(system.provider.created().await.len(), 1);
    system.finish().await;
}

async fn a_get_right_after_the_post_finds_the_order(world: World) {
    let system = System::start(world).await;
    for index in 0..20 {
        let accepted = system
            .client
            .order(&format!("k{index}"), &small_server("web"))
            .await;
        let found = system.client.get(accepted.header("location")).await;
        assert_eq!(found.status, 200, "{found:?}");
        assert_eq!(found.body["id"], accepted.body["id"]);
        assert_eq!(found.body["stages"].as_array().unwrap().len(), 5);
        assert_eq!(found.body["history"][0]["state"], "accepted");
        // Not for others.
        if index == 0 {
            let (_, other) = system.account("Other", &["--country", "DE"]).await;
            assert_eq!(other.get(accepted.header("location")).await.status, 404);
        }
    }
    let mut orders = Vec::new();
    let mut page = "/v1/orders?limit=7".to_owned();
    while !page.is_empty() {
        let answer = eventually("the list", async || {
            let answer = system.client.get(&page).await;
            (!answer.body["items"].as_array()?.is_empty()).then_some(answer)
        })
        .await;
        orders.extend(answer.body["items"].as_array().unwrap().clone());
        page = answer.body["next"].as_str().map_or(String::new(), |next| {
            format!("/v1/orders?limit=7&cursor={next}")
        });
    }
    assert!((1..=20).contains(&orders.len()));
    for order in &orders {
        system
            .delivered(&system.client, order["links"]["self"].as_str().unwrap())
            .await;
    }
    system.finish().await;
}

async fn what_cannot_be_ordered_is_rejected(world: World) {
    let system = System::start(world).await;
    let db = system.db().await;
    db.execute_unprepared("UPDATE plan SET active = false WHERE code = 'l'")
        .await
        .unwrap();
    let (_, dollars) = system
        .account("Dollars", &["--country", "US", "--currency", "USD"])
        .await;
    let cases = [
        (&system.client, "offering", "mainframe", "unknown-offering"),
        (&system.client, "plan", "xxl", "unknown-plan"),
        (&system.client, "plan", "l", "unknown-plan"),
        (&system.client, "region", "mars", "unknown-region"),
        (&dollars, "plan", "s", "no-price"),
    ];
    for (index, (client, field, value, problem)) in cases.into_iter().enumerate() {
        let mut body = small_server("web");
        body[field] = json!(value);
        let accepted = client.order(&format!("k{index}"), &body).await;
        assert_eq!(accepted.status, 202);
        let order = eventually("the rejection", async || {
            let answer = client.get(accepted.header("location")).await;
            (answer.body["status"] == "rejected").then_some(answer.body)
        })
        .await;
        assert!(
            order["problem"]["type"]
                .as_str()
                .unwrap()
                .ends_with(problem),
            "{order}"
        );
        let detail = order["problem"]["detail"].as_str().unwrap();
        assert_eq!(order["history"][1]["note"], detail);
        assert!(
            field == "plan" && problem == "no-price" || detail.contains(value),
            "{detail}"
        );
        assert_eq!(order["invoice_id"], Value::Null);
    }
    assert_eq!(system.provider.ledger().await.len(), 0);
    assert_eq!(number(&db, "SELECT count(*) FROM invoice").await, 0);
    drop(db);
    system.finish().await;
}

async fn a_price_change_does_not_touch_a_placed_order(world: World) {
    let system = System::start(world).await;
    system
        .provider
        .faults(json!({ "provision_ms": 1500 }))
        .await;
    let accepted = system.client.order("k1", &small_server("web")).await;
    system
        .status(accepted.header("location"), "provisioning")
        .await;
    let db = system.db().await;
    db.execute_unprepared("UPDATE price SET unit_price = '999' WHERE component = 'server'")
        .await
        .unwrap();
    drop(db);
    let order = system
        .delivered(&system.client, accepted.header("location"))
        .await;
    let invoice = system
        .client
        .get(order["links"]["invoice"].as_str().unwrap())
        .await
        .body;
    assert_eq!(invoice["net"]["minor"], 1490);
    system.finish().await;
}

async fn a_broker_that_is_down_means_503(world: World) {
    // RabbitMQ goes away behind a proxy; the embedded queue cannot write while its file is locked.
    let proxy = match world {
        World::Distributed => {
            let url: reqwest::Url = environment("TEST_AMQP_URL").unwrap().parse().unwrap();
            let target = (url.host_str().unwrap(), url.port().unwrap())
                .to_socket_addrs()
                .unwrap()
                .next()
                .unwrap();
            Some(Proxy::start(target).await)
        }
        _ => None,
    };
    let setup = Setup {
        broker_port: proxy.as_ref().map(Proxy::port),
        ..Setup::default()
    };
    let system = System::start_with(world, setup).await;
    system
        .order_and_deliver(&system.client, "before", &small_server("web"))
        .await;

    let lock = match &proxy {
        Some(proxy) => {
            proxy.close();
            None
        }
        None => {
            let url = format!("sqlite:{}", system.queue_file().display());
            let mut options = sea_orm::ConnectOptions::new(url);
            options.max_connections(1).sqlx_logging(false);
            let lock = sea_orm::Database::connect(options).await.unwrap();
            lock.execute_unprepared("BEGIN IMMEDIATE").await.unwrap();
            Some(lock)
        }
    };
    let refused = eventually("the ingress to refuse", async || {
        let answer = system.client.order("during", &small_server("db")).await;
        (answer.status != 202).then_some(answer)
    })
    .await;
    assert_eq!(
        (refused.status.as_u16(), refused.problem()),
        (503, "unavailable")
    );
    assert!(!refused.header("retry-after").is_empty());
    // What was accepted before is answered without the broker.
    let replayed = system.client.order("before", &small_server("web")).await;
    assert_eq!(
        (
            replayed.status.as_u16(),
            replayed.header("idempotency-replayed")
        ),
        (202, "true")
    );
    if world == World::Distributed {
        let ready = system.client.get("/readyz").await;
        assert_eq!(
            (ready.status.as_u16(), &ready.body["checks"]["broker"]),
            (503, &json!("down"))
        );
        assert_eq!(ready.body["degraded"], json!(["placing orders"]));
    }
    assert_eq!(system.provider.created().await.len(), 1);

    match (&proxy, lock) {
        (Some(proxy), _) => proxy.reopen(),
        (None, lock) => lock
            .unwrap()
            .execute_unprepared("ROLLBACK")
            .await
            .map(drop)
            .unwrap(),
    }
    let accepted = eventually("the ingress to accept", async || {
        let answer = system.client.order("during", &small_server("db")).await;
        (answer.status == 202).then_some(answer)
    })
    .await;
    system
        .delivered(&system.client, accepted.header("location"))
        .await;
    assert_eq!(system.provider.created().await.len(), 2);
    assert_eq!(system.mail.accepted().await.len(), 2);
    system.finish().await;
}

async fn orders_without_a_database(world: World) {
    // PostgreSQL goes away behind a proxy.
    let url: reqwest::Url = environment("TEST_DATABASE_URL").unwrap().parse().unwrap();
    let target = (url.host_str().unwrap(), url.port().unwrap())
        .to_socket_addrs()
        .unwrap()
        .next()
        .unwrap();
    let proxy = Proxy::start(target).await;
    let mut system = System::start_with(
        world,
        Setup {
            idle: true,
            ..Setup::default()
        },
    )
    .await;
    system.reach_database_through(proxy.port());
    system.start_all().await;
    system
        .order_and_deliver(&system.client, "before", &small_server("web"))
        .await;

    proxy.close();
    let ready = eventually("the database to be missed", async || {
        let ready = system.client.get("/readyz").await;
        (ready.body["checks"]["database"] == "down").then_some(ready)
    })
    .await;
    assert_eq!(
        (ready.status.as_u16(), &ready.body["status"]),
        (200, &json!("degraded"))
    );
    let accepted = system.client.order("during", &small_server("db")).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    assert_eq!(
        system.client.get(accepted.header("location")).await.body["status"],
        "accepted"
    );
    assert_eq!(system.client.get("/v1/invoices").await.status, 503);

    proxy.reopen();
    system
        .delivered(&system.client, accepted.header("location"))
        .await;
    // Waiting for the database costs no attempts.
    let db = system.db().await;
    assert_eq!(
        number(&db, "SELECT count(*) FROM stage WHERE state <> 'done'").await,
        0
    );
    drop(db);
    system.finish().await;
}
