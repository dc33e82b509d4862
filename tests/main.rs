//! Stories told from outside, over both transports and both databases, and the contract that both
//! transports fulfil. The neighbours (cloud provider, mail server) are processes of their own with
//! ledgers.

#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "stories tell what they saw"
)]

mod contract;
mod stories;
mod support;

fn main() -> std::process::ExitCode {
    let mut suite = support::suite::Suite::default();
    contract::register(&mut suite);
    stories::register(&mut suite);
    suite.run()
}
