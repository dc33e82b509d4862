//! The contract between the parts of Customer Flow and with partner systems.
//!
//! What two processes must agree on lives here and nowhere else: the payloads, the values in
//! them, how they are addressed, and the exchanges and queues they travel through.
//!
//! # How to add a message
//! 1. Write the payload in the file of its noun and implement [`Message`] for it.
//! 2. If it goes to a new worker, add a [`topology::WorkQueue`] to [`topology::WORK_QUEUES`].
//! 3. Fields are only ever added to a published kind. A break is a new kind (`….v2`), consumed
//!    beside the old one until the old queue is empty.

pub mod contract;
pub mod document;
pub mod email;
pub mod event;
pub mod invoice;
pub mod link;
pub mod message;
pub mod order;
pub mod problem;
pub mod provision;
pub mod seal;
pub mod ticket;
pub mod topology;
pub mod values;

pub use message::{Envelope, Message, Outgoing};
pub use problem::Problem;
