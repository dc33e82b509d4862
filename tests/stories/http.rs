//! HTTP manners: problems that name the field, limits, and patience that ends.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::support::client::{read, small_server};
use crate::support::suite::Suite;
use crate::support::system::{BOTH, System, World};

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "wrong_requests_get_a_problem_that_names_the_field",
        &BOTH,
        wrong_requests_name_the_field,
    );
    suite.story(
        "every_answer_has_a_request_id_and_a_trace_id",
        &BOTH,
        every_answer_has_ids,
    );
    suite.story(
        "the_catalogue_shows_prices_in_the_accounts_currency",
        &BOTH,
        the_catalogue_shows_prices,
    );
    suite.story(
        "slow_and_silent_clients_are_cut_off",
        &[World::Embedded],
        slow_and_silent_clients,
    );
    suite.story("health_says_what_works", &BOTH, health_says_what_works);
}

async fn wrong_requests_name_the_field(world: World) {
    let system = System::start(world).await;
    let client = &system.client;
    let wrong: [(Value, &[&str]); 12] = [
        (json!({}), &["offering", "plan", "region", "name"]),
        (json!([]), &["body"]),
        (json!("text"), &["body"]),
        (
            json!({ "offering": 1, "plan": true, "region": [], "name": {} }),
            &["offering", "plan", "region", "name"],
        ),
        (
            json!({ "offering": "Cloud Server", "plan": "", "region": "eu\0", "name": "Web_1" }),
            &["offering", "plan", "region", "name"],
        ),
        (with("quantity", json!(0)), &["quantity"]),
        (with("quantity", json!(-1)), &["quantity"]),
        (with("quantity", json!(1.5)), &["quantity"]),
        (with("quantity", json!("1")), &["quantity"]),
        (with("quantity", json!(101)), &["quantity"]),
        (with("external_ref", json!("a b")), &["external_ref"]),
        (with("colour", json!("blue")), &["colour"]),
    ];
    for (body, fields) in &wrong {
        let answer = client.post("application/json", body.to_string()).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem()),
            (422, "invalid-request"),
            "{body}"
        );
        assert_eq!(answer.wrong_fields(), *fields, "{body}");
        assert!(
            answer.body["errors"]
                .as_array()
                .unwrap()
                .iter()
                .all(|error| error["message"].is_string())
        );
    }
    for broken in [
        "",
        "{",
        "{\"offering\":",
        "nonsense",
        "{\"a\": NaN}",
        "{\"quantity\": 1e400}",
        "\u{feff}{}",
        &"[".repeat(50_000),
    ] {
        let answer = client.post("application/json", broken.to_owned()).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem()),
            (400, "malformed-request"),
            "{answer:?}"
        );
    }
    let answer = client
        .post("application/json", vec![0xff, 0xfe, 0x00])
        .await;
    assert_eq!(answer.problem(), "malformed-request");

    let answer = client
        .post("text/plain", small_server("web").to_string())
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem()),
        (415, "unsupported-media-type")
    );
    assert_eq!(answer.wrong_fields(), ["Content-Type"]);

    let huge = json!({ "name": "x".repeat(70_000) }).to_string();
    let answer = client.post("application/json", huge.clone()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem()),
        (413, "too-large")
    );
    assert_eq!(answer.wrong_fields(), ["body"]);
    // Also without a length in front.
    let chunks = futures_util::stream::iter(
        huge.as_bytes()
            .chunks(1000)
            .map(<[u8]>::to_vec)
            .map(Ok::<_, std::io::Error>)
            .collect::<Vec<_>>(),
    );
    let answer = client
        .post("application/json", reqwest::Body::wrap_stream(chunks))
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem()),
        (413, "too-large")
    );

    for key in ["", "a b", &"k".repeat(256)] {
        let answer = client.order(key, &small_server("web")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.wrong_fields()),
            (422, vec!["Idempotency-Key"]),
            "{key:?}"
        );
    }
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("cursor=!", "cursor"),
        ("status=lost", "status"),
    ] {
        let answer = client.get(&format!("/v1/orders?{query}")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.wrong_fields()),
            (422, vec![field]),
            "{query}"
        );
    }
    for (method, path, status) in [
        (Method::GET, "/", 404),
        (Method::GET, "/v1", 404),
        (Method::GET, "/v1/nothing", 404),
        (Method::GET, "/v1/orders/not-an-id", 404),
        (Method::DELETE, "/v1/orders", 405),
        (Method::PUT, "/v1/invoices", 405),
    ] {
        let answer = read(client.request(method.clone(), path).send().await.unwrap()).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}");
        assert!(!answer.problem().is_empty());
    }
    assert_eq!(system.provider.ledger().await.len(), 0);
    system.finish().await;
}

fn with(field: &str, value: Value) -> Value {
    let mut body = small_server("web");
    body[field] = value;
    body
}

