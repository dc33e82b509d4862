//! `order_to_mail`: orders from POST to a mail that the mail server has accepted, against what the
//! renderer alone could do. `latency_p50`: how long one takes on an idle system.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::task::JoinSet;
use workers::{Preview, RendererKind};

use crate::load::{Connection, place as place_orders};
use crate::place::{Place, discard};
use crate::support::database::texts;
use crate::support::system::System;
use crate::support::wait::within;
use crate::{median, report};

/// How many documents are rendered at once, here and in the limit.
const RENDERERS: usize = 1;
const ROUND: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;
/// How many orders a round has.
const ORDERS: usize = 600;
const UNLOADED: usize = 60;
const BETWEEN: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) async fn run(place: Place) {
    let mut system = place.system().await;
    system.set_environment("RENDERERS", &RENDERERS.to_string());
    system.start_all().await;
    let mut connection = Connection::open(&system.client).await;
    connection.place("warm-up").await;
    mails(&system, place, 1).await;

    let mut latencies = Vec::new();
    for index in 0..UNLOADED {
        // What comes after the mail of the last one shall not be in the way.
        tokio::time::sleep(BETWEEN).await;
        let began = Utc::now();
        connection.place(&format!("unloaded-{index}")).await;
        let accepted = mails(&system, place, index + 2).await;
        latencies.push(accepted.signed_duration_since(began).as_seconds_f64() * 1000.0);
    }
    report(place, "latency_p50", median(latencies), "ms", None);

    let content = texts(&system.db().await, "SELECT content FROM invoice LIMIT 1")
        .await
        .remove(0);
    let kind = if place == Place::Distributed {
        RendererKind::Wkhtmltopdf
    } else {
        RendererKind::Typst
    };
    let preview = Preview::start(kind).await.unwrap();
    let (mut limits, mut values) = (Vec::new(), Vec::new());
    let mut mailed = UNLOADED + 1;
    for round in 0..=ROUNDS {
        let limit = bare_renderer(&preview, &content).await;
        let began = Instant::now();
        place_orders(&system.client, ORDERS).await;
        mailed += ORDERS;
        mails(&system, place, mailed).await;
        let value = f64::from(u32::try_from(ORDERS).unwrap()) / began.elapsed().as_secs_f64();
        if round > 0 {
            limits.push(limit);
            values.push(value);
        }
        eprintln!(
            "order_to_mail: round {round}: bare {limit:.1} PDFs/s, whole {value:.1} orders/s"
        );
    }
    report(
        place,
        "order_to_mail",
        median(values),
        "1/s",
        Some(median(limits)),
    );
    discard(system).await;
}

/// Documents per second of the renderer alone.
async fn bare_renderer(preview: &Preview, content: &str) -> f64 {
    let logo = include_bytes!("../../workers/templates/invoice/example-logo.png");
    let began = Instant::now();
    let mut renderers = JoinSet::new();
    for _ in 0..RENDERERS {
        let (preview, content) = (preview.clone(), content.to_owned());
        renderers.spawn(async move {
            let mut rendered = 0_u32;
            while began.elapsed() < ROUND {
                preview
                    .render(Some(content.as_bytes()), Some(logo))
                    .await
                    .unwrap();
                rendered += 1;
            }
            rendered
        });
    }
    let rendered: u32 = renderers.join_all().await.into_iter().sum();
    f64::from(rendered) / began.elapsed().as_secs_f64()
}

/// Waits until so many mails were accepted; returns when the last one was.
async fn mails(system: &System, place: Place, count: usize) -> DateTime<Utc> {
    within(PATIENCE, &format!("{count} mails"), async || match place {
        Place::Distributed => {
            let (accepted, last) = system.mail.count().await?;
            (accepted >= count).then_some(last)
        }
        Place::Embedded => {
            let files = std::fs::read_dir(system.folder().join("mail")).ok()?;
            let finished = files
                .filter_map(Result::ok)
                .filter(|file| file.path().extension().is_some_and(|e| e == "eml"));
            let finished: Vec<_> = finished.collect();
            (finished.len() >= count).then_some(())?;
            let written = finished
                .iter()
                .filter_map(|file| file.metadata().ok()?.modified().ok());
            written.max().map(DateTime::<Utc>::from)
        }
    })
    .await
}
