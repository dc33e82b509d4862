//! What must hold when everything has come to rest, whatever went wrong before: the invariants I1
//! to I11. In the shape of Jepsen's total-queue checker: attempted, acknowledged, lost, doubled.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbErr, Statement};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::scene::Scene;
use crate::support::process::try_flow;
use crate::transitions;

/// How long everything may take to come to rest by itself (I10). The longest lease that a killed
/// process leaves behind is a minute, and its message looks again every few seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
const LOOK_AGAIN: Duration = Duration::from_millis(300);

const COUNTED: Duration = Duration::from_secs(20);

/// What a fault may leave behind. Nothing, by default.
#[derive(Debug, Clone, Default)]
pub(crate) struct Allowed {
    /// Mails may be held: the fault can have cut one off between its body and the answer.
    pub(crate) held: bool,
    /// Messages may be parked for these reasons.
    pub(crate) parked: Vec<&'static str>,
    /// Parked messages are replayed once the fault is over, and must then succeed.
    pub(crate) replay: bool,
    /// Mails may be refused.
    pub(crate) refused: bool,
}

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Orders that were tried.
    pub(crate) attempted: usize,
    /// Orders that were accepted.
    pub(crate) acknowledged: usize,
    /// Accepted orders that are nowhere.
    pub(crate) lost: usize,
    /// Effects that happened twice: servers, invoices, mails.
    pub(crate) doubled: usize,
    /// Messages that were handled to the end more than once.
    pub(crate) repeated: usize,
    /// Messages that the broker delivered again, since it was started last.
    pub(crate) redelivered: usize,
    /// Messages that were parked.
    pub(crate) parked: usize,
    /// Mails that are held.
    pub(crate) held: usize,
}

impl Scene {
    /// A column of texts; an error while the database is away.
    pub(crate) async fn texts(&self, sql: &str) -> Result<Vec<String>, DbErr> {
        let rows = self.rows(sql).await?;
        Ok(rows.into_iter().map(|mut row| row.remove(0)).collect())
    }

    /// One number; an error while the database is away.
    pub(crate) async fn count(&self, sql: &str) -> Result<i64, DbErr> {
        let texts = self.texts(&format!("SELECT ({sql})::text")).await?;
        let parsed = texts.first().and_then(|text| text.parse().ok());
        parsed.ok_or_else(|| DbErr::RecordNotFound(sql.to_owned()))
    }

    /// Runs a statement.
    pub(crate) async fn execute(&self, sql: &str) -> Result<(), DbErr> {
        let db = self.checker().await?;
        db.execute_unprepared(sql).await.map(drop)
    }

    /// Rows of texts.
    async fn rows(&self, sql: &str) -> Result<Vec<Vec<String>>, DbErr> {
        let db = self.checker().await?;
        let statement = Statement::from_string(db.get_database_backend(), sql);
        let rows = db.query_all_raw(statement).await?;
        rows.iter()
            .map(|row| {
                (0..row.column_names().len())
                    .map(|index| row.try_get_by_index(index))
                    .collect()
            })
            .collect()
    }

    /// A connection of the checker's own.
    async fn checker(&self) -> Result<DatabaseConnection, DbErr> {
        let mut options = ConnectOptions::new(self.system.database.url());
        options.max_connections(1).sqlx_logging(false);
        options.connect_timeout(Duration::from_secs(3));
        Database::connect(options).await
    }

