//! Publisher and consuming loop, over RabbitMQ or the embedded queue.
//!
//! The rules that make an accepted message have its effect (see `docs/ARCHITECTURE.md`):
//! * `Ok` from [`Publisher::publish`] means: confirmed by the broker, on disk.
//! * Nothing is acknowledged before its consequences are confirmed, and nothing is ever nacked.
//! * Handlers may run twice, also at once. They see [`Envelope`]s and return [`Outgoing`]s; only
//!   the loop talks to the broker.
//!
//! Both transports pass one contract suite (`tests/contract.rs`).

mod broker;
mod consume;
mod crash;
mod embedded;
mod handler;
mod park;
mod publisher;
mod rabbit;
mod trace;
mod wire;

pub use broker::{Broker, BrokerUrl, Health};
pub use consume::{Consumer, Outage};
pub use crash::crash_point;
pub use handler::{Failure, Handled, Handler, Next, Refused};
pub use park::{Parked, ParkedConsumer, Replay};
pub use publisher::{PublishError, Publisher};
pub use rabbit::access::{Access, Admin};
pub use schemas::{Envelope, Outgoing};
pub use trace::{current_trace_id, extract_http, inject_http, rename_current_span};
