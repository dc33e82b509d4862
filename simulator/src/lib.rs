//! The neighbours of Customer Flow, for trials and tests: a cloud provider and a mail server.
//!
//! Both run as processes of their own, fail on demand, and keep ledgers of what really happened,
//! so that "exactly one effect" can be counted outside the system that promises it.

mod http;
pub mod ledger;
pub mod mail;
pub mod provider;
