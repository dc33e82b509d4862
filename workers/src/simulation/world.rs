//! A world and what happens in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use broker::{Failure, Next};
use chrono::{DateTime, Utc};
use schemas::order::{OrderPlace, OrderRequest, order_id};
use schemas::{Message, Outgoing};
use sea_orm::{DatabaseConnection, DbErr};
use uuid::Uuid;

use super::cloud::Cloud;
use super::counts::Counts;
use super::database::{ACCOUNT, NO_ADDRESS, Template};
use super::gate::{self, Call, Gate, Progress};
use super::message::{PUBLISHER, Stored, route};
use super::post::Post;
use super::run::{Disposition, Workers};
use super::stalled::{Leased, Stalled};
use super::steps::{Schedule, Step, Wish};
use super::{check, reconcile};

/// Longer than every lease.
const LONG: u16 = 720;
/// More rounds than anything takes that is not stuck.
const ROUNDS: u32 = 60;

/// The database, the messages, the neighbours, and what has happened.
pub(super) struct World<'a> {
    pub(super) db: DatabaseConnection,
    pub(super) cloud: Arc<Cloud>,
    pub(super) post: Arc<Post>,
    pub(super) workers: Arc<Workers>,
    pub(super) counts: &'a Counts,
    /// What is in the queues.
    pub(super) bag: Vec<Stored>,
    stalled: Vec<Stalled>,
    /// Every message that was ever in a queue.
    pub(super) history: Vec<Stored>,
    /// What each handled message was answered with.
    pub(super) answers: BTreeMap<(Uuid, Vec<u8>), BTreeSet<Uuid>>,
    /// The messages that a worker left half done.
    pub(super) half_done: BTreeSet<Uuid>,
    /// The orders that were placed.
    pub(super) placed: BTreeSet<Uuid>,
    /// How often rows were written, with those that were there already.
    pub(super) inserts: Arc<Inserts>,
    log: Vec<String>,
}

/// Attempts to store what can be stored once.
#[derive(Default)]
pub(super) struct Inserts {
    pub(super) orders: AtomicU64,
    pub(super) invoices: AtomicU64,
    pub(super) documents: AtomicU64,
}

