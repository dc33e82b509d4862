//! The benchmark: each target beside its limit, measured in the same run on the same machine.
//!
//! Prints JSON lines `{"name", "value", "unit", "limit", "ratio"}`. Ratios count, not figures:
//! machines are shared and noisy. Rounds of limit and target alternate; medians are printed.
//! Names of the embedded run begin with `embedded.`.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has failed"
)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the result, and the progress"
)]

mod accept;
mod flood;
mod load;
mod memory;
mod order_to_mail;
mod place;

#[expect(dead_code, reason = "a part of the harness of the stories")]
#[path = "../../tests/support"]
mod support {
    pub(crate) mod client;
    pub(crate) mod coverage;
    pub(crate) mod database;
    pub(crate) mod neighbours;
    pub(crate) mod openapi;
    pub(crate) mod process;
    pub(crate) mod suite;
    pub(crate) mod system;
    pub(crate) mod vhost;
    pub(crate) mod wait;
}

use place::Place;

fn main() {
    // `cargo bench` and `cargo test --benches` pass arguments of their own.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let wanted = |name: &str| {
        arguments.is_empty()
            || arguments
                .iter()
                .any(|wanted| name.contains(wanted.as_str()))
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let distributed = suite_has_servers();
        if !distributed {
            eprintln!("RabbitMQ or PostgreSQL are missing here; ./dev bench starts them. Only the embedded run follows.");
        }
        for place in [Place::Distributed, Place::Embedded] {
            if place == Place::Distributed && !distributed {
                continue;
            }
            if wanted("accept") {
                accept::run(place).await;
            }
            if wanted("flood") {
                flood::run(place).await;
            }
            if wanted("order_to_mail") || wanted("latency_p50") {
                order_to_mail::run(place).await;
            }
            if wanted("rss") {
                memory::run(place).await;
            }
        }
    });
}

fn suite_has_servers() -> bool {
    ["TEST_AMQP_URL", "TEST_AMQP_ADMIN_URL", "TEST_DATABASE_URL"]
        .iter()
        .all(|name| support::suite::environment(name).is_some())
}

/// Prints one result. A limit that a value is to stay below has no ratio.
fn report(place: Place, name: &str, value: f64, unit: &str, limit: Option<f64>) {
    let prefix = if place == Place::Embedded {
        "embedded."
    } else {
        ""
    };
    let rounded = |number: f64| (number * 1000.0).round() / 1000.0;
    let line = serde_json::json!({
        "name": format!("{prefix}{name}"),
        "value": rounded(value),
        "unit": unit,
        "limit": limit.map(rounded),
        "ratio": limit.map(|limit| rounded(value / limit)),
    });
    println!("{line}");
}

/// The median.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
