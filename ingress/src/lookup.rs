//! Whether something is in the database already. Requests that come at the same time are looked up
//! together, so that a flood of them costs few queries and a single one does not wait.

use std::collections::HashMap;
use std::time::Duration;

use sea_orm::{ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QuerySelect};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

/// How many ids one query looks up at most.
const MAX_BATCH: usize = 128;
/// How long after a query the next one begins at the earliest: under load they grow, and a request
/// by itself does not wait.
const GATHER: Duration = Duration::from_millis(5);
/// How long the database may take.
const PATIENCE: Duration = Duration::from_millis(1500);

/// What was asked for under an id, as a hash.
type Answer = Option<String>;
type Question = (Uuid, oneshot::Sender<Answer>);

/// A handle to the task that looks up, which ends with it.
pub(crate) struct Lookup {
    questions: mpsc::Sender<Question>,
}

impl Lookup {
    /// Looks up the hash of a request by the id of what it made.
    pub(crate) fn start<E: EntityTrait>(
        db: &DatabaseConnection,
        id: E::Column,
        sha256: E::Column,
    ) -> Self {
        let (questions, asked) = mpsc::channel(MAX_BATCH);
        tokio::spawn(answer::<E>(db.clone(), (id, sha256), asked));
        Self { questions }
    }

    /// What was asked for under this id before, as far as the database knows. Being away it knows
    /// nothing: then the worker finds the repetition.
    pub(crate) async fn find(&self, id: Uuid) -> Answer {
        let asking = async {
            let (sender, answer) = oneshot::channel();
            self.questions.send((id, sender)).await.ok()?;
            answer.await.ok().flatten()
        };
        timeout(PATIENCE, asking).await.ok().flatten()
    }
}

async fn answer<E: EntityTrait>(
    db: DatabaseConnection,
    columns: (E::Column, E::Column),
    mut asked: mpsc::Receiver<Question>,
) {
    let mut batch = Vec::new();
    let mut next = Instant::now();
    while asked.recv_many(&mut batch, MAX_BATCH).await > 0 {
        if Instant::now() < next {
            sleep_until(next).await;
            while batch.len() < MAX_BATCH
                && let Ok(question) = asked.try_recv()
            {
                batch.push(question);
            }
        }
        next = Instant::now() + GATHER;
        let ids = batch.iter().map(|(id, _)| *id).collect();
        let found = timeout(PATIENCE, find::<E>(&db, columns, ids)).await;
        let found = found.ok().and_then(Result::ok).unwrap_or_default();
        for (id, sender) in batch.drain(..) {
            // Whoever asked may have stopped waiting.
            sender.send(found.get(&id).cloned()).ok();
        }
    }
}

async fn find<E: EntityTrait>(
    db: &DatabaseConnection,
    (id, sha256): (E::Column, E::Column),
    ids: Vec<Uuid>,
) -> Result<HashMap<Uuid, String>, DbErr> {
    let rows = E::find()
        .filter(id.is_in(ids))
        .select_only()
        .columns([id, sha256])
        .into_tuple()
        .all(db);
    Ok(rows.await?.into_iter().collect())
}