impl Inserts {
    fn note(&self, sql: &str) {
        for (table, count) in [
            ("order", &self.orders),
            ("invoice", &self.invoices),
            ("document", &self.documents),
        ] {
            if sql.starts_with(&format!("INSERT INTO \"{table}\" ")) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Runs a schedule, heals everything, and checks what came of it.
pub(super) async fn simulate(
    template: &Template,
    schedule: &Schedule,
    counts: &Counts,
) -> Result<(), String> {
    let (mut db, _folder) = template.copy().await;
    let inserts = Arc::new(Inserts::default());
    let noted = inserts.clone();
    db.set_metric_callback(move |info| {
        noted.note(&info.statement.sql);
        gate::statement();
    });
    let cloud = Arc::new(Cloud::new(schedule.tokens));
    let post = Arc::new(Post::new(schedule.knows));
    let mut world = World {
        workers: Arc::new(Workers::new(&db, cloud.clone(), post.clone())),
        db,
        cloud,
        post,
        counts,
        bag: Vec::new(),
        stalled: Vec::new(),
        history: Vec::new(),
        answers: BTreeMap::new(),
        half_done: BTreeSet::new(),
        placed: BTreeSet::new(),
        inserts,
        log: Vec::new(),
    };
    let outcome = world.live(&schedule.steps).await;
    world.db.clone().close().await.unwrap();
    outcome.map_err(|violation| format!("{violation}\n\n{}", world.log.join("\n")))
}

impl World<'_> {
    async fn live(&mut self, steps: &[Step]) -> Result<(), String> {
        for step in steps {
            self.log.push(format!("{step:?}"));
            self.step(*step).await?;
        }
        self.log.push("everything heals".to_owned());
        self.heal().await?;
        check::all(self).await
    }

    pub(super) fn note(&mut self, what: &str, message: &Stored) {
        let (kind, id) = (&message.kind, message.id);
        self.log.push(format!("    {what}: {kind} {id}"));
    }

    async fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Place(key, wish) => return self.place(key, wish),
            Step::Deliver(index) => {
                if let Some(message) = self.take(index) {
                    self.deliver(message).await?;
                }
            }
            Step::DeliverTwice(index) => {
                if let Some(message) = self.take(index) {
                    self.deliver(message.clone()).await?;
                    self.deliver(message).await?;
                }
            }
            Step::CrashBeforePublish(index) => {
                if let Some(message) = self.take(index) {
                    self.handle_and_die(&message, Gate::default()).await;
                    self.bag.push(message);
                }
            }
            Step::CrashBeforeAck(index) => {
                if let Some(message) = self.take(index) {
                    self.deliver(message.clone()).await?;
                    self.bag.push(message);
                }
            }
            Step::CrashAtStatement(index, statement) => {
                if let Some(message) = self.take(index) {
                    let gate = Gate::die_after(statement.into());
                    self.handle_and_die(&message, gate).await;
                    self.bag.push(message);
                }
            }
            Step::Stall(index, point) => {
                if let Some(message) = self.take(index) {
                    self.stall(message, point.into()).await?;
                }
            }
            Step::Overtake(index, first, second) => {
                if let Some(message) = self.take(index) {
                    self.overtake(message, first, second).await?;
                }
            }
            Step::Wake(index) => {
                if let Some(stalled) = self.take_stalled(index) {
                    self.wake(stalled).await?;
                }
            }
            Step::Kill(index) => {
                if let Some(stalled) = self.take_stalled(index) {
                    self.note("killed", &stalled.message);
                    self.counts.killed_at_a_point.add(1);
                }
            }
            Step::TimeOut(index) => {
                if let Some(Stalled { call, message, .. }) = self.take_stalled(index) {
                    drop(call);
                    let late = anyhow::anyhow!("the handler took longer than its limit");
                    self.fail(&message, Failure::Transient(late)).await?;
                }
            }
            Step::Duplicate(index) => {
                if let Some(message) = self.take(index) {
                    self.bag.extend([message.clone(), message]);
                }
            }
            Step::ComesAgain(index) => {
                if let Some(message) = pick(&self.history, index) {
                    self.bag.push(self.history[message].clone());
                }
            }
            Step::Lose(index) => self.lose(index),
            Step::Cloud(fault) => self.cloud.will_fail(fault),
            Step::Post(fault) => self.post.will_fail(fault),
            Step::TimePasses(seconds) => self.pass(seconds).await,
            Step::Reconcile => self.reconcile(false).await?,
            Step::Replay => self.replay().await?,
        }
        Ok(())
    }

    fn take(&mut self, index: u8) -> Option<Stored> {
        pick(&self.bag, index).map(|index| self.bag.remove(index))
    }

    fn take_stalled(&mut self, index: u8) -> Option<Stalled> {
        pick(&self.stalled, index).map(|index| self.stalled.remove(index))
    }

    fn place(&mut self, key: u8, wish: Wish) -> Result<(), String> {
        let account_id = match wish {
            Wish::NoAddress => NO_ADDRESS,
            _ => ACCOUNT,
        };
        let key = format!("key-{key}");
        let order_id = order_id(account_id, Some(&key.parse().unwrap()));
        let code = |text: &str| text.parse().unwrap();
        let request = OrderRequest {
            offering: code("cloud-server"),
            plan: code(match wish {
                Wish::UnknownPlan => "xxl",
                _ => "s",
            }),
            quantity: match wish {
                Wish::Servers(count) => count.into(),
                _ => 1,
            },
            region: code(match wish {
                Wish::UnknownRegion => "mars",
                _ => "eu-central",
            }),
            name: "web".parse().unwrap(),
            external_ref: (wish == Wish::Reference).then(|| "ref-1".parse().unwrap()),
        };
        let place = OrderPlace {
            order_id: Some(order_id),
            account_id,
            placed_at: Some(DateTime::<Utc>::UNIX_EPOCH),
            request,
        };
        self.placed.insert(order_id);
        self.publish(&[Outgoing::entry(PUBLISHER, order_id, order_id, &place)])
    }