async fn every_answer_has_ids(world: World) {
    let system = System::start(world).await;
    for path in [
        "/healthz",
        "/readyz",
        "/v1/orders",
        "/v1/offerings",
        "/v1/nothing",
    ] {
        let answer = system.client.get(path).await;
        assert!(!answer.header("x-request-id").is_empty(), "{path}");
        assert_eq!(answer.header("x-trace-id").len(), 32, "{path}");
        if !answer.status.is_success() {
            assert_eq!(answer.body["trace_id"], answer.header("x-trace-id"));
        }
    }
    // The caller's own ids are kept.
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = system
        .client
        .request(Method::GET, "/v1/orders")
        .header("x-request-id", "mine-1");
    let request = request.header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"));
    let answer = read(request.send().await.unwrap()).await;
    assert_eq!(
        (answer.header("x-request-id"), answer.header("x-trace-id")),
        ("mine-1", trace)
    );
    system.finish().await;
}

async fn the_catalogue_shows_prices(world: World) {
    let system = System::start(world).await;
    let offerings = system.client.get("/v1/offerings").await.body;
    let server = &offerings["items"][0];
    assert_eq!(
        (&server["code"], &server["regions"]),
        (&json!("cloud-server"), &json!(["eu-central", "eu-north"]))
    );
    let small = server["plans"]
        .as_array()
        .unwrap()
        .iter()
        .find(|plan| plan["code"] == "s")
        .unwrap();
    assert_eq!(small["prices"][0]["unit_price"], "9.90");
    let (_, yen) = system
        .account("Yen", &["--country", "JP", "--currency", "JPY"])
        .await;
    let offerings = yen.get("/v1/offerings").await.body;
    let prices: Vec<_> = offerings["items"][0]["plans"][2]["prices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|price| {
            (
                price["component"].clone(),
                price["unit_price"].clone(),
                price["currency"].clone(),
            )
        })
        .collect();
    assert_eq!(
        prices,
        [
            (json!("server"), json!("1480"), json!("JPY")),
            (json!("setup"), json!("750"), json!("JPY"))
        ]
    );
    system.finish().await;
}

/// What the server sends until it closes the connection, and how long that takes.
async fn until_closed(mut stream: TcpStream) -> (String, Duration) {
    let began = Instant::now();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(60), stream.read_to_end(&mut answer))
        .await
        .expect("the server gives up")
        .ok();
    (
        String::from_utf8_lossy(&answer).into_owned(),
        began.elapsed(),
    )
}

async fn slow_and_silent_clients(world: World) {
    let system = System::start(world).await;
    let address = system
        .client
        .base()
        .strip_prefix("http://")
        .unwrap()
        .to_owned();
    let key = system.client.key();
    let open = async |text: String| {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    };
    let head = "POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n";
    // Without a credential nobody waits for the body.
    let stream = open(format!("{head}Connection: close\r\n\r\n")).await;
    let (answer, took) = until_closed(stream).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(took < Duration::from_secs(5));

    let silent = until_closed(open(String::new()).await);
    let half_head = until_closed(open("GET /healthz HTTP/1.1\r\nHos".to_owned()).await);
    let idle = until_closed(open("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".to_owned()).await);
    let half_body = until_closed(
        open(format!(
            "{head}Authorization: Bearer {key}\r\nConnection: close\r\n\r\n{{\"offering\""
        ))
        .await,
    );
    let (silent, half_head, idle, half_body) = tokio::join!(silent, half_head, idle, half_body);
    for (what, (_, took)) in [
        ("silent", &silent),
        ("half a head", &half_head),
        ("idle", &idle),
    ] {
        assert!(
            (10..25).contains(&took.as_secs()),
            "{what}: cut off after {took:?}"
        );
    }
    assert!(idle.0.starts_with("HTTP/1.1 200"), "{}", idle.0);
    assert!(half_body.0.starts_with("HTTP/1.1 408"), "{}", half_body.0);
    assert!(
        (25..40).contains(&half_body.1.as_secs()),
        "{:?}",
        half_body.1
    );

    // A head beyond all measure.
    let huge = format!(
        "GET /healthz HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "y".repeat(100_000)
    );
    let (answer, _) = until_closed(open(huge).await).await;
    assert!(
        answer.starts_with("HTTP/1.1 431") || answer.is_empty(),
        "{answer}"
    );
    assert_eq!(system.client.get("/healthz").await.status, 200);
    system.finish().await;
}

async fn health_says_what_works(world: World) {
    let system = System::start(world).await;
    assert_eq!(
        system.client.get("/healthz").await.body,
        json!({ "status": "ok" })
    );
    let ready = system.client.get("/readyz").await;
    assert_eq!(ready.status, 200);
    assert_eq!(
        ready.body,
        json!({ "status": "ready", "checks": { "broker": "up", "database": "up", "cache": null }, "degraded": [] })
    );
    system.finish().await;
}
