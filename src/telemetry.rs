//! Logs to the terminal, traces over OTLP.

use std::io::IsTerminal;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};
use url::Url;
use uuid::Uuid;

/// How long spans are gathered before they are sent.
const SEND_EVERY: Duration = Duration::from_secs(1);
/// How many spans wait at most; further ones are dropped, so that a collector that is away costs nothing.
const MAX_WAITING: usize = 16_384;
/// How long one export, and the last one at the end, may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// Options of every subcommand.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Settings {
    /// Where to send traces, as in http://localhost:4317. Unset: nowhere.
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        hide_env_values = true,
        global = true,
        help_heading = "Telemetry"
    )]
    otlp_endpoint: Option<Url>,
    /// How to send them: grpc or http/protobuf. Unset: grpc on port 4317, otherwise http/protobuf.
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_PROTOCOL",
        global = true,
        help_heading = "Telemetry"
    )]
    otlp_protocol: Option<OtlpProtocol>,
    /// What to log, as in info,broker=debug.
    #[arg(long, env = "RUST_LOG", global = true, help_heading = "Telemetry")]
    log: Option<String>,
}

/// The wire format of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OtlpProtocol {
    Grpc,
    Http,
}

impl FromStr for OtlpProtocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "grpc" => Ok(Self::Grpc),
            "http/protobuf" => Ok(Self::Http),
            _ => Err("must be grpc or http/protobuf".to_owned()),
        }
    }
}

/// How much a command logs by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logs {
    /// What a server tells.
    Info,
    /// Only what goes wrong: the command speaks for itself.
    Quiet,
}

/// Sends what is left when the process ends.
pub(crate) struct Telemetry {
    traces: SdkTracerProvider,
}

/// Sets up logs and traces for the process.
///
/// # Errors
/// When the filter or the endpoint cannot be used. A collector that is away is no error.
pub(crate) fn init(
    service: &'static str,
    settings: &Settings,
    logs: Logs,
) -> anyhow::Result<Telemetry> {
    let traces = provider(service, settings)?;
    let filter = match (&settings.log, logs) {
        (Some(filter), _) => filter.parse::<EnvFilter>().context("read the log filter")?,
        (None, Logs::Info) => EnvFilter::new(
            "info,lapin=error,opentelemetry=error,opentelemetry_sdk=off,opentelemetry-otlp=off",
        ),
        (None, Logs::Quiet) => EnvFilter::new("off"),
    };
    let terminal = std::io::stderr().is_terminal();
    let console = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(terminal);
    let console = match terminal {
        true => console.with_target(false).compact().boxed(),
        false => console
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
    };
    // Only our own spans: those of the libraries below would drown them, and those of the exporter
    // would never end.
    let ours = ["flow", "ingress", "broker", "workers"];
    let spans = Targets::new().with_targets(ours.map(|target| (target, LevelFilter::INFO)));
    let otel = tracing_opentelemetry::layer()
        .with_tracer(traces.tracer("customer-flow"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(spans);
    tracing_subscriber::registry()
        .with(otel)
        .with(console.with_filter(filter.and(filter_fn(holds_no_secret))))
        .init();
    Ok(Telemetry { traces })
}

/// At its most talkative lapin writes out every frame, the one with the password too; and handlebars
/// what it fills in, the secrets in links too.
fn holds_no_secret(of: &Metadata<'_>) -> bool {
    let least = match of.target().split("::").next() {
        Some("lapin") => Level::DEBUG,
        Some("handlebars") => Level::INFO,
        _ => Level::TRACE,
    };
    // More talkative is more.
    *of.level() <= least
}

fn provider(service: &'static str, settings: &Settings) -> anyhow::Result<SdkTracerProvider> {
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new(
            "service.instance.id",
            Uuid::new_v4().to_string(),
        ))
        .build();
    let builder = SdkTracerProvider::builder().with_resource(resource);
    let Some(endpoint) = &settings.otlp_endpoint else {
        // Spans are made all the same: trace ids go into answers, messages and rows.
        return Ok(builder.build());
    };
    let grpc = match settings.otlp_protocol {
        Some(protocol) => protocol == OtlpProtocol::Grpc,
        None => endpoint.port() == Some(4317),
    };
    let exporter = match grpc {
        true => SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint.as_str())
            .with_timeout(EXPORT_TIMEOUT)
            .build(),
        false => {
            let mut url = endpoint.clone();
            url.set_path(&format!(
                "{}/v1/traces",
                endpoint.path().trim_end_matches('/')
            ));
            SpanExporter::builder()
                .with_http()
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(url.as_str())
                .with_timeout(EXPORT_TIMEOUT)
                .build()
        }
    };
    let config = BatchConfigBuilder::default()
        .with_scheduled_delay(SEND_EVERY)
        .with_max_queue_size(MAX_WAITING)
        .build();
    let processor =
        BatchSpanProcessor::builder(exporter.context("set up OTLP")?).with_batch_config(config);
    Ok(builder.with_span_processor(processor.build()).build())
}

impl Telemetry {
    /// Sends what is left, for a few seconds at most.
    pub(crate) async fn finish(self) {
        let shutdown = move || self.traces.shutdown_with_timeout(EXPORT_TIMEOUT);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(shutdown).await {
            tracing::debug!("the last spans were not sent: {error}");
        }
    }
}