    /// Puts what follows into the queues.
    pub(super) fn publish(&mut self, outgoing: &[Outgoing]) -> Result<(), String> {
        for outgoing in outgoing {
            if let Some(message) = route(outgoing)? {
                self.note("published", &message);
                self.history.push(message.clone());
                self.bag.push(message);
            }
        }
        Ok(())
    }

    /// Handles a message without a fault of ours, and settles it.
    async fn deliver(&mut self, message: Stored) -> Result<(), String> {
        let mut call = self.call(&message, Gate::default());
        let progress = call.run().await;
        self.settle(message, progress).await
    }

    fn call(&self, message: &Stored, gate: Gate) -> Call {
        Call::new(self.workers.clone().handle(message.clone()), gate)
    }

    async fn handle_and_die(&mut self, message: &Stored, gate: Gate) {
        let mut call = self.call(message, gate);
        let progress = call.run().await;
        if matches!(progress, Progress::Died) {
            self.half_done.insert(message.id);
            self.counts.killed_between_statements.add(1);
        }
        self.note("worker dies", message);
    }

    /// What the loop does with the outcome.
    async fn settle(&mut self, message: Stored, progress: Progress) -> Result<(), String> {
        match progress {
            Progress::Ended(Ok(outgoing)) => {
                self.note("handled", &message);
                self.counts.handled.add(1);
                let ids = outgoing.iter().map(|outgoing| outgoing.id);
                let key = (message.id, message.body.clone());
                match self.answers.get_mut(&key) {
                    Some(known) => {
                        known.extend(ids);
                        self.counts.duplicates.add(1);
                    }
                    None => drop(self.answers.insert(key, ids.collect())),
                }
                self.publish(&outgoing)
            }
            Progress::Ended(Err(failure)) => self.fail(&message, failure).await,
            Progress::Stopped(_) | Progress::Died => Err("a worker that no step stopped".into()),
        }
    }

    async fn fail(&mut self, message: &Stored, failure: Failure) -> Result<(), String> {
        let error = failure.chain();
        self.note(&format!("failed, {error}"), message);
        // Who comes second finds what is there; that it breaks a constraint would be luck.
        if let Failure::Transient(cause) = &failure
            && cause.chain().any(|cause| cause.is::<DbErr>())
        {
            return Err(format!("the database refused: {error}"));
        }
        self.counts
            .fenced_out
            .add(u64::from(error.contains("fenced out")));
        self.counts
            .busy
            .add(u64::from(error.contains("another worker is at it")));
        match Disposition::of(&failure, message) {
            Disposition::Retry(copy) => {
                self.workers
                    .failed(message, &error, Next::Retry(Utc::now()))
                    .await;
                self.bag.push(copy);
                Ok(())
            }
            Disposition::Park(reason) => {
                self.workers.failed(message, &error, Next::Parked).await;
                self.park(message, reason, &error).await
            }
        }
    }

    /// A worker stalls; its session ends and its message goes to others.
    async fn stall(&mut self, message: Stored, point: u32) -> Result<(), String> {
        let gate = Gate::stop_at(point);
        let mut call = self.call(&message, gate);
        match call.run().await {
            Progress::Stopped(at) => {
                self.bag.push(message.clone());
                self.half_done.insert(message.id);
                self.note(&format!("stalls at {at}"), &message);
                let row = Leased::read(&self.db, &message).await;
                self.stalled.push(Stalled {
                    call,
                    message,
                    at,
                    seconds: 0,
                    row,
                });
                Ok(())
            }
            progress => self.settle(message, progress).await,
        }
    }

