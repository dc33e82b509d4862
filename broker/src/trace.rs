//! Trace context in messages and HTTP headers (W3C Trace Context), and spans by the OpenTelemetry
//! messaging conventions.

use std::collections::{BTreeMap, HashMap};

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use serde_json::Value;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::wire::{Publication, Received};

/// The headers that carry the trace context.
pub(crate) const HEADERS: [&str; 2] = ["traceparent", "tracestate"];

/// Writes the context of the current span into message headers.
pub(crate) fn inject(headers: &mut BTreeMap<String, Value>) {
    for (name, value) in inject_http() {
        headers.insert(name, value.into());
    }
}

/// The context of the current span as HTTP headers, for calls to other systems.
pub fn inject_http() -> HashMap<String, String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut carrier);
    carrier.retain(|_, value| !value.is_empty());
    carrier
}

/// Makes `span` a child of the remote span that `traceparent` and `tracestate` name, if they do.
pub fn extract_http(span: &Span, header: impl Fn(&str) -> Option<String>) {
    let carrier: HashMap<String, String> = HEADERS
        .iter()
        .filter_map(|name| header(name).map(|value| ((*name).to_owned(), value)))
        .collect();
    let context = TraceContextPropagator::new().extract(&carrier);
    if context.span().span_context().is_valid() {
        // Fails only when no OpenTelemetry layer is installed; then there is no trace to join.
        span.set_parent(context).ok();
    }
}

/// Gives the current span a name that was not known when it began.
pub fn rename_current_span(name: String) {
    Span::current().context().span().update_name(name);
}

/// The id of the trace that the current span belongs to, in hex, if traces are on.
pub fn current_trace_id() -> Option<String> {
    let context = Span::current().context();
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| span.trace_id().to_string())
}

/// The span in which a message is published to `exchange`.
pub(crate) fn publish_span(system: &'static str, exchange: &str) -> Span {
    tracing::info_span!(
        "publish",
        otel.name = format!("publish {exchange}"),
        otel.kind = "producer",
        messaging.system = system,
        messaging.operation.type = "send",
        messaging.operation.name = "publish",
        messaging.destination.name = exchange,
        messaging.rabbitmq.destination.routing_key = Empty,
        messaging.message.id = Empty,
        messaging.message.conversation_id = Empty,
        messaging.message.body.size = Empty,
        error.type = Empty,
        otel.status_code = Empty,
    )
}

/// Notes in the publishing span what is published.
pub(crate) fn describe(span: &Span, publication: &Publication) {
    span.record(
        "messaging.rabbitmq.destination.routing_key",
        &publication.routing_key,
    );
    span.record("messaging.message.id", &publication.properties.message_id);
    span.record(
        "messaging.message.conversation_id",
        &publication.properties.correlation_id,
    );
    span.record("messaging.message.body.size", publication.body.len());
}

/// The span in which a delivery is processed: a child of the span that published it.
pub(crate) fn process_span(system: &'static str, queue: &str, received: &Received) -> Span {
    let span = tracing::info_span!(
        "process",
        otel.name = format!("process {queue}"),
        otel.kind = "consumer",
        messaging.system = system,
        messaging.operation.type = "process",
        messaging.operation.name = "process",
        messaging.destination.name = queue,
        messaging.message.id = %received.id(),
        messaging.message.conversation_id = %received.correlation_id(),
        messaging.message.body.size = received.body.len(),
        error.type = Empty,
        otel.status_code = Empty,
    );
    extract_http(&span, |name| {
        received
            .properties
            .headers
            .get(name)
            .and_then(Value::as_str)
            .map(str::to_owned)
    });
    span
}
