//! What attackers send: requests that two readers understand differently, headers without end, and
//! SQL where words are expected.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::client::small_server;
use crate::support::database::number;
use crate::support::suite::Suite;
use crate::support::system::{BOTH, System, World};

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "a_request_that_can_be_read_in_two_ways_has_one_effect_at_most",
        &[World::Embedded],
        ambiguous_requests,
    );
    suite.story("sql_in_addresses_and_fields_is_text", &BOTH, sql_is_text);
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
