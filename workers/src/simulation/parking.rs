//! Messages that were given up, and come back.

use std::num::NonZeroU32;

use broker::{Parked, Replay};
use chrono::Utc;
use entity::parked_message::ParkedState;
use schemas::Outgoing;
use schemas::event::OrderFailed;
use schemas::topology::WORK_QUEUES;
use uuid::Uuid;

use super::message::{PUBLISHER, Stored};
use super::world::World;
use crate::store::parked::{self, Decider, Decision, Filter};

impl World<'_> {
    /// What the parker does with a message that was given up.
    pub(super) async fn park(
        &mut self,
        message: &Stored,
        reason: &str,
        error: &str,
    ) -> Result<(), String> {
        self.counts.parked.add(1);
        let parked = Parked {
            queue: message.queue.name.to_owned(),
            message_id: message.id,
            correlation_id: message.correlation_id,
            kind: message.kind.clone(),
            reason: reason.to_owned(),
            error: error.to_owned(),
            attempts: message.attempt,
            publisher: Some(PUBLISHER.to_owned()),
            origin_exchange: message.exchange.clone(),
            origin_routing_key: message.routing_key.clone(),
            version: String::new(),
            parked_at: Utc::now(),
            trace_id: None,
            headers: serde_json::json!({}),
            body: message.body.clone(),
        };
        let failed = parked::take_over(&self.db, parked).await;
        if let Some((order, problem)) = failed.map_err(|error| format!("park: {error:#}"))? {
            let fact = OrderFailed {
                order_id: order.id,
                account_id: order.account_id,
                problem,
            };
            let id = Uuid::new_v5(&message.id, b"order.failed");
            self.publish(&[Outgoing::new(id, order.id, &fact)])?;
        }
        Ok(())
    }

    /// Replays everything that is parked.
    pub(super) async fn replay(&mut self) -> Result<(), String> {
        let text = |error: anyhow::Error| format!("replay: {error:#}");
        let parked = Filter {
            state: Some(ParkedState::Parked),
            ..Filter::default()
        };
        let rows = parked::list(&self.db, &parked, 1000).await.unwrap();
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let decider = Decider {
            operator: "simulation",
            note: None,
            rate: NonZeroU32::MAX,
        };
        let decided = parked::decide(&self.db, &ids, Decision::Replay, decider).await;
        assert!(decided.unwrap().is_empty());
        for (id, replay) in parked::to_replay(&self.db, 1000).await.map_err(text)? {
            let message = replayed(replay);
            self.note("replayed", &message);
            self.bag.push(message);
            parked::replayed(&self.db, id).await.unwrap();
        }
        Ok(())
    }
}

fn replayed(replay: Replay) -> Stored {
    let queue = WORK_QUEUES
        .into_iter()
        .find(|queue| queue.name == replay.queue);
    Stored {
        queue: queue.unwrap(),
        id: replay.message_id,
        correlation_id: replay.correlation_id,
        kind: replay.kind,
        exchange: replay.origin_exchange,
        routing_key: replay.origin_routing_key,
        body: replay.body,
        attempt: 0,
        waits: 0,
    }
}
