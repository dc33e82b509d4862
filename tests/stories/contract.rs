//! The published contract of the HTTP API: it is served, every route keeps to it, and every route
//! keeps accounts apart.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::client::{Answer, Client, read, small_server};
use crate::support::openapi::{OPENAPI, paths};
use crate::support::suite::Suite;
use crate::support::system::{BOTH, Setup, System, World};
use crate::support::wait::eventually;

/// The origin of a web page that may call the API.
const SHOP: &str = "https://shop.example";

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "every_route_shows_nothing_of_another_account",
        &BOTH,
        every_route_shows_nothing_of_another_account,
    );
    suite.story(
        "every_route_asks_for_a_credential_and_its_scope",
        &BOTH,
        every_route_asks_for_a_credential_and_its_scope,
    );
    suite.story(
        "every_body_is_read_as_the_contract_says",
        &[World::Embedded],
        every_body_is_read_as_the_contract_says,
    );
    suite.story(
        "the_contract_is_served_for_people_and_for_programs",
        &BOTH,
        the_contract_is_served,
    );
    suite.story(
        "methods_and_headers_are_those_of_http",
        &[World::Embedded],
        methods_and_headers_are_those_of_http,
    );
    suite.story("a_get_waits_for_a_change", &BOTH, a_get_waits_for_a_change);
}

/// Every operation: method, path and description.
pub(super) fn operations() -> Vec<(Method, &'static str, &'static Value)> {
    let of_path = |(path, operations): (&'static str, &'static Value)| {
        let operations = operations.as_object().unwrap().iter();
        operations.map(move |(method, operation)| {
            let method = method.to_uppercase().parse().unwrap();
            (method, path, operation)
        })
    };
    paths().flat_map(of_path).collect()
}