    /// Waits until nothing is under way any more. Returns how long that took, or what still is.
    pub(crate) async fn rest(&self) -> Result<Duration, String> {
        let began = Instant::now();
        let mut calm = 0;
        loop {
            let restless = self.restless().await;
            calm = match restless {
                None => calm + 1,
                Some(_) => 0,
            };
            // Counts of messages are half a second old.
            if calm >= 4 {
                return Ok(began.elapsed());
            }
            if let Some(what) = restless
                && began.elapsed() > PATIENCE
            {
                return Err(format!("I10: not at rest after {PATIENCE:?}: {what}"));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// What is still under way.
    async fn restless(&self) -> Option<String> {
        let sql = "SELECT 'order '||state, count(*)::text FROM \"order\" o WHERE state NOT IN
            ('completed','rejected','cancelled','failed')
                AND NOT EXISTS (SELECT 1 FROM parked_message p WHERE p.correlation_id = o.id
                                AND p.state = 'parked') GROUP BY 1
            UNION ALL SELECT 'mail '||e.state, count(*)::text FROM email_delivery e
                JOIN invoice i ON i.id = e.subject_id
                WHERE e.state IN ('queued','sending')
                AND NOT EXISTS (SELECT 1 FROM parked_message p WHERE p.correlation_id = i.order_id
                                AND p.state = 'parked') GROUP BY 1
            UNION ALL SELECT 'parked message '||state, count(*)::text FROM parked_message
                WHERE state = 'replaying' GROUP BY 1
            UNION ALL SELECT 'completed without a mail', count(*)::text FROM \"order\" o
                WHERE state = 'completed'
                AND NOT EXISTS (SELECT 1 FROM invoice i JOIN email_delivery e ON e.subject_id = i.id
                                WHERE i.order_id = o.id)
                AND NOT EXISTS (SELECT 1 FROM parked_message p WHERE p.correlation_id = o.id
                                AND p.state = 'parked')
                HAVING count(*) > 0
            UNION ALL SELECT 'lease on a resource', count(*)::text FROM resource
                WHERE state = 'creating' AND lease_until_ms > extract(epoch from now()) * 1000
                HAVING count(*) > 0";
        let rows = match self.rows(sql).await {
            Ok(rows) => rows,
            Err(error) => return Some(format!("the database: {error}")),
        };
        if !rows.is_empty() {
            return Some(format!("{rows:?}"));
        }
        let known = match self.known().await {
            Ok(known) => known,
            Err(error) => return Some(format!("the database: {error}")),
        };
        let acknowledged = self.load.acknowledged();
        let missing = acknowledged
            .iter()
            .filter(|id| !known.contains(*id))
            .count();
        if missing > 0 {
            return Some(format!("{missing} accepted orders are not stored"));
        }
        let cut = "SELECT count(*) FROM email_delivery WHERE state = 'data_sent'";
        let cut = self.count(cut).await.unwrap_or_default();
        let queues = self.queues().await?.into_iter();
        let waiting: Vec<_> = queues.filter(|(_, messages, _)| *messages > 0).collect();
        if waiting.is_empty() {
            return None;
        }
        let is_retry = |name: &str| name.starts_with("retry.");
        if cut > 0 && waiting.iter().all(|(name, _, _)| is_retry(name)) {
            // Nobody is at these mails any more; they are only looked at again and again until their
            // lease is over. It is made to be over.
            self.end_leases().await.ok();
        }
        // One whose answer a worker still waits for may take as long as its lease.
        let of_mails = waiting
            .iter()
            .all(|(name, _, _)| is_retry(name) || name == "email");
        let at_work = waiting.iter().any(|(name, _, _)| name == "email");
        let total: i64 = waiting.iter().map(|(_, messages, _)| messages).sum();
        if of_mails && at_work && total <= cut {
            return None;
        }
        let show = |(name, messages, _): &(String, i64, i64)| format!("{messages} in {name}");
        Some(waiting.iter().map(show).collect::<Vec<_>>().join(", "))
    }

    /// Ends the leases of mails that were cut off a while ago, as if the eleven minutes had passed.
    async fn end_leases(&self) -> Result<(), DbErr> {
        let sql = "UPDATE email_delivery SET lease_until_ms = 0 WHERE state = 'data_sent'
            AND lease_until_ms < extract(epoch from now()) * 1000 + (11 * 60 - 15) * 1000";
        self.execute(sql).await
    }

    /// Every queue, with its messages and consumers. Nothing while the broker is away; then
    /// something is under way.
    async fn queues(&self) -> Option<Vec<(String, i64, i64)>> {
        let path = format!("queues/{}", self.vhost());
        let Some(queues) = self.rabbit.get(&path).await else {
            return Some(vec![("a broker that does not answer".to_owned(), 1, 0)]);
        };
        let queue = |queue: &Value| {
            let number = |name: &str| queue[name].as_i64().unwrap_or_default();
            let name = queue["name"].as_str().unwrap_or_default().to_owned();
            (name, number("messages"), number("consumers"))
        };
        Some(queues.as_array()?.iter().map(queue).collect())
    }

    /// The orders that are stored or parked.
    async fn known(&self) -> Result<BTreeSet<Uuid>, DbErr> {
        let sql =
            "SELECT id::text FROM \"order\" UNION SELECT correlation_id::text FROM parked_message";
        let ids = self.texts(sql).await?;
        Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
    }

    /// Checks every invariant at rest. Returns the counts and what is violated.
    pub(crate) async fn check(&self) -> (Counts, Vec<String>) {
        let mut counts = Counts {
            attempted: self.load.attempted().0,
            acknowledged: self.load.acknowledged().len(),
            repeated: self.repeated(),
            redelivered: self.redelivered().await,
            ..Counts::default()
        };
        let mut wrong = Vec::new();
        let checked = async {
            self.check_orders(&mut counts, &mut wrong).await?;
            self.check_servers(&mut counts, &mut wrong).await?;
            self.check_invoices(&mut counts, &mut wrong).await?;
            self.check_mails(&mut counts, &mut wrong).await?;
            self.check_parked(&mut counts, &mut wrong).await
        };
        if let Err(error) = checked.await {
            wrong.push(format!("cannot look into the database: {error}"));
        }
        if let Err(error) = self.check_series().await {
            wrong.push(format!("I4: {error}"));
        }
        self.check_consumers(&mut wrong).await;
        (counts, wrong)
    }

    /// I1, I6 and I8: every accepted order is there, over or explained, and came there by steps
    /// that are allowed.
    async fn check_orders(
        &self,
        counts: &mut Counts,
        wrong: &mut Vec<String>,
    ) -> Result<(), DbErr> {
        let known = self.known().await?;
        let acknowledged = self.load.acknowledged();
        let lost: Vec<_> = acknowledged
            .iter()
            .filter(|id| !known.contains(*id))
            .collect();
        counts.lost = lost.len();
        if !lost.is_empty() {
            wrong.push(format!("I1: accepted and lost: {lost:?}"));
        }
        let unexplained = "SELECT state||' '||id FROM \"order\" o WHERE state <> 'completed'
            AND state <> 'rejected' AND NOT EXISTS
            (SELECT 1 FROM parked_message p WHERE p.correlation_id = o.id AND p.state = 'parked')";
        for order in self.texts(unexplained).await? {
            wrong.push(format!("I1: neither over nor parked: {order}"));
        }
        let mut histories: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let sql = "SELECT order_id::text, state FROM order_event ORDER BY order_id, version";
        for mut row in self.rows(sql).await? {
            let state = row.pop().unwrap_or_default();
            histories.entry(row.remove(0)).or_default().push(state);
        }
        for (order, history) in histories {
            if let Some((from, to)) = transitions::forbidden(&history) {
                wrong.push(format!("I8: {order} went from {from} to {to}: {history:?}"));
            }
        }
        Ok(())
    }

    /// I2: at most one server for each token, and each active resource has its server.
    async fn check_servers(
        &self,
        counts: &mut Counts,
        wrong: &mut Vec<String>,
    ) -> Result<(), DbErr> {
        let mut created: HashMap<String, usize> = HashMap::new();
        for entry in self.system.provider.created().await {
            let token = entry["client_token"].as_str().unwrap_or_default();
            *created.entry(token.to_owned()).or_default() += 1;
        }
        for (token, times) in created.iter().filter(|(_, times)| **times > 1) {
            counts.doubled += times - 1;
            wrong.push(format!("I2: {times} servers for {token}"));
        }
        let active = "SELECT client_token FROM resource WHERE state = 'active'";
        for token in self.texts(active).await? {
            if !created.contains_key(&token) {
                wrong.push(format!("I2: no server for {token}"));
            }
        }
        let tokens = self.texts("SELECT client_token FROM resource").await?;
        let tokens: BTreeSet<_> = tokens.into_iter().collect();
        for token in created.keys().filter(|token| !tokens.contains(*token)) {
            wrong.push(format!("I2: a server that nobody ordered: {token}"));
        }
        Ok(())
    }

    /// I3: one invoice for each completed order.
    async fn check_invoices(
        &self,
        counts: &mut Counts,
        wrong: &mut Vec<String>,
    ) -> Result<(), DbErr> {
        let sql = "SELECT o.id::text, count(i.id)::text FROM \"order\" o
            LEFT JOIN invoice i ON i.order_id = o.id AND i.state = 'issued'
            WHERE o.state = 'completed' GROUP BY o.id HAVING count(i.id) <> 1";
        for row in self.rows(sql).await? {
            let (order, number) = (&row[0], row[1].parse::<usize>().unwrap_or_default());
            counts.doubled += number.saturating_sub(1);
            let parked = format!(
                "SELECT count(*) FROM parked_message WHERE correlation_id = '{order}' AND state = 'parked'"
            );
            if number > 1 || self.count(&parked).await? == 0 {
                wrong.push(format!("I3: order {order} has {number} invoices"));
            }
        }
        Ok(())
    }

    /// I4: numbers without a gap.
    async fn check_series(&self) -> Result<(), String> {
        let arguments = ["series", "audit"];
        let audited = try_flow(self.system.folder(), &arguments, self.system.environment()).await;
        audited.map(drop)
    }

    /// I5: no mail twice; every mail that counts as sent has arrived; held only what was cut off.
    async fn check_mails(&self, counts: &mut Counts, wrong: &mut Vec<String>) -> Result<(), DbErr> {
        let mut arrived: HashMap<String, usize> = HashMap::new();
        for mail in self.system.mail.accepted().await {
            *arrived.entry(mail.message_id).or_default() += 1;
        }
        for (id, times) in arrived.iter().filter(|(_, times)| **times > 1) {
            counts.doubled += times - 1;
            wrong.push(format!("I5: {times} mails {id}"));
        }
        for row in self
            .rows("SELECT message_id, state FROM email_delivery")
            .await?
        {
            let (id, state) = (&row[0], row[1].as_str());
            let fine = match state {
                "sent" => arrived.contains_key(id),
                "data_sent" | "ambiguous" => {
                    counts.held += 1;
                    self.allowed.held
                }
                "refused" => self.allowed.refused && !arrived.contains_key(id),
                _ => false,
            };
            if !fine {
                let came = arrived.get(id).copied().unwrap_or_default();
                wrong.push(format!("I5: mail {id} is {state} and came {came} times"));
            }
        }
        Ok(())
    }

    /// I7 and I9: nothing is parked but for a reason that the fault explains.
    async fn check_parked(
        &self,
        counts: &mut Counts,
        wrong: &mut Vec<String>,
    ) -> Result<(), DbErr> {
        let sql = "SELECT queue, reason, state, error FROM parked_message";
        for row in self.rows(sql).await? {
            let [queue, reason, state, error] = &row[..] else {
                continue;
            };
            counts.parked += 1;
            let allowed = self.allowed.parked.contains(&reason.as_str());
            if !allowed || (self.allowed.replay && state == "parked") {
                wrong.push(format!(
                    "I9: a message of {queue} is {state}: {reason}: {error}"
                ));
            }
        }
        Ok(())
    }

    /// I11, one half: somebody listens to every work queue. The other half is the probe.
    async fn check_consumers(&self, wrong: &mut Vec<String>) {
        let began = Instant::now();
        loop {
            let mut idle = Vec::new();
            for (queue, _, consumers) in self.queues().await.unwrap_or_default() {
                let work = schemas::topology::WORK_QUEUES;
                if consumers == 0 && work.iter().any(|known| known.name == queue) {
                    idle.push(format!("I11: nobody consumes {queue}"));
                }
            }
            // The broker counts its consumers now and then.
            if idle.is_empty() || began.elapsed() > COUNTED {
                wrong.extend(idle);
                return;
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// How many messages were handled more than once, as the logs tell.
    pub(crate) fn repeated(&self) -> usize {
        let mut handled: HashMap<(String, String), usize> = HashMap::new();
        self.each_log_line(|line| {
            if line["disposition"] == "done" {
                let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
                let key = (
                    text("messaging.destination.name"),
                    text("messaging.message.id"),
                );
                *handled.entry(key).or_default() += 1;
            }
        });
        handled.values().map(|times| times - 1).sum()
    }

    /// How many messages the broker says it delivered again.
    async fn redelivered(&self) -> usize {
        let path = format!("vhosts/{}", self.vhost());
        let vhost = self.rabbit.get(&path).await.unwrap_or_default();
        let redelivered = vhost["message_stats"]["redeliver"].as_u64();
        usize::try_from(redelivered.unwrap_or_default()).unwrap_or_default()
    }

    /// Every line that a process of the system has logged.
    pub(crate) fn each_log_line(&self, mut see: impl FnMut(&Value)) {
        let files = std::fs::read_dir(self.system.folder()).unwrap();
        for file in files.filter_map(Result::ok) {
            if file.path().extension().is_some_and(|kind| kind == "log") {
                let text =
                    String::from_utf8_lossy(&std::fs::read(file.path()).unwrap()).into_owned();
                for line in text.lines() {
                    if let Ok(line) = serde_json::from_str(line) {
                        see(&line);
                    }
                }
            }
        }
    }

    /// How many lines any process has logged that contain `text`.
    pub(crate) fn logged(&self, text: &str) -> usize {
        let mut count = 0;
        self.each_log_line(|line| count += usize::from(line.to_string().contains(text)));
        count
    }
}