    async fn overtake(&mut self, message: Stored, first: u8, second: u8) -> Result<(), String> {
        let id = message.id;
        self.stall(message, first.into()).await?;
        let Some(again) = self.bag.iter().position(|message| message.id == id) else {
            return Ok(());
        };
        let again = self.bag.remove(again);
        self.pass(LONG).await;
        let late = self
            .stalled
            .iter()
            .position(|stalled| stalled.message.id == id);
        let late = late.map(|late| self.stalled.remove(late));
        self.stall(again, second.into()).await?;
        match late {
            Some(late) => self.wake(late).await,
            None => Ok(()),
        }
    }

    async fn wake(&mut self, mut stalled: Stalled) -> Result<(), String> {
        self.note("goes on", &stalled.message);
        self.counts.woken.add(1);
        let before = Leased::read(&self.db, &stalled.message).await;
        let progress = stalled.call.resume().await;
        let after = Leased::read(&self.db, &stalled.message).await;
        let fence = |row: &Option<Leased>| row.as_ref().map(Leased::fence);
        if fence(&before) != fence(&stalled.row) {
            self.counts.superseded.add(1);
            if stalled.holds_the_lease() {
                return Err(format!("a lease was taken from its holder: {before:?}"));
            }
            if before != after {
                return Err(format!(
                    "a worker that was superseded wrote: {before:?} became {after:?}"
                ));
            }
        }
        self.settle(stalled.message, progress).await
    }

    /// The broker loses a message. It must have reached a row: what the ingress confirmed and
    /// nobody has read is nowhere else.
    fn lose(&mut self, index: u8) {
        let Some(at) = pick(&self.bag, index) else {
            return;
        };
        let known = |message: &Stored| {
            let by_place = |(id, _): &(Uuid, Vec<u8>)| *id == message.id;
            message.kind != OrderPlace::KIND || self.answers.keys().any(by_place)
        };
        if known(&self.bag[at]) {
            let message = self.bag.remove(at);
            self.counts.lost.add(1);
            self.note("lost", &message);
        }
    }

    async fn pass(&mut self, seconds: u16) {
        reconcile::pass(&self.db, seconds).await;
        if seconds >= 30 {
            self.cloud.settles();
        }
        for mut stalled in std::mem::take(&mut self.stalled) {
            stalled.seconds = stalled.seconds.saturating_add(seconds);
            if self.cloud.bears(stalled.at, stalled.seconds) {
                self.stalled.push(stalled);
            } else {
                self.note("its time was up", &stalled.message);
                self.counts.killed_at_a_point.add(1);
            }
        }
    }

    async fn reconcile(&mut self, failed: bool) -> Result<(), String> {
        let steps = reconcile::current_steps(&self.db, failed).await;
        self.counts
            .emitted_again
            .add(u64::try_from(steps.len()).unwrap_or(0));
        self.publish(&steps)
    }

    /// No more faults: whatever is left goes on until nothing moves.
    async fn heal(&mut self) -> Result<(), String> {
        self.cloud.heals();
        self.post.heals();
        for (number, stalled) in std::mem::take(&mut self.stalled).into_iter().enumerate() {
            if number % 2 == 0 {
                self.wake(stalled).await?;
            }
        }
        for _ in 0..ROUNDS {
            self.pass(LONG).await;
            self.replay().await?;
            if self.bag.is_empty() {
                self.reconcile(true).await?;
            }
            if self.bag.is_empty() {
                return Ok(());
            }
            for message in std::mem::take(&mut self.bag) {
                self.deliver(message).await?;
            }
        }
        Err(format!("it does not come to rest: {:?}", self.bag))
    }
}

fn pick<T>(all: &[T], index: u8) -> Option<usize> {
    usize::from(index).checked_rem(all.len())
}
