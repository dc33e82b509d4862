//! `flood`: how long the requests of one account take while another sends as many as it can, against
//! how long they take when nobody else is there, and when the other one sends what it may and no more.
//! The 99th percentile.

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
const FLOODERS: u32 = 64;
/// How many requests a round has, and how far apart they begin at least.
const REQUESTS: usize = 300;
const APART: Duration = Duration::from_millis(20);
const ROUNDS: usize = 5;
/// How far apart the requests of each connection begin that sends what the account may: together they
/// are a little under the 500 a second of a key.
const ALLOWED: Duration = Duration::from_millis(133);

pub(crate) async fn run(place: Place) {
    let mut system = place.system().await;
    // The limits are what keeps accounts apart: those of every day.
    for rate in ["KEY_RATE", "ACCOUNT_RATE"] {
        system.unset_environment(rate);
    }
    system.start_part("ingress");
    system.find_api().await;
    let (_, flooder) = system.account("Flooder", &["--country", "DE"]).await;
    let (mut limits, mut allowed, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let alone = p99(&system.client).await;
        let other = Other::start(&flooder, Some(ALLOWED)).await;
        let beside = p99(&system.client).await;
        assert_eq!(other.stop().await.1, 0, "what is allowed is refused");
        let flood = Other::start(&flooder, None).await;
        flood.until_refused().await;
        let flooded = p99(&system.client).await;
        let (accepted, refused) = flood.stop().await;
        // The first round warms up.
        if round > 0 {
            limits.push(alone);
            allowed.push(beside);
            values.push(flooded);
        }
        eprintln!(
            "flood: round {round}: p99 alone {alone:.1} ms, beside what is allowed \
             {beside:.1} ms, flooded {flooded:.1} ms \
             ({accepted} of the flood accepted, {refused} refused)"
        );
    }
    let flooded = median(values);
    for (name, limit) in [("flood_p99", limits), ("flood_p99_beside_allowed", allowed)] {
        report(place, name, flooded, "ms", Some(median(limit)));
    }
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

/// An account that sends as many requests as it can, or as it may.
struct Other {
    going_on: Arc<AtomicBool>,
    accepted: Arc<AtomicU32>,
    refused: Arc<AtomicU32>,
    flooders: JoinSet<()>,
}

impl Other {
    async fn start(client: &Client, apart: Option<Duration>) -> Self {
        let mut flood = Self {
            going_on: Arc::new(AtomicBool::new(true)),
            accepted: Arc::default(),
            refused: Arc::default(),
            flooders: JoinSet::new(),
        };
        for index in 0..FLOODERS {
            let mut connection = Connection::open(client).await;
            let going_on = flood.going_on.clone();
            let (accepted, refused) = (flood.accepted.clone(), flood.refused.clone());
            flood.flooders.spawn(async move {
                // Evenly, and not all at once.
                let first =
                    tokio::time::Instant::now() + apart.unwrap_or_default() * index / FLOODERS;
                let mut ticks = apart.map(|apart| tokio::time::interval_at(first, apart));
                while going_on.load(Ordering::Relaxed) {
                    if let Some(ticks) = &mut ticks {
                        ticks.tick().await;
                    }
                    let count = match connection.ask(&Uuid::new_v4().to_string()).await {
                        202 => &accepted,
                        429 => &refused,
                        other => panic!("{other}"),
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        flood
    }

    /// The burst that every account has is used up first.
    async fn until_refused(&self) {
        let began = Instant::now();
        while self.refused.load(Ordering::Relaxed) == 0 && began.elapsed() < Duration::from_secs(10)
        {
            tokio::time::sleep(APART).await;
        }
    }

    /// How many requests were accepted, and how many refused.
    async fn stop(self) -> (u32, u32) {
        self.going_on.store(false, Ordering::Relaxed);
        self.flooders.join_all().await;
        let count = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
        (count(&self.accepted), count(&self.refused))
    }
}
