//! The thread that owns the file.

use std::collections::{HashMap, HashSet};
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use rusqlite::{Connection, OptionalExtension, params};
use schemas::topology::DELIVERY_LIMIT;
use tokio::sync::{mpsc, oneshot};

use super::USER;
use super::route::Router;
use crate::crash::crash_point;
use crate::publisher::PublishError;
use crate::wire::{Properties, Publication, Received};

/// How many commands share one transaction at most.
const MAX_BATCH: usize = 512;
/// How long the thread sleeps when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS message (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        queue TEXT NOT NULL,
        due_ms INTEGER,                      -- when it moves on by itself; NULL: it stays
        deliveries INTEGER NOT NULL DEFAULT 0,
        exchange TEXT NOT NULL,
        routing_key TEXT NOT NULL,
        properties TEXT NOT NULL,
        body BLOB NOT NULL
    );
    CREATE INDEX IF NOT EXISTS message_queue ON message (queue, seq);
    CREATE INDEX IF NOT EXISTS message_due ON message (due_ms) WHERE due_ms IS NOT NULL;
";

/// An answer after the commit; the error is for people.
type Reply<T, E = String> = oneshot::Sender<Result<T, E>>;
/// Queues and how many messages each has.
type Depths = Vec<(String, u64)>;

pub(super) enum Command {
    Publish {
        publication: Box<Publication>,
        reply: Reply<(), PublishError>,
    },
    Consume {
        queue: String,
        prefetch: u16,
        sender: mpsc::UnboundedSender<(i64, Received)>,
        reply: oneshot::Sender<u64>,
    },
    Ack(Ack),
    /// No more deliveries for this consumer.
    Cancel {
        consumer: u64,
    },
    /// The consumer is gone: what it did not acknowledge comes again.
    Close {
        consumer: u64,
    },
    Depths {
        names: Vec<String>,
        reply: Reply<Depths>,
    },
}

/// A consumer has settled a message.
pub(super) struct Ack {
    pub(super) consumer: u64,
    pub(super) seq: i64,
    pub(super) reply: Reply<()>,
}

/// What one transaction writes, and the questions that are answered with it.
#[derive(Default)]
struct Writes {
    publications: Vec<(Box<Publication>, Reply<(), PublishError>)>,
    acks: Vec<Ack>,
    depths: Vec<(Vec<String>, Reply<Depths>)>,
}

struct Consumer {
    queue: String,
    prefetch: usize,
    /// The messages it holds.
    unacked: HashSet<i64>,
    /// Nothing once it is cancelled.
    sender: Option<mpsc::UnboundedSender<(i64, Received)>>,
}

pub(super) struct Store {
    connection: Connection,
    router: Router,
    consumers: HashMap<u64, Consumer>,
    next_consumer: u64,
    /// Where the search for ready messages of a queue begins: everything before is held or gone.
    cursors: HashMap<String, i64>,
    /// Held by the process for as long as it has the queue open.
    _lock: File,
}

