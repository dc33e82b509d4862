//! Traces: one from the HTTP request to the mail, through retries and processes.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::client::small_server;
use crate::support::otlp::{self, Span, Spans};
use crate::support::suite::Suite;
use crate::support::system::{BOTH, Setup, System, World};
use crate::support::wait::eventually;

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "one_trace_from_the_request_to_the_mail",
        &BOTH,
        one_trace_from_request_to_mail,
    );
    suite.story(
        "a_collector_that_is_away_costs_nothing",
        &BOTH,
        a_collector_that_is_away,
    );
}

async fn one_trace_from_request_to_mail(world: World) {
    for over_grpc in [true, false] {
        let (endpoint, spans) = if over_grpc {
            otlp::grpc().await
        } else {
            otlp::http().await
        };
        let protocol = if over_grpc { "grpc" } else { "http/protobuf" };
        let environment = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ];
        let environment = environment
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
        let mut system = System::start_with(
            world,
            Setup {
                environment,
                ..Setup::default()
            },
        )
        .await;
        system
            .provider
            .faults(json!({ "create": [{ "fault": "status", "status": 503 }] }))
            .await;
        let order = system
            .order_and_deliver(&system.client, "k1", &small_server("web"))
            .await;
        let trace = order["trace_id"].as_str().unwrap().to_owned();
        // Stopping sends the last spans.
        system.stop_all().await;
        let received = eventually("the last span", async || {
            let received = spans.of(&trace);
            received
                .iter()
                .any(|span| {
                    span.name == "publish events" && parent(&received, span) == "process email"
                })
                .then_some(received)
        })
        .await;
        check_tree(world, &received);
        check_attributes(world, &received);
        no_secrets(&system, &spans);
        system.start_all().await;
        system.finish().await;
    }
}

fn parent<'a>(spans: &'a [Span], span: &Span) -> &'a str {
    spans
        .iter()
        .find(|other| other.id == span.parent)
        .map_or("", |parent| parent.name.as_str())
}

/// Every span but the first has its parent among the spans, and the parents are the right ones.
fn check_tree(world: World, spans: &[Span]) {
    let roots: Vec<_> = spans.iter().filter(|span| span.parent.is_empty()).collect();
    assert_eq!(roots.len(), 1, "{roots:?}");
    assert_eq!(
        (roots[0].name.as_str(), roots[0].kind),
        ("POST /v1/orders", 2)
    );
    let edges: HashMap<_, _> = spans.iter().fold(HashMap::new(), |mut edges, span| {
        *edges
            .entry((parent(spans, span), span.name.as_str()))
            .or_insert(0) += 1;
        edges
    });
    for (edge, count) in [
        (("POST /v1/orders", "publish orders"), 1),
        (("publish orders", "process order"), 1),
        (("process order", "publish work"), 1),
        (("process order", "publish events"), 1),
        (("publish work", "process provider-simulated"), 1),
        // The first attempt fails and is published to the retry ladder; the second is its child.
        (("process provider-simulated", "publish retry"), 1),
        (("publish retry", "process provider-simulated"), 1),
        (("publish work", "process invoice"), 1),
        (("publish work", "process document"), 1),
        (("process document", "render invoice"), 1),
        (("publish work", "process email"), 1),
        (("process email", "send mail"), 1),
        (("process email", "publish events"), 1),
    ] {
        assert_eq!(edges.get(&edge), Some(&count), "{edge:?} in {edges:?}");
    }
    let orphans: Vec<_> = spans
        .iter()
        .filter(|span| !span.parent.is_empty() && parent(spans, span).is_empty())
        .collect();
    assert!(orphans.is_empty(), "{orphans:?}");
    // The provider is asked in the trace too: create, look-up, create.
    let calls = spans
        .iter()
        .filter(|span| span.kind == 3 && parent(spans, span) == "process provider-simulated");
    assert_eq!(calls.count(), 3);
    let services: std::collections::BTreeSet<_> =
        spans.iter().map(|span| span.service.as_str()).collect();
    let expected: &[&str] = match world {
        World::Distributed => &["customer-flow-ingress", "customer-flow-worker"],
        _ => &["customer-flow"],
    };
    assert_eq!(services.into_iter().collect::<Vec<_>>(), expected);
}

/// The OpenTelemetry conventions for messaging and HTTP.
fn check_attributes(world: World, spans: &[Span]) {
    let find = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let request = find("POST /v1/orders");
    assert_eq!(request.attributes["http.response.status_code"], "202");
    assert_eq!(request.attributes["http.route"], "/v1/orders");
    let system = if world == World::Distributed {
        "rabbitmq"
    } else {
        "embedded"
    };
    let publish = find("publish orders");
    assert_eq!(publish.kind, 4);
    assert_eq!(publish.attributes["messaging.system"], system);
    assert_eq!(publish.attributes["messaging.destination.name"], "orders");
    assert_eq!(
        publish.attributes["messaging.rabbitmq.destination.routing_key"],
        "ingress.order.place.v1"
    );
    let process = find("process order");
    assert_eq!(process.kind, 5);
    assert_eq!(process.attributes["messaging.operation.type"], "process");
    assert_eq!(
        process.attributes["messaging.message.id"],
        publish.attributes["messaging.message.id"]
    );
    assert_eq!(
        process.attributes["messaging.message.conversation_id"],
        publish.attributes["messaging.message.conversation_id"]
    );
    let failed: Vec<_> = spans
        .iter()
        .filter(|span| span.name == "process provider-simulated" && span.status == 2)
        .collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].attributes["error.type"], "transient");
}

fn no_secrets(system: &System, spans: &Spans) {
    let sent = String::from_utf8_lossy(&spans.bytes()).into_owned();
    let secret = system.client.key().rsplit('_').next().unwrap();
    for forbidden in [secret, "buchhaltung@", "Musterwerk", "Lindenallee"] {
        assert!(!sent.contains(forbidden), "{forbidden} is in a span");
    }
}

async fn a_collector_that_is_away(world: World) {
    // Nobody listens there.
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")];
    let environment = environment
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let mut system = System::start_with(
        world,
        Setup {
            environment,
            ..Setup::default()
        },
    )
    .await;
    for index in 0..20 {
        let accepted = system
            .client
            .order(&format!("k{index}"), &small_server("web"))
            .await;
        assert_eq!(accepted.status, 202);
    }
    let last = system.client.order("k19", &small_server("web")).await;
    let order = system
        .delivered(&system.client, last.header("location"))
        .await;
    assert_eq!(order["trace_id"].as_str().unwrap().len(), 32);
    let began = Instant::now();
    system.stop_all().await;
    assert!(
        began.elapsed() < Duration::from_secs(40),
        "{:?}",
        began.elapsed()
    );
    system.start_all().await;
    system.finish().await;
}
