//! Faults: servers are killed, stopped, wiped and refuse, connections break in the middle of a
//! message, neighbours lie. After each fault the invariants are checked: no accepted order lost, no
//! effect doubled.
//!
//! Each has its number in the table of `docs/RELIABILITY.md`. RabbitMQ and PostgreSQL are servers of
//! the harness's own. `cargo test` runs a fixed choice, `./dev faults` all of them.

#![expect(clippy::unwrap_used, reason = "a fault that cannot go on has failed")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the result, and what processes said"
)]

mod broker;
mod checker;
mod crash;
mod database;
mod downstream;
mod frames;
mod load;
mod machine;
mod messages;
mod network;
mod overload;
mod partner;
mod postgres;
mod process;
mod proxy;
mod rabbit;
mod scene;
mod suite;
mod supervised;
mod time;
mod transitions;

#[expect(dead_code, reason = "a part of the harness of the stories")]
#[path = "../support"]
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

fn main() -> std::process::ExitCode {
    let mut suite = suite::Suite::new();
    process::register(&mut suite);
    crash::register(&mut suite);
    broker::register(&mut suite);
    network::register(&mut suite);
    database::register(&mut suite);
    downstream::register(&mut suite);
    messages::register(&mut suite);
    time::register(&mut suite);
    overload::register(&mut suite);
    suite.run()
}
