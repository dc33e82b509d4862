//! Faults of clocks.

use std::time::Duration;

use chrono::{Datelike, TimeZone, Utc};
use chrono_tz::Europe::Berlin;
use rand::Rng;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::machine::faked_time;
use crate::postgres::Stop;
use crate::scene::Scene;
use crate::suite::{Choice, Suite};

/// The parts whose clocks are wrong.
const WORKERS: [&str; 6] = [
    "order", "provider", "invoice", "document", "email", "parker",
];
const HOUR: i64 = 3600;

pub(crate) fn register(suite: &mut Suite) {
    suite.fault(
        Choice::Full,
        "81",
        "the_clocks_of_workers_are_an_hour_off",
        clocks_off,
    );
    suite.fault(
        Choice::Full,
        "81",
        "the_clocks_of_workers_jump_by_hours",
        clocks_jump,
    );
    suite.fault(Choice::Full, "82", "the_year_ends_under_load", year_ends);
}

/// Two workers of each pool, one an hour ahead and one an hour behind. One of them dies in the
/// middle of its work: only the clock of the database says when its lease is over.
async fn clocks_off(scene: &mut Scene) {
    for part in WORKERS {
        let variables = faked_time(&format!("+{HOUR}"));
        scene.parts.restart(part, &borrowed(&variables)).await;
        let mut variables = faked_time(&format!("-{HOUR}"));
        if part == "provider" {
            variables.push(("PAUSE_AT".to_owned(), "provision.effect:2".to_owned()));
        }
        let second = format!("{part}-2");
        scene.parts.add(&second, part, &borrowed(&variables));
    }
    scene.orders(60, 6);
    scene.parts.stopped("provider-2").await;
    let paused = Instant::now();
    scene.completed(60).await;
    // Whoever is an hour ahead waits for the end of the lease like everybody else.
    let waited = paused.elapsed();
    assert!(
        waited > Duration::from_secs(15),
        "taken over after {waited:?}"
    );
    scene.parts.signal("provider-2", "CONT").await;
}

/// All workers share one clock, and it jumps back and forth.
async fn clocks_jump(scene: &mut Scene) {
    let clock = scene.system.folder().join("clock");
    std::fs::write(&clock, "+0\n").unwrap();
    let mut variables = faked_time("+0");
    variables.retain(|(name, _)| name != "FAKETIME");
    let file = clock.to_str().expect("a path").to_owned();
    variables.push(("FAKETIME_TIMESTAMP_FILE".to_owned(), file));
    variables.push(("FAKETIME_NO_CACHE".to_owned(), "1".to_owned()));
    for part in WORKERS {
        scene.parts.restart(part, &borrowed(&variables)).await;
    }
    // Slow enough that leases are held when the clock jumps; some attempts fail and come again.
    let unavailable = json!({ "fault": "status", "status": 503 });
    let faults = json!({ "latency_ms": 300, "create": vec![unavailable; 40] });
    scene.system.provider.faults(faults).await;
    scene.orders(80, 15);
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        let offset = scene.random.random_range(-2 * HOUR..=2 * HOUR);
        std::fs::write(&clock, format!("{offset:+}\n")).unwrap();
        sleep(Duration::from_millis(500)).await;
    }
    scene.completed(80).await;
}

/// Midnight of the new year, where the issuer is, comes while invoices are issued. Each year has a
/// series of its own without a gap.
async fn year_ends(scene: &mut Scene) {
    let now = Utc::now();
    let year = now.with_timezone(&Berlin).year();
    let midnight = Berlin.with_ymd_and_hms(year + 1, 1, 1, 0, 0, 0);
    let midnight = midnight.single().expect("a moment");
    let early = 20;
    let ahead = (midnight.to_utc() - now).num_seconds() - early;
    scene.postgres.stop(Stop::Fast).await;
    scene.postgres.boot_ahead(ahead).await;
    scene.orders(150, 40);
    let mailed = "SELECT count(*) FROM email_delivery WHERE state = 'sent'";
    scene.until("mails to be sent", mailed, 150).await;
    for of in [year, year + 1] {
        let issued = format!("SELECT count(*) FROM invoice WHERE year = {of}");
        let issued = scene.count(&issued).await.unwrap();
        assert!(issued > 10, "only {issued} invoices of {of}");
        let days = format!(
            "SELECT count(*) FROM invoice WHERE year = {of} AND extract(year FROM issue_date) <> {of}"
        );
        assert_eq!(
            scene.count(&days).await.unwrap(),
            0,
            "a day of another year"
        );
    }
}

fn borrowed(variables: &[(String, String)]) -> Vec<(&str, &str)> {
    let mut borrowed: Vec<(&str, &str)> = Vec::new();
    for (name, value) in variables {
        borrowed.push((name, value));
    }
    borrowed
}
