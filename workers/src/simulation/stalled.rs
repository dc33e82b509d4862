//! Workers that stall, and the rows they work on.

use entity::{email_delivery, resource};
use schemas::email::EmailSend;
use schemas::provision::ResourceProvision;
use schemas::topology::Pool;
use sea_orm::DatabaseConnection;

use super::gate::Call;
use super::message::Stored;
use crate::store::{mails, resources};

/// Shorter than every lease.
const SHORTEST_LEASE: u16 = 24;

/// A worker that stalls.
pub(super) struct Stalled {
    pub(super) call: Call,
    pub(super) message: Stored,
    pub(super) at: &'static str,
    pub(super) seconds: u16,
    /// What it works on, when it stalled.
    pub(super) row: Option<Leased>,
}

impl Stalled {
    /// Whether it stopped under a lease of its own that has not run out.
    pub(super) fn holds_the_lease(&self) -> bool {
        let claimed = !["begin", "poll", "render"].contains(&self.at);
        claimed && self.seconds < SHORTEST_LEASE
    }
}

/// A row that one worker at a time may write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leased {
    Resource(resource::Model),
    Mail(email_delivery::Model),
}

impl Leased {
    /// The row that a message is about, if it is about one.
    pub(super) async fn read(db: &DatabaseConnection, message: &Stored) -> Option<Self> {
        match message.queue.pool {
            Pool::Provider => {
                let id = message.decode::<ResourceProvision>().body.resource_id;
                resources::find(db, id).await.unwrap().map(Self::Resource)
            }
            Pool::Email => {
                let id = message.decode::<EmailSend>().body.delivery_id;
                mails::find(db, id).await.unwrap().map(Self::Mail)
            }
            _ => None,
        }
    }

    pub(super) fn fence(&self) -> i64 {
        match self {
            Self::Resource(row) => row.fence,
            Self::Mail(row) => row.fence,
        }
    }
}
