//! `rss.<process>`: the memory of each process while a million messages wait.

use std::time::Duration;

use schemas::Outgoing;
use schemas::order::OrderPlace;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::place::{Place, discard, order};
use crate::report;
use crate::support::suite::environment;

const BACKLOG: usize = 1_000_000;
const BATCH: usize = 2000;
/// How long the processes work on the backlog while they are watched.
const WATCH: Duration = Duration::from_secs(30);
/// DESIGN: at most 40 MiB.
const TARGET_MIB: f64 = 40.0;

pub(crate) async fn run(place: Place) {
    let mut system = place.system().await;
    let backlog = environment("BENCH_BACKLOG").map_or(BACKLOG, |count| count.parse().unwrap());
    fill(&system, backlog).await;
    system.start_all().await;
    let began = Instant::now();
    let mut most = vec![0.0_f64; system.processes.len()];
    let mut first = Vec::new();
    while began.elapsed() < WATCH {
        sleep(Duration::from_millis(500)).await;
        for ((_, process), most) in system.processes.iter().zip(&mut most) {
            *most = most.max(rss_mib(process.id()));
        }
        if first.is_empty() && began.elapsed() > WATCH / 3 {
            first.clone_from(&most);
        }
    }
    for (((name, _), most), first) in system.processes.iter().zip(&most).zip(&first) {
        eprintln!("rss.{name}: {first:.1} MiB after a third of the time, {most:.1} MiB at the end");
        report(
            place,
            &format!("rss.{name}"),
            *most,
            "MiB",
            Some(TARGET_MIB),
        );
    }
    discard(system).await;
}

/// Publishes orders of the example account before anybody works.
async fn fill(system: &crate::support::system::System, count: usize) {
    let url = system
        .environment()
        .iter()
        .find(|(name, _)| name == "BROKER_URL")
        .unwrap()
        .1
        .parse()
        .unwrap();
    let broker = broker::Broker::open(&url, "bench", 1.0).await.unwrap();
    let publisher = broker.publisher();
    let account_id: Uuid = system.account_id.parse().unwrap();
    let request: schemas::order::OrderRequest = serde_json::from_value(order()).unwrap();
    for done in (0..count).step_by(BATCH) {
        let batch: Vec<_> = (0..BATCH.min(count - done))
            .map(|_| {
                let id = Uuid::now_v7();
                let (placed_at, request) = (chrono::Utc::now(), request.clone());
                Outgoing::entry(
                    "ingress",
                    id,
                    id,
                    &OrderPlace {
                        order_id: Some(id),
                        account_id,
                        placed_at: Some(placed_at),
                        request,
                    },
                )
            })
            .collect();
        publisher.publish_all(&batch).await.unwrap();
        if done % 100_000 == 0 {
            eprintln!("rss: {done} of {count} messages wait");
        }
    }
}

/// The resident memory of a process.
fn rss_mib(id: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or_default();
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap_or(0.0);
    kib / 1024.0
}
