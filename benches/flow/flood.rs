//! `flood`: how long the requests of one account take while another sends as many as it can, against
//! how long they take when nobody else is there. The 99th percentile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use crate::load::Connection;
use crate::place::{Place, discard};
use crate::support::client::Client;
use crate::{median, report};

/// How many connections the other account floods with.
const FLOODERS: usize = 64;
/// How many requests a round has, and how far apart they begin at least.
const REQUESTS: usize = 300;
const APART: Duration = Duration::from_millis(20);
const ROUNDS: usize = 5;

pub(crate) async fn run(place: Place) {
    let mut system = place.system().await;
    // The limits are what keeps accounts apart: those of every day.
    for rate in ["KEY_RATE", "ACCOUNT_RATE"] {
        system.unset_environment(rate);
    }
    system.start_part("ingress");
    system.find_api().await;
    let (_, flooder) = system.account("Flooder", &["--country", "DE"]).await;
    let (mut limits, mut values) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let alone = p99(&system.client).await;
        let flood = Flood::start(&flooder).await;
        let flooded = p99(&system.client).await;
        let (accepted, refused) = flood.stop().await;
        // The first round warms up.
        if round > 0 {
            limits.push(alone);
            values.push(flooded);
        }
        eprintln!(
            "flood: round {round}: p99 alone {alone:.1} ms, flooded {flooded:.1} ms \
             ({accepted} of the flood accepted, {refused} refused)"
        );
    }
    report(
        place,
        "flood_p99",
        median(values),
        "ms",
        Some(median(limits)),
    );
    discard(system).await;
}

/// How long 99 of 100 requests take at most, in milliseconds.
async fn p99(client: &Client) -> f64 {
    let mut connection = Connection::open(client).await;
    let mut ticks = tokio::time::interval(APART);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut taken = Vec::new();
    for _ in 0..REQUESTS {
        ticks.tick().await;
        let began = Instant::now();
        connection.place(&Uuid::new_v4().to_string()).await;
        taken.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    taken.sort_by(f64::total_cmp);
    taken[REQUESTS * 99 / 100]
}

/// An account that sends as many requests as it can.
struct Flood {
    going_on: Arc<AtomicBool>,
    accepted: Arc<AtomicU32>,
    refused: Arc<AtomicU32>,
    flooders: JoinSet<()>,
}

impl Flood {
    async fn start(client: &Client) -> Self {
        let mut flood = Self {
            going_on: Arc::new(AtomicBool::new(true)),
            accepted: Arc::default(),
            refused: Arc::default(),
            flooders: JoinSet::new(),
        };
        for _ in 0..FLOODERS {
            let mut connection = Connection::open(client).await;
            let going_on = flood.going_on.clone();
            let (accepted, refused) = (flood.accepted.clone(), flood.refused.clone());
            flood.flooders.spawn(async move {
                while going_on.load(Ordering::Relaxed) {
                    let count = match connection.ask(&Uuid::new_v4().to_string()).await {
                        202 => &accepted,
                        429 => &refused,
                        other => panic!("{other}"),
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // The burst that every account has is used up first.
        let began = Instant::now();
        while flood.refused.load(Ordering::Relaxed) == 0
            && began.elapsed() < Duration::from_secs(10)
        {
            tokio::time::sleep(APART).await;
        }
        flood
    }

    /// How many requests were accepted, and how many refused.
    async fn stop(self) -> (u32, u32) {
        self.going_on.store(false, Ordering::Relaxed);
        self.flooders.join_all().await;
        let count = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
        (count(&self.accepted), count(&self.refused))
    }
}
