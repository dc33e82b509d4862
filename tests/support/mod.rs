//! The harness: worlds to tell stories in, processes, neighbours, and waiting for conditions.

pub(crate) mod canary;
pub(crate) mod client;
pub(crate) mod coverage;
pub(crate) mod database;
pub(crate) mod jwt;
pub(crate) mod neighbours;
pub(crate) mod oidc;
pub(crate) mod openapi;
pub(crate) mod otlp;
pub(crate) mod partner;
pub(crate) mod person;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod suite;
pub(crate) mod system;
pub(crate) mod vhost;
pub(crate) mod wait;
