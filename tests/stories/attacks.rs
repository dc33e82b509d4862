//! What attackers send: requests that two readers understand differently, headers without end, line
//! breaks and SQL where words are expected, and prices of their own.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::client::small_server;
use crate::support::database::number;
use crate::support::suite::Suite;
use crate::support::system::{BOTH, System, World};
use crate::support::wait::eventually;

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "a_request_that_can_be_read_in_two_ways_has_one_effect_at_most",
        &[World::Embedded],
        ambiguous_requests,
    );
    suite.story("sql_in_addresses_and_fields_is_text", &BOTH, sql_is_text);
    suite.story(
        "nothing_that_is_sent_ends_a_header_or_a_line_of_the_log",
        &BOTH,
        nothing_ends_a_line,
    );
    suite.story(
        "what_an_order_costs_is_for_the_catalogue_to_say",
        &BOTH,
        what_an_order_costs,
    );
}

/// Sends bytes over a connection of their own, and reads until it is closed or silent.
async fn raw(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that refuses may close before it has read all.
    stream.write_all(bytes).await.ok();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(Ok(read)) = timeout(Duration::from_secs(1), stream.read(&mut buffer)).await {
        if read == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

async fn ambiguous_requests(world: World) {
    let system = System::start(world).await;
    let address = system.client.base().strip_prefix("http://").unwrap();
    let key = system.client.key();
    let body = small_server("smuggled").to_string();
    let smuggled = format!(
        "POST /v1/orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let ask = |headers: &str, rest: &str| {
        format!(
            "POST /v1/orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\n{headers}\r\n{rest}"
        )
    };
    let two_lengths = ask("Content-Length: 0\r\nContent-Length: 5\r\n", "hello");
    for (what, request) in [
        ("two lengths", two_lengths),
        (
            "a length with a sign",
            ask("Content-Length: +5\r\n", "hello"),
        ),
        (
            "a length that is a list",
            ask("Content-Length: 5, 6\r\n", "hello"),
        ),
        (
            "an unknown coding",
            ask("Transfer-Encoding: cow\r\n", "hello"),
        ),
        (
            "chunked that is not last",
            ask("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
        ),
        (
            "a blank before the colon",
            ask("Content-Length : 5\r\n", "hello"),
        ),
        (
            "a folded header",
            ask("X-A: a\r\n b\r\nContent-Length: 0\r\n", ""),
        ),
        ("no host", "GET /healthz HTTP/1.1\r\n\r\n".to_owned()),
        (
            "two hosts",
            "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
        ),
        ("no version", "GET /healthz\r\n\r\n".to_owned()),
        (
            "a NUL in a header",
            "GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n".to_owned(),
        ),
    ] {
        let answer = raw(address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{what}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: {answer:?}");
    }
    // Of a length and chunks the chunks count; what is behind them is a request of its own to nobody
    // who read the length.
    let both = ask(
        &format!(
            "Content-Length: {}\r\nTransfer-Encoding: chunked\r\n",
            smuggled.len() + 5
        ),
        &format!("0\r\n\r\n{smuggled}"),
    );
    let answer = raw(address, both.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer:?}");
    assert!(!answer.contains("202 Accepted"), "{answer:?}");

    let long = format!(
        "GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: {}\r\n\r\n",
        "a".repeat(1 << 20)
    );
    let many = format!(
        "GET /healthz HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "X-A: a\r\n".repeat(500)
    );
    for request in [long, many] {
        let answer = raw(address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
    }
    let orders = number(&system.db().await, "SELECT count(*) FROM \"order\"").await;
    assert_eq!(orders, 0, "something was smuggled in");
    let alive = raw(
        address,
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(alive.starts_with("HTTP/1.1 200 "), "{alive:?}");
    system.finish().await;
}

async fn sql_is_text(world: World) {
    let system = System::start(world).await;
    let client = &system.client;
    let order = small_server("web");
    system.order_and_deliver(client, "k1", &order).await;
    let encode =
        |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02x}")).collect() };
    for attack in [
        "'",
        "' OR '1'='1",
        "'; DROP TABLE invoice; --",
        "\" OR 1=1 --",
        "1 UNION SELECT secret_hash FROM api_key",
        "%27%20OR%201=1",
        "\u{feff}\u{2019}",
        "\\",
        "{{7*7}}",
        "$(id)",
    ] {
        let attack = &encode(attack);
        for parameter in [
            "status",
            "payment",
            "order_id",
            "issued_from",
            "cursor",
            "limit",
        ] {
            let answer = client
                .get(&format!("/v1/invoices?{parameter}={attack}"))
                .await;
            assert_eq!(answer.wrong_fields(), [parameter], "{attack}");
        }
        // What is free text finds nothing, and no more than that.
        let answer = client
            .get(&format!("/v1/audit-entries?subject={attack}"))
            .await;
        assert_eq!(
            answer.body["items"].as_array().unwrap().len(),
            0,
            "{attack}"
        );
        for list in ["orders", "invoices", "resources", "api-keys", "accounts"] {
            let answer = client.get(&format!("/v1/{list}/{attack}")).await;
            assert_eq!(answer.status, 404, "{list} {attack}");
        }
    }
    // Texts that PostgreSQL cannot store are no texts.
    let answer = client.get("/v1/audit-entries?subject=%00").await;
    assert_eq!(answer.wrong_fields(), ["subject"]);
    let answer = client.get("/v1/api-keys/%00").await;
    assert_eq!(answer.status, 404);
    assert_eq!(
        client.get("/v1/invoices").await.body["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    system.finish().await;
}

async fn nothing_ends_a_line(world: World) {
    let system = System::start(world).await;
    let address = system.client.base().strip_prefix("http://").unwrap();
    let key = system.client.key();
    let with = |method: &str, path: &str, headers: &str, body: &str| {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\
             Authorization: Bearer {key}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        )
    };
    let injected = "%0d%0aInjected:%20yes%0d%0a%0d%0a%3cp%3e";
    let get = |path: String, headers: &str| with("GET", &path, headers, "");
    let order = |headers: &str, name: &str, reference: &str| {
        let mut body = small_server(name);
        body["external_ref"] = reference.into();
        with("POST", "/v1/orders", headers, &body.to_string())
    };
    let broken = "a\r\nInjected: yes\r\n\r\n{\"level\":\"INFO\"}";
    for (request, status) in [
        (get(format!("/v1/orders/{injected}"), ""), 404),
        (get(format!("/{injected}"), ""), 404),
        (get(format!("/v1/orders?cursor={injected}"), ""), 422),
        (get(format!("/v1/orders?{injected}=1"), ""), 422),
        (
            get(format!("/v1/audit-entries?subject={injected}"), ""),
            200,
        ),
        (
            get(
                "/v1/orders".to_owned(),
                "X-Request-Id: a\u{b}\tInjected: yes\r\n",
            ),
            400,
        ),
        (
            get(
                "/v1/orders".to_owned(),
                "X-Request-Id: a\rInjected: yes\r\n",
            ),
            400,
        ),
        (
            get(
                "/v1/orders".to_owned(),
                &format!("X-Request-Id: {injected}\r\n"),
            ),
            200,
        ),
        (
            get(
                "/v1/orders".to_owned(),
                "Origin: https://evil.example\r\nX-Forwarded-Host: evil.example\r\n\
                 X-Forwarded-For: a, Injected\r\nForwarded: host=evil.example\r\n",
            ),
            200,
        ),
        (
            get(
                "/v1/orders".to_owned(),
                &format!("traceparent: {injected}\r\ntracestate: a={injected}\r\n"),
            ),
            200,
        ),
        (order("", broken, "a"), 422),
        (order("", "web", broken), 422),
        (
            order(&format!("Idempotency-Key: {injected}\r\n"), "web", "a"),
            202,
        ),
    ] {
        let answer = raw(address, request.as_bytes()).await;
        let first = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&first), "{request}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let added = |line: &str| line.to_lowercase().starts_with("injected");
        assert!(!head.lines().any(added), "{request}: {answer}");
        // Who the caller says we are is in no link.
        assert!(!head.contains("evil.example"), "{answer}");
        assert!(!body.contains("evil.example"), "{answer}");
    }
    let stored = eventually("the one order", async || {
        let listed = system.client.get("/v1/orders").await;
        listed.body["items"][0]["links"]["self"]
            .as_str()
            .map(str::to_owned)
    });
    system.delivered(&system.client, &stored.await).await;
    let orders = number(&system.db().await, "SELECT count(*) FROM \"order\"").await;
    assert_eq!(orders, 1);
    for (name, process) in &system.processes {
        for line in process.output().lines() {
            let entry: Option<Value> = serde_json::from_str(line).ok();
            let own = entry.is_some_and(|entry| entry["timestamp"].is_string());
            // The first start says in plain words where the API is.
            let plain = !line.starts_with('{') && !line.starts_with("Injected");
            assert!(own || plain, "{name} says {line}");
        }
    }
    system.finish().await;
}

async fn what_an_order_costs(world: World) {
    let system = System::start(world).await;
    let client = &system.client;
    for (field, value) in [
        ("price", json!("0.01")),
        ("unit_price", json!(0)),
        (
            "total",
            json!({ "minor": 1, "exponent": 2, "currency": "EUR" }),
        ),
        ("currency", json!("JPY")),
        ("discount", json!("100")),
        ("tax_rate", json!("0")),
        ("account_id", json!(system.account_id)),
        ("order_id", json!(system.account_id)),
        ("placed_at", json!("2020-01-01T00:00:00Z")),
        ("status", json!("completed")),
    ] {
        let mut order = small_server("web");
        order[field] = value;
        let refused = client.order(field, &order).await;
        assert_eq!(refused.wrong_fields(), [field], "{refused:?}");
    }
    let account = format!("/v1/accounts/{}", system.account_id);
    for field in [
        "id",
        "kind",
        "currency",
        "payment_terms_days",
        "active",
        "version",
    ] {
        let patch = client.request(Method::PATCH, &account);
        let patch = patch.header("if-match", "*").json(&json!({ field: 0 }));
        let refused = client.send(patch).await;
        assert_eq!(refused.wrong_fields(), [field], "{refused:?}");
    }
    // Numbers that another reader may take for other numbers.
    for quantity in [
        "-0",
        "1.0",
        "1e0",
        "1E+2",
        "0.99999999999999999999",
        "4294967297",
        "18446744073709551617",
        "1e-400",
        "[1]",
        "true",
    ] {
        let order = small_server("web").to_string();
        let order = order.replace("\"quantity\":1", &format!("\"quantity\":{quantity}"));
        let refused = client.post("application/json", order).await;
        assert_eq!(refused.wrong_fields(), ["quantity"], "{quantity}");
    }
    for quantity in ["01", "+1", "0x1", "1_0", "1e400", "Infinity", "-"] {
        let order = small_server("web").to_string();
        let order = order.replace("\"quantity\":1", &format!("\"quantity\":{quantity}"));
        let refused = client.post("application/json", order).await;
        assert_eq!(refused.problem(), "malformed-request", "{quantity}");
    }
    let order = system
        .order_and_deliver(client, "k1", &small_server("web"))
        .await;
    let invoice = client
        .get(order["links"]["invoice"].as_str().unwrap())
        .await;
    assert_eq!(
        invoice.body["total"],
        json!({ "minor": 1773, "exponent": 2, "currency": "EUR" })
    );
    assert_eq!(system.provider.created().await.len(), 1);
    system.finish().await;
}