/// The path with its parameter filled in.
pub(super) fn fill(path: &str, id: &str) -> String {
    let parts = path.split('/').map(|part| match part.starts_with('{') {
        true => id,
        false => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

fn is_public(operation: &Value) -> bool {
    operation["security"] == Value::Array(Vec::new())
}

/// Whether it is about the person who is logged in, and no account.
fn is_personal(operation: &Value) -> bool {
    operation["security"] == json!([{ "session": [] }])
}

async fn every_route_shows_nothing_of_another_account(world: World) {
    let system = System::start(world).await;
    let order = small_server("web");
    let order = system
        .order_and_deliver(&system.client, "matrix", &order)
        .await;
    raise_ticket(&system).await;
    give_up(&system, &order).await;
    credit(&system, &order).await;
    create_oauth_client(&system).await;
    let patch = json!({ "city": "Bonn" });
    let account = format!("/v1/accounts/{}", system.account_id);
    system
        .client
        .with_body(Method::PATCH, &account, &patch)
        .await;
    invite(&system).await;
    let (other, stranger) = system.account("Stranger", &["--country", "DE"]).await;
    let person = system
        .person(&other, "stranger@stranger.example", "owner")
        .await;
    // A person who acts for another account is as much a stranger as its key.
    for stranger in [stranger, person] {
        tell_apart(&system, &stranger).await;
    }
    system.finish().await;
}

async fn tell_apart(system: &System, stranger: &Client) {
    let mut tried = 0;
    for (method, path, operation) in operations() {
        // What people do about themselves is told where people are.
        if is_public(operation) || is_personal(operation) || path == "/v1/offerings" {
            continue;
        }
        if path.starts_with("/v1/staff/") {
            // Of every account, for nobody who is a customer.
            let address = fill(path, &uuid::Uuid::now_v7().to_string());
            let refused = send(stranger, &method, &address).await;
            assert_eq!(refused.problem(), "forbidden", "{method} {path}");
            tried += 1;
            continue;
        }
        let list = path.split("/{").next().unwrap();
        let own = system.client.get(list).await;
        let theirs = &own.body["items"][0];
        let id = theirs["id"].as_str().or(theirs["account_id"].as_str());
        let id = id.unwrap_or_else(|| panic!("the story makes nothing that {list} shows"));
        if path.contains('{') {
            let address = fill(path, id);
            let refused = send(stranger, &method, &address).await;
            let what = (refused.status.as_u16(), refused.problem());
            assert_eq!(what, (404, "not-found"), "{method} {path}");
            // What does not exist looks the same.
            let nothing = fill(path, &uuid::Uuid::now_v7().to_string());
            let mut nothing = send(stranger, &method, &nothing).await.body;
            nothing["trace_id"] = refused.body["trace_id"].clone();
            assert_eq!(nothing, refused.body, "{method} {path}");
            tried += 1;
        } else if method == Method::GET {
            let shown = stranger.get(path).await;
            assert_eq!(shown.status, 200, "{path}");
            assert!(!shown.body.to_string().contains(id), "{path}");
            tried += 1;
        }
    }
    assert!(tried >= 24, "only {tried} routes were tried");
}

/// Has somebody act for the account, somebody invited to, and somebody who gets the invoices.
async fn invite(system: &System) {
    let account = &system.account_id;
    system
        .user(account, "owner@musterwerk.example", "owner")
        .await;
    let invited = json!({ "email": "new@musterwerk.example", "role": "billing" });
    let contact = json!({ "name": "Books", "email": "books@musterwerk.example", "field": "cc" });
    for (path, body) in [
        ("/v1/invitations", invited),
        ("/v1/billing-contacts", contact),
    ] {
        let made = system.client.post_to(path, body).await;
        assert_eq!(made.status, 201, "{made:?}");
    }
}

async fn send(client: &Client, method: &Method, address: &str) -> Answer {
    client.send(request(client, method, address)).await
}

fn request(client: &Client, method: &Method, address: &str) -> RequestBuilder {
    let request = client.request(method.clone(), address);
    match *method == Method::GET {
        true => request,
        false => request.json(&json!({})),
    }
}

async fn create_oauth_client(system: &System) {
    let client = json!({ "name": "Shop", "scopes": ["orders:read"] });
    let created = system
        .client
        .with_body(Method::POST, "/v1/oauth-clients", &client)
        .await;
    assert_eq!(created.status, 201, "{created:?}");
}

/// Gives the resource of an order up and waits until the request is listed.
async fn give_up(system: &System, order: &Value) {
    let resource = order["links"]["resources"][0].as_str().unwrap();
    let path = format!("{resource}/terminations");
    system
        .client
        .with_body(Method::POST, &path, &json!({}))
        .await;
    eventually("the request to be listed", async || {
        let list = system.client.get("/v1/requests").await.body;
        (list["items"][0]["status"] == "done").then_some(())
    })
    .await;
}

/// A client that may do everything that the staff may.
async fn staff(system: &System) -> Client {
    let create = ["key", "create", "--account", &system.account_id];
    let scopes = ["--scopes", "staff:tickets,staff:billing"];
    let key = system.flow(&[create.as_slice(), &scopes].concat()).await;
    system.client.with_key(key.trim())
}

/// Credits the invoice of an order and waits until the credit note is listed.
async fn credit(system: &System, order: &Value) {
    let invoice = order["invoice_id"].as_str().unwrap();
    let path = format!("/v1/staff/invoices/{invoice}/credit-notes");
    let body = json!({ "reason": "Given back" });
    staff(system)
        .await
        .with_body(Method::POST, &path, &body)
        .await;
    eventually("the credit note to be listed", async || {
        let list = system.client.get("/v1/credit-notes").await.body;
        (!list["items"].as_array()?.is_empty()).then_some(())
    })
    .await;
}

/// Raises a ticket with a file and waits until it is listed.
async fn raise_ticket(system: &System) {
    let file = (system.client)
        .request(Method::POST, "/v1/attachments?name=odd.log")
        .header("content-type", "text/plain")
        .body("odd");
    let file = system.client.send(file).await;
    assert_eq!(file.status, 201, "{file:?}");
    let ticket = json!({ "subject": "Odd", "message": "Why?", "attachments": [file.body["id"]] });
    system
        .client
        .with_body(Method::POST, "/v1/tickets", &ticket)
        .await;
    eventually("the ticket to be listed", async || {
        let list = system.client.get("/v1/tickets").await.body;
        (list["items"][0]["status"] == "open").then_some(())
    })
    .await;
}

async fn every_route_asks_for_a_credential_and_its_scope(world: World) {
    let system = System::start(world).await;
    // Without any credential, which is no guess.
    let nobody = system.client.with_key("");
    for (method, path, operation) in operations() {
        let address = fill(path, &uuid::Uuid::now_v7().to_string());
        if is_public(operation) {
            let status = send(&nobody, &method, &address).await.status;
            // What is sent here is no form, and nothing that is asked for.
            let expected: &[u16] = match method {
                Method::GET => &[200, 404, 503],
                _ => &[400, 422],
            };
            assert!(
                expected.contains(&status.as_u16()),
                "{method} {path}: {status}"
            );
            continue;
        }
        let refused = send(&nobody, &method, &address).await;
        assert_eq!(refused.problem(), "unauthorized", "{method} {path}");
        let Some(scope) = operation["security"][0]["key"][0].as_str() else {
            continue;
        };
        let other = match scope {
            "orders:read" => "invoices:read",
            _ => "orders:read",
        };
        let account = &system.account_id;
        let create = ["key", "create", "--account", account, "--scopes", other];
        let poor = system.client.with_key(system.flow(&create).await.trim());
        let refused = send(&poor, &method, &address).await;
        assert_eq!(refused.problem(), "forbidden", "{method} {path}");
        let challenge = refused.header("www-authenticate");
        assert!(challenge.contains(scope), "{method} {path}: {challenge}");
    }
    system.finish().await;
}

async fn the_contract_is_served(world: World) {
    let system = System::start(world).await;
    let client = system.client.with_key("");
    let served = client.get("/openapi.json").await;
    assert_eq!(served.body, *OPENAPI);
    assert_eq!(client.get("/asyncapi.json").await.body["asyncapi"], "3.0.0");
    let schema = client.get("/schemas/order.place.v1.json").await;
    assert_eq!(schema.body["title"], "order.place.v1");
    assert_eq!(client.get("/schemas/no.such.v1").await.status, 404);
    let page = client.get("/docs").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let text = page.body.as_str().unwrap();
    for (_, path, _) in operations() {
        assert!(text.contains(path), "{path}");
    }
    // Nothing of the page comes from elsewhere, and no script runs in it.
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert_eq!(client.get("/docs/style.css").await.status, 200);
    // Every type of problem is documented under the path of its name.
    let refused = client.get("/v1/orders").await;
    let kind: url::Url = refused.body["type"].as_str().unwrap().parse().unwrap();
    let about = client.get(kind.path()).await;
    assert!(
        about
            .body
            .as_str()
            .unwrap()
            .contains("A valid credential is required")
    );
    system.finish().await;
}

async fn methods_and_headers_are_those_of_http(world: World) {
    let setup = Setup {
        environment: vec![("CORS_ORIGINS".to_owned(), SHOP.to_owned())],
        ..Setup::default()
    };
    let system = System::start_with(world, setup).await;
    let client = &system.client;
    let order = small_server("web");
    let order = system.order_and_deliver(client, "manners", &order).await;
    let invoice = order["links"]["invoice"].as_str().unwrap();

    for (path, methods) in [
        ("/v1/orders", "GET, HEAD, OPTIONS, POST"),
        ("/v1/statements", "GET, HEAD, OPTIONS"),
        ("/healthz", "GET, HEAD, OPTIONS"),
    ] {
        let options = client.send(client.request(Method::OPTIONS, path)).await;
        assert_eq!(
            (options.status.as_u16(), options.header("allow")),
            (204, methods)
        );
        let refused = client.send(client.request(Method::DELETE, path)).await;
        assert_eq!(
            (refused.problem(), refused.header("allow")),
            ("method-not-allowed", methods)
        );
    }
    let shown = client.get("/v1/orders").await;
    let head = client
        .request(Method::HEAD, "/v1/orders")
        .send()
        .await
        .unwrap();
    assert_eq!(head.headers()["etag"], shown.header("etag"));
    assert_eq!(
        head.headers()["content-length"],
        shown.header("content-length")
    );
    assert_eq!(head.bytes().await.unwrap().len(), 0);

    // What is known already is not sent again.
    for path in [
        "/v1/orders",
        invoice,
        &format!("{invoice}/pdf"),
        "/docs",
        "/openapi.json",
    ] {
        let first = client.bytes(path).await;
        let etag = first.headers()["etag"].clone();
        let again = client
            .request(Method::GET, path)
            .header("if-none-match", etag);
        let again = again.send().await.unwrap();
        assert_eq!(again.status(), 304, "{path}");
        assert!(again.bytes().await.unwrap().is_empty());
        let other = client
            .request(Method::GET, path)
            .header("if-none-match", "\"x\"");
        assert_eq!(other.send().await.unwrap().status(), 200, "{path}");
    }

    // JSON is compressed for who asks; a PDF is what it was when it was mailed.
    let zipped = |path: &str| {
        client
            .request(Method::GET, path)
            .header("accept-encoding", "gzip")
    };
    let answer = zipped("/openapi.json").send().await.unwrap();
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    let smaller = answer.bytes().await.unwrap().len();
    assert!(smaller * 3 < OPENAPI.to_string().len());
    let pdf = zipped(&format!("{invoice}/pdf")).send().await.unwrap();
    assert!(!pdf.headers().contains_key("content-encoding"));

    // A page of the shop may call the API, one of somebody else may not read what it answers.
    let ask = |origin: &str, method: Method| {
        let request = client.request(method, "/v1/orders");
        request.header("origin", origin)
    };
    for (origin, allowed) in [(SHOP, Some(SHOP)), ("https://evil.example", None)] {
        let preflight = ask(origin, Method::OPTIONS)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,idempotency-key",
            );
        for answer in [preflight, ask(origin, Method::GET)] {
            let answer = answer.send().await.unwrap();
            let said = answer.headers().get("access-control-allow-origin");
            assert_eq!(
                said.map(|value| value.to_str().unwrap()),
                allowed,
                "{origin}"
            );
        }
    }

    for (header, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ] {
        assert_eq!(client.get("/v1/orders").await.header(header), value);
    }
    // A slip in a query is told, and not passed over.
    let slip = client.get("/v1/orders?staus=completed").await;
    assert_eq!(slip.wrong_fields(), ["staus"]);
    assert!(
        slip.body.to_string().contains("did you mean status?"),
        "{slip:?}"
    );
    system.finish().await;
}

async fn a_get_waits_for_a_change(world: World) {
    let system = System::start(world).await;
    let client = &system.client;
    let order = client.order("waited-for", &small_server("web")).await;
    let address = order.body["links"]["self"].as_str().unwrap().to_owned();
    // From change to change to the end, without asking in between.
    let mut etag = String::new();
    let began = Instant::now();
    loop {
        let request = client
            .request(Method::GET, &address)
            .header("prefer", "respond-async, wait=10")
            .header("if-none-match", &etag);
        let answer = client.send(request).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("preference-applied")),
            (200, "wait=10")
        );
        assert_ne!(answer.header("etag"), etag);
        etag = answer.header("etag").to_owned();
        let stages = answer.body["stages"].as_array().unwrap();
        if stages.iter().all(|stage| stage["state"] == "done") {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{answer:?}");
    }
    // Then nothing changes any more: the answer comes when the time is over.
    let began = Instant::now();
    let request = client
        .request(Method::GET, &address)
        .header("prefer", "wait=1")
        .header("if-none-match", &etag);
    let answer = read(request.send().await.unwrap()).await;
    assert_eq!(answer.status, 304);
    assert!(began.elapsed() >= Duration::from_secs(1));
    system.finish().await;
}

/// The fields that a body may have and must have, by the contract and by what is said of a wrong one.
async fn every_body_is_read_as_the_contract_says(world: World) {
    let system = System::start(world).await;
    system
        .order_and_deliver(&system.client, "bodies", &small_server("web"))
        .await;
    raise_ticket(&system).await;
    let staff = staff(&system).await;
    create_oauth_client(&system).await;
    invite(&system).await;
    let person = system
        .person(&system.account_id, "me@musterwerk.example", "owner")
        .await;
    let mut tried = 0;
    for (method, path, operation) in operations() {
        let client = match (path.starts_with("/v1/staff/"), is_personal(operation)) {
            (true, _) => &staff,
            (_, true) => &person,
            _ => &system.client,
        };
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let Some(reference) = schema["$ref"].as_str() else {
            continue;
        };
        let schema = OPENAPI.pointer(reference.trim_start_matches('#')).unwrap();
        let list = client.get(path.split("/{").next().unwrap()).await;
        let id = list.body["items"][0]["id"].as_str().unwrap_or_default();
        let body = json!({ "no-such-field": true });
        let refused = client
            .with_body(method.clone(), &fill(path, id), &body)
            .await;
        assert_eq!(refused.problem(), "invalid-request", "{method} {path}");
        let said = |text: &str| -> Vec<(String, String)> {
            let errors = refused.body["errors"].as_array().unwrap().iter();
            let error = |error: &Value| {
                let part = |name: &str| error[name].as_str().unwrap().to_owned();
                (part("field"), part("message"))
            };
            errors
                .map(error)
                .filter(|(_, message)| message.contains(text))
                .collect()
        };
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        let (_, known) = said("the fields are ").remove(0);
        let known = known.split("the fields are ").nth(1).unwrap();
        let known = known.split(", ").map(str::to_owned).collect();
        let properties = schema["properties"].as_object().unwrap().keys().cloned();
        assert_eq!(
            sorted(known),
            sorted(properties.collect()),
            "{method} {path}"
        );
        let needed = said("is required")
            .into_iter()
            .map(|(field, _)| field)
            .collect();
        let required = schema["required"].as_array().into_iter().flatten();
        let required = required
            .map(|name| name.as_str().unwrap().to_owned())
            .collect();
        assert_eq!(sorted(needed), sorted(required), "{method} {path}");
        tried += 1;
    }
    assert!(tried >= 15, "only {tried} bodies were tried");
    system.finish().await;
}