impl Store {
    pub(super) fn open(path: &Path, retry_scale: f64) -> anyhow::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).context("create its folder")?;
        }
        let lock = lock(path)?;
        let connection = Connection::open(path)?;
        // FULL: a commit is on disk when it returns, which is what a confirm promises.
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
        let state: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if state != "ok" {
            bail!(
                "the file is damaged ({state}); restore it from a backup or move it away to start empty"
            );
        }
        connection.execute_batch(SCHEMA)?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(Self {
            connection,
            router: Router::new(retry_scale),
            consumers: HashMap::new(),
            next_consumer: 0,
            cursors: HashMap::new(),
            _lock: lock,
        })
    }

    /// Applies commands until every handle is gone.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let wait = self.until_due().unwrap_or(IDLE);
            let mut batch = match commands.recv_timeout(wait) {
                Ok(command) => vec![command],
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            batch.extend(commands.try_iter().take(MAX_BATCH - 1));
            if let Err(error) = self.apply(batch) {
                tracing::error!("the queue cannot write its file: {error:#}");
                // Whoever asked has been told, and asks again; consumers get their messages later.
                #[expect(clippy::disallowed_methods, reason = "a thread of its own")]
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    }

    /// One transaction: what is due, the commands, and what can be delivered then. Answers go out
    /// after the commit.
    fn apply(&mut self, batch: Vec<Command>) -> anyhow::Result<()> {
        let mut writes = Writes::default();
        for command in batch {
            self.register(command, &mut writes);
        }
        let worked = self
            .transact(&writes)
            .and_then(|deliveries| Ok((deliveries, self.count(&writes)?)));
        let Writes {
            publications,
            acks,
            depths,
        } = writes;
        let (deliveries, counts) = match worked {
            Ok(worked) => worked,
            Err(error) => {
                let reason = format!("{error:#}");
                for (_, reply) in publications {
                    reply
                        .send(Err(PublishError::Unavailable(reason.clone())))
                        .ok();
                }
                for Ack { reply, .. } in acks {
                    reply.send(Err(reason.clone())).ok();
                }
                // What was found in the transaction was not delivered.
                self.cursors.clear();
                return Err(error);
            }
        };
        if !publications.is_empty() {
            crash_point("publish.confirmed");
        }
        for (_, reply) in publications {
            reply.send(Ok(())).ok();
        }
        for Ack {
            consumer,
            seq,
            reply,
        } in acks
        {
            if let Some(consumer) = self.consumers.get_mut(&consumer) {
                consumer.unacked.remove(&seq);
            }
            reply.send(Ok(())).ok();
        }
        for ((_, reply), counts) in depths.into_iter().zip(counts) {
            reply.send(Ok(counts)).ok();
        }
        for (id, seq, received) in deliveries {
            let Some(consumer) = self.consumers.get_mut(&id) else {
                continue;
            };
            let sent = consumer
                .sender
                .as_ref()
                .is_some_and(|sender| sender.send((seq, received)).is_ok());
            if sent {
                consumer.unacked.insert(seq);
            } else {
                // It went away meanwhile: another one gets the message.
                consumer.sender = None;
                self.cursors.remove(&consumer.queue);
            }
        }
        Ok(())
    }

    /// Notes what a command writes; commands that only change who consumes are done at once.
    fn register(&mut self, command: Command, writes: &mut Writes) {
        match command {
            Command::Publish { publication, reply } => {
                match self.router.has_exchange(&publication.exchange) {
                    true => writes.publications.push((publication, reply)),
                    false => drop(reply.send(Err(PublishError::Unroutable(publication.exchange)))),
                }
            }
            Command::Ack(ack) => writes.acks.push(ack),
            Command::Depths { names, reply } => writes.depths.push((names, reply)),
            Command::Consume {
                queue,
                prefetch,
                sender,
                reply,
            } => {
                self.next_consumer += 1;
                let consumer = Consumer {
                    queue,
                    prefetch: prefetch.into(),
                    unacked: HashSet::new(),
                    sender: Some(sender),
                };
                self.consumers.insert(self.next_consumer, consumer);
                reply.send(self.next_consumer).ok();
            }
            Command::Cancel { consumer } => {
                if let Some(consumer) = self.consumers.get_mut(&consumer) {
                    consumer.sender = None;
                }
            }
            Command::Close { consumer } => {
                if let Some(consumer) = self.consumers.remove(&consumer) {
                    self.cursors.remove(&consumer.queue);
                }
            }
        }
    }

    fn transact(&mut self, writes: &Writes) -> anyhow::Result<Vec<(u64, i64, Received)>> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let written = self.write(writes);
        let outcome = match written {
            Ok(deliveries) => self
                .connection
                .execute_batch("COMMIT")
                .context("commit")
                .map(|()| deliveries),
            Err(error) => Err(error),
        };
        if outcome.is_err() && !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        outcome
    }

    fn write(&mut self, writes: &Writes) -> anyhow::Result<Vec<(u64, i64, Received)>> {
        let now = now_ms();
        self.move_due(now)?;
        for (publication, _) in &writes.publications {
            self.insert(publication, now)?;
        }
        for Ack { seq, .. } in &writes.acks {
            self.connection
                .prepare_cached("DELETE FROM message WHERE seq = ?")?
                .execute([seq])?;
        }
        self.collect(writes, now)
    }

    fn insert(&self, publication: &Publication, now: i64) -> anyhow::Result<()> {
        let mut properties = publication.properties.clone();
        properties.user_id = Some(USER.to_owned());
        let properties = serde_json::to_string(&properties)?;
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO message (queue, due_ms, exchange, routing_key, properties, body) VALUES (?, ?, ?, ?, ?, ?)",
        )?;
        for queue in self
            .router
            .route(&publication.exchange, &publication.routing_key)
        {
            let due = self
                .router
                .delay(queue)
                .map(|delay| now.saturating_add(millis(delay)));
            insert.execute(params![
                queue.name,
                due,
                publication.exchange,
                publication.routing_key,
                properties,
                publication.body,
            ])?;
        }
        Ok(())
    }

    /// Moves what has waited long enough.
    fn move_due(&self, now: i64) -> anyhow::Result<()> {
        let mut select = self.connection.prepare_cached(
            "SELECT seq, queue, routing_key FROM message WHERE due_ms <= ? ORDER BY due_ms LIMIT 512",
        )?;
        let due = select
            .query_map([now], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<Vec<(i64, String, String)>, _>>()?;
        for (seq, queue, routing_key) in due {
            self.dead_letter(seq, &queue, &routing_key, now)?;
        }
        Ok(())
    }

    /// Moves one message to where its queue sends what it gives up.
    fn dead_letter(
        &self,
        seq: i64,
        queue: &str,
        routing_key: &str,
        now: i64,
    ) -> anyhow::Result<()> {
        let Some((exchange, key)) = self.router.dead_letter(queue, routing_key) else {
            return Ok(());
        };
        let mut copy = self.connection.prepare_cached(
            "INSERT INTO message (queue, due_ms, exchange, routing_key, properties, body)
             SELECT ?2, ?3, ?4, ?5, properties, body FROM message WHERE seq = ?1",
        )?;
        for target in self.router.route(exchange, key) {
            let due = self
                .router
                .delay(target)
                .map(|delay| now.saturating_add(millis(delay)));
            copy.execute(params![seq, target.name, due, exchange, key])?;
        }
        self.connection
            .prepare_cached("DELETE FROM message WHERE seq = ?")?
            .execute([seq])?;
        Ok(())
    }

    /// Finds ready messages for every consumer that may have more, and counts the delivery.
    fn collect(&mut self, writes: &Writes, now: i64) -> anyhow::Result<Vec<(u64, i64, Received)>> {
        let acked: HashSet<i64> = writes.acks.iter().map(|ack| ack.seq).collect();
        let mut credits: Vec<_> = self
            .consumers
            .iter()
            .filter(|(_, consumer)| consumer.sender.is_some())
            .map(|(id, consumer)| {
                let held = consumer
                    .unacked
                    .iter()
                    .filter(|seq| !acked.contains(seq))
                    .count();
                (
                    *id,
                    consumer.queue.clone(),
                    consumer.prefetch.saturating_sub(held),
                )
            })
            .collect();
        credits.sort_unstable();
        let mut found = Vec::new();
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for (id, queue, credit) in &mut credits {
                while *credit > 0 {
                    let Some((seq, deliveries, received)) = self.next_ready(queue)? else {
                        break;
                    };
                    self.cursors.insert(queue.clone(), seq);
                    if deliveries > DELIVERY_LIMIT {
                        // A message that is never settled takes its worker down each time. Its dead
                        // letter may have a consumer that was looked at before.
                        self.dead_letter(seq, queue, &received.routing_key, now)?;
                        moved = true;
                        continue;
                    }
                    self.connection
                        .prepare_cached(
                            "UPDATE message SET deliveries = deliveries + 1 WHERE seq = ?",
                        )?
                        .execute([seq])?;
                    found.push((*id, seq, received));
                    *credit -= 1;
                }
            }
        }
        Ok(found)
    }

    /// The first message of `queue` behind the cursor that nobody holds.
    fn next_ready(&self, queue: &str) -> anyhow::Result<Option<(i64, i64, Received)>> {
        let mut cursor = self.cursors.get(queue).copied().unwrap_or(0);
        let mut select = self.connection.prepare_cached(
            "SELECT seq, deliveries, exchange, routing_key, properties, body FROM message
             WHERE queue = ? AND seq > ? ORDER BY seq LIMIT 1",
        )?;
        loop {
            let row = select
                .query_row(params![queue, cursor], |row| {
                    let deliveries: i64 = row.get(1)?;
                    let properties: String = row.get(4)?;
                    let received = Received {
                        exchange: row.get(2)?,
                        routing_key: row.get(3)?,
                        redelivered: deliveries > 0,
                        properties: serde_json::from_str::<Properties>(&properties)
                            .unwrap_or_default(),
                        body: row.get(5)?,
                    };
                    Ok((row.get::<_, i64>(0)?, deliveries, received))
                })
                .optional()?;
            match row {
                Some((seq, ..)) if self.consumers.values().any(|c| c.unacked.contains(&seq)) => {
                    cursor = seq
                }
                other => return Ok(other),
            }
        }
    }

    fn until_due(&self) -> Option<Duration> {
        let next: Option<i64> = self
            .connection
            .prepare_cached("SELECT min(due_ms) FROM message WHERE due_ms IS NOT NULL")
            .and_then(|mut select| select.query_row([], |row| row.get(0)))
            .ok()?;
        let wait = next?.saturating_sub(now_ms()).max(0);
        Some(Duration::from_millis(wait.unsigned_abs()))
    }

    /// The answers to the questions for depths, in their order.
    fn count(&self, writes: &Writes) -> anyhow::Result<Vec<Depths>> {
        let mut count = self
            .connection
            .prepare_cached("SELECT count(*) FROM message WHERE queue = ?")?;
        let mut depth = |name: &String| {
            let depth: i64 = count.query_row([name], |row| row.get(0))?;
            Ok((name.clone(), depth.unsigned_abs()))
        };
        writes
            .depths
            .iter()
            .map(|(names, _)| names.iter().map(&mut depth).collect())
            .collect()
    }
}

/// Refuses a second process: two would deliver the same messages.
fn lock(path: &Path) -> anyhow::Result<File> {
    let lock_path = path.with_extension("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .with_context(|| format!("open {}", lock_path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "another process has it open; the embedded queue is for one process, \
             use RabbitMQ (BROKER_URL=amqp://…) for several"
        ),
        Err(TryLockError::Error(error)) => Err(error).context("lock it"),
    }
}

fn now_ms() -> i64 {
    millis(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
