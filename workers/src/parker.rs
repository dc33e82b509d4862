//! The parker: copies parked messages into the database, where people search and decide, and
//! carries their decisions out.

use std::time::Duration;

use anyhow::Context;
use broker::{Broker, Outgoing, Parked, ParkedConsumer, Publisher};
use schemas::event::OrderFailed;
use sea_orm::DatabaseConnection;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::store::parked;

/// How often it looks for decisions.
const INTERVAL: Duration = Duration::from_secs(1);
/// How many messages go back at each look at most. The decision says how many in a second.
const AT_ONCE: u64 = 1000;

/// Runs until shutdown.
pub(crate) async fn run(
    broker: Broker,
    publisher: Publisher,
    db: DatabaseConnection,
    shutdown: CancellationToken,
) {
    let mut running = JoinSet::new();
    {
        let (db, publisher, shutdown) = (db.clone(), publisher.clone(), shutdown.clone());
        let store = async move |parked: Parked| take_over(&db, &publisher, parked).await;
        running.spawn(async move { ParkedConsumer::new(broker).run(store, shutdown).await });
    }
    running.spawn(async move {
        while !shutdown.is_cancelled() {
            if let Err(error) = replay(&db, &publisher).await {
                tracing::warn!("cannot replay parked messages: {error:#}");
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = shutdown.cancelled() => {}
            }
        }
    });
    while running.join_next().await.is_some() {}
}

async fn take_over(
    db: &DatabaseConnection,
    publisher: &Publisher,
    parked: Parked,
) -> anyhow::Result<()> {
    let message_id = parked.message_id;
    let failed = parked::take_over(db, parked)
        .await
        .context("store the parked message")?;
    if let Some((order, problem)) = failed {
        let fact = OrderFailed {
            order_id: order.id,
            account_id: order.account_id,
            problem,
        };
        let id = uuid::Uuid::new_v5(&message_id, b"order.failed");
        publisher
            .publish(&Outgoing::new(id, order.id, &fact))
            .await?;
    }
    Ok(())
}

/// Sends back what operators have decided to replay. A crash in between sends a message twice,
/// which its handler bears.
async fn replay(db: &DatabaseConnection, publisher: &Publisher) -> anyhow::Result<()> {
    for (id, replay) in parked::to_replay(db, AT_ONCE).await? {
        publisher.replay(&replay).await?;
        parked::replayed(db, id).await?;
        tracing::info!(messaging.message.id = %replay.message_id, "replayed a message of {}", replay.queue);
    }
    Ok(())
}
