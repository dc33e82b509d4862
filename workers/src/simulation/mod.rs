//! A deterministic simulation: the real handlers over the real schema, under schedules that a seed
//! decides.
//!
//! A schedule is a list of [`Step`](steps::Step)s: orders are placed; messages are delivered in any
//! order, twice, after a crash, much too late, or never; workers die between two statements, stall
//! and go on after somebody else has taken over; the provider and the mail server fail in every way
//! that the adapters can report; time passes. At the end everything heals, and [`check`] demands one
//! effect for each order. A schedule that breaks an invariant is shrunk and printed with its seed.
//!
//! What is real: handlers, store, migrations, SQLite, payloads as bytes, ids, the choice of the
//! queue from exchange and routing key, parking and replay in the database. What is not:
//! * The broker is a bag ([`message`]). The embedded transport delivers by itself, from a thread of
//!   its own, which no seed can decide. Both transports have a contract suite of their own.
//! * The provider ([`cloud`]), the mail server ([`post`]) and the engine of documents are fakes with
//!   ledgers, behind the same enums as the real ones.
//! * Handlers run one at a time and change places where they leave the process and where they begin
//!   to write ([`gate`]). With the one connection that SQLite gets there are no other places where
//!   one handler could see half of another's work.
//!
//! `SIMULATION_CASES=5000` runs more, `SIMULATION_SEED=1234 SIMULATION_CASES=1` repeats one.

mod check;
mod cloud;
mod counts;
mod database;
mod gate;
mod message;
mod parking;
mod post;
mod reconcile;
mod run;
mod stalled;
mod steps;
mod world;

use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

pub(crate) use cloud::Cloud;
pub(crate) use gate::point;
pub(crate) use post::{Letter, Post};

use counts::Counts;

/// The first seed of a run without one.
const SEED: u64 = 20_261_123;
/// How many schedules a run tries by default.
const CASES: u64 = 300;

#[test]
fn whatever_happens_to_its_messages_an_order_has_one_effect() {
    let (seed, cases) = (
        setting("SIMULATION_SEED", SEED),
        setting("SIMULATION_CASES", CASES),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let template = runtime.block_on(database::template());
    let counts = Counts::default();
    for seed in seed..seed + cases {
        let mut runner = TestRunner::new_with_rng(config(), rng(seed));
        let outcome = runner.run(&steps::schedule(), |schedule| {
            runtime
                .block_on(world::simulate(&template, &schedule, &counts))
                .map_err(proptest::test_runner::TestCaseError::fail)
        });
        match outcome {
            Ok(()) => {}
            Err(TestError::Fail(reason, schedule)) => panic!(
                "{reason}\n\n{schedule}\n\nrepeat with SIMULATION_SEED={seed} SIMULATION_CASES=1"
            ),
            Err(TestError::Abort(reason)) => panic!("seed {seed}: {reason}"),
        }
    }
    println!("{counts:#?}");
    // What is never exercised is not tested. A few schedules may miss something; a run must not.
    if cases >= CASES {
        let missing = counts.never();
        assert!(missing.is_empty(), "never exercised: {missing:?}");
    }
}

fn config() -> Config {
    Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    }
}

fn rng(seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().zip(seed.to_le_bytes()) {
        *at = byte;
    }
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test has no options of its own"
)]
fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap(),
        Err(_) => default,
    }
}
