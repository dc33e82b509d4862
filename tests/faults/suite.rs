//! Which faults there are, running them one after the other, and the table of what came out.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use libtest_mimic::Arguments;
use rand::Rng;
use tokio::signal::unix::{SignalKind, signal};

use crate::checker::{Allowed, Counts};
use crate::machine::faketime;
use crate::postgres::Postgres;
use crate::rabbit::Rabbit;
use crate::scene::Scene;
use crate::support::process::flow;
use crate::support::suite::environment;

/// How long one fault may take in all.
const LIMIT: Duration = Duration::from_secs(1200);

/// When a fault is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// With every test.
    Fixed,
    /// Only by `./dev faults`.
    Full,
    /// Only by `./dev faults`, with nothing beside it: it is about how much there is to do.
    Alone,
}

/// What is told about a fault: a function over its scene.
trait Story: Send + Sync {
    fn tell<'a>(&'a self, scene: &'a mut Scene) -> Pin<Box<dyn Future<Output = ()> + 'a>>;
}

impl<F: AsyncFn(&mut Scene) + Send + Sync> Story for F {
    fn tell<'a>(&'a self, scene: &'a mut Scene) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(self(scene))
    }
}

struct Fault {
    numbers: &'static str,
    name: &'static str,
    alone: bool,
    story: Box<dyn Story>,
}

/// The faults of this run.
pub(crate) struct Suite {
    faults: Vec<Fault>,
    everything: bool,
}

/// What came out of one fault.
struct Row {
    numbers: &'static str,
    name: &'static str,
    counts: Counts,
    rested: Option<Duration>,
    wrong: Vec<String>,
}

type Servers = (Rabbit, Postgres);

impl Suite {
    /// Without faults. `./dev faults` asks for everything.
    pub(crate) fn new() -> Self {
        Self {
            faults: Vec::new(),
            everything: environment("FAULTS").is_some_and(|value| value == "everything"),
        }
    }

    /// Adds a fault: its numbers in the catalogue, its name and its story.
    pub(crate) fn fault<F>(
        &mut self,
        choice: Choice,
        numbers: &'static str,
        name: &'static str,
        story: F,
    ) where
        F: AsyncFn(&mut Scene) + Send + Sync + 'static,
    {
        if choice == Choice::Fixed || self.everything {
            let story = Box::new(story);
            self.faults.push(Fault {
                numbers,
                name,
                alone: choice == Choice::Alone,
                story,
            });
        }
    }

    /// Runs what the command line asks for.
    pub(crate) fn run(mut self) -> ExitCode {
        let arguments = Arguments::from_args();
        let all = self.faults.len();
        self.faults.retain(|fault| chosen(fault, &arguments));
        if arguments.list {
            for fault in &self.faults {
                println!("{}: test", fault.name);
            }
            return ExitCode::SUCCESS;
        }
        println!("\nrunning {} faults", self.faults.len());
        let missing = missing();
        if !missing.is_empty() && !self.faults.is_empty() {
            println!(
                "{} faults are left out: missing here: {}",
                self.faults.len(),
                missing.join(", ")
            );
            let failed = usize::from(environment("TEST_EVERYTHING").is_some());
            return summary(0, failed, all, Duration::ZERO);
        }
        let began = Instant::now();
        let rows = self.tell_all();
        if !rows.is_empty() {
            print_table(&rows);
        }
        let failed = rows.iter().filter(|row| !row.wrong.is_empty()).count();
        summary(
            rows.len() - failed,
            failed,
            all - rows.len(),
            began.elapsed(),
        )
    }

    fn tell_all(&self) -> Vec<Row> {
        let seed = environment("FAULTS_SEED").and_then(|seed| seed.parse().ok());
        let seed: u64 = seed.unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
        println!("seed: {seed} (FAULTS_SEED={seed} repeats its choices)");
        let lanes = environment("FAULTS_LANES").and_then(|lanes| lanes.parse().ok());
        let told = Mutex::new(Vec::new());
        let indices = 0..self.faults.len();
        let (alone, shared): (Vec<_>, Vec<_>) =
            indices.partition(|index| self.faults[*index].alone);
        for (faults, lanes) in [(shared, lanes.unwrap_or(1)), (alone, 1)] {
            let next = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for _ in 0..lanes {
                    scope.spawn(|| self.lane(seed, &faults, &next, &told));
                }
            });
        }
        let mut rows = told.into_inner().unwrap();
        rows.sort_by_key(|(index, _)| *index);
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// Tells one fault after the other, whichever is next, on servers of its own.
    fn lane(
        &self,
        seed: u64,
        faults: &[usize],
        next: &AtomicUsize,
        told: &Mutex<Vec<(usize, Row)>>,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let telling = async {
                let mut servers = None;
                loop {
                    let Some(index) = faults.get(next.fetch_add(1, Ordering::SeqCst)) else {
                        return;
                    };
                    let fault = &self.faults[*index];
                    let row = fault.run(&mut servers, seed).await;
                    let verdict = if row.wrong.is_empty() { "ok" } else { "FAILED" };
                    println!("test {} {} ... {verdict}", row.numbers, row.name);
                    for wrong in &row.wrong {
                        println!("    {wrong}");
                    }
                    told.lock().unwrap().push((*index, row));
                }
            };
            tokio::select! {
                () = telling => {}
                () = interrupted() => println!("interrupted"),
            }
        });
    }
}

/// Waits until somebody wants this to end.
async fn interrupted() {
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

fn chosen(fault: &Fault, arguments: &Arguments) -> bool {
    let known = format!("{} {}", fault.numbers, fault.name);
    let matches = |text: &str| match arguments.exact {
        true => fault.name == text || fault.numbers == text,
        // Several may be given, as in `13|14`.
        false => text.split('|').any(|text| known.contains(text)),
    };
    let wanted = arguments.filter.as_deref().is_none_or(matches);
    wanted && !arguments.skip.iter().any(|text| matches(text)) && !arguments.ignored
}

/// The programs that are not installed.
fn missing() -> Vec<&'static str> {
    let mut missing = Vec::new();
    if !Rabbit::installed() {
        missing.push("RabbitMQ");
    }
    if Postgres::programs().is_none() {
        missing.push("PostgreSQL");
    }
    if faketime().is_none() {
        missing.push("libfaketime");
    }
    missing
}

impl Fault {
    /// Tells it on the servers of the last one, or on new ones if there are none.
    async fn run(&self, servers: &mut Option<Servers>, seed: u64) -> Row {
        let mut row = Row {
            numbers: self.numbers,
            name: self.name,
            counts: Counts::default(),
            rested: None,
            wrong: Vec::new(),
        };
        let (rabbit, postgres) = match servers.take() {
            Some(servers) => servers,
            None => tokio::join!(Rabbit::start(), Postgres::start()),
        };
        let telling = AssertUnwindSafe(self.tell(rabbit, postgres, seed, &mut row)).catch_unwind();
        // After a panic the servers are gone with the scene, in whatever state they were.
        match tokio::time::timeout(LIMIT, telling).await {
            Ok(Ok(ended)) => *servers = Some(ended),
            Ok(Err(panic)) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                row.wrong.push(text.unwrap_or("a panic").to_owned());
            }
            Err(_) => row.wrong.push(format!("took longer than {LIMIT:?}")),
        }
        row
    }

    async fn tell(&self, rabbit: Rabbit, postgres: Postgres, seed: u64, row: &mut Row) -> Servers {
        let mut scene = Scene::begin(rabbit, postgres, seed).await;
        let told = AssertUnwindSafe(self.story.tell(&mut scene)).catch_unwind();
        if let Err(panic) = told.await {
            scene.print_complaints();
            std::panic::resume_unwind(panic);
        }
        scene.load.accepted().await;
        scene.settle(row).await;
        if !row.wrong.is_empty() {
            scene.print_complaints();
        }
        scene.end().await
    }
}

impl Scene {
    /// Waits until everything is at rest, and checks what must hold then.
    async fn settle(&mut self, row: &mut Row) {
        self.broker.heal();
        self.database.heal();
        match self.rest().await {
            Ok(time) => row.rested = Some(time),
            Err(error) => row.wrong.push(error),
        }
        if self.allowed.replay {
            let replay = ["dead", "replay", "--all"];
            flow(self.system.folder(), &replay, self.system.environment()).await;
            row.wrong.extend(self.rest().await.err());
        }
        if AssertUnwindSafe(self.probe()).catch_unwind().await.is_err() {
            row.wrong
                .push("I11: the probe does not go through".to_owned());
        }
        row.wrong.extend(self.rest().await.err());
        let (counts, wrong) = self.check().await;
        row.counts = counts;
        row.wrong.extend(wrong);
        self.allowed = Allowed::default();
    }

    /// The last warnings and errors of every process.
    fn print_complaints(&self) {
        let mut complaints = Vec::new();
        self.each_log_line(|line| {
            if line["level"] == "WARN" || line["level"] == "ERROR" {
                let at = line["timestamp"].as_str().unwrap_or_default();
                complaints.push((at.to_owned(), line.to_string()));
            }
        });
        complaints.sort();
        for (_, complaint) in complaints.iter().rev().take(20) {
            println!("    {complaint}");
        }
    }
}

fn print_table(rows: &[Row]) {
    let head = [
        "fault",
        "name",
        "orders",
        "lost",
        "doubled",
        "repeated",
        "redelivered",
        "parked",
        "held",
        "rest after",
        "",
    ];
    let mut lines = vec![head.map(str::to_owned)];
    for row in rows {
        let counts = &row.counts;
        lines.push([
            row.numbers.to_owned(),
            row.name.replace('_', " "),
            format!("{}/{}", counts.acknowledged, counts.attempted),
            counts.lost.to_string(),
            counts.doubled.to_string(),
            counts.repeated.to_string(),
            counts.redelivered.to_string(),
            counts.parked.to_string(),
            counts.held.to_string(),
            row.rested
                .map_or_else(String::new, |time| format!("{:.1} s", time.as_secs_f64())),
            if row.wrong.is_empty() { "ok" } else { "FAILED" }.to_owned(),
        ]);
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<_> = (0..head.len())
        .map(|column| width(column).unwrap_or(0))
        .collect();
    println!();
    for (index, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        println!("| {} |", cells.join(" | "));
        if index == 0 {
            let rule: Vec<_> = widths.iter().map(|width| "-".repeat(*width)).collect();
            println!("| {} |", rule.join(" | "));
        }
    }
    println!(
        "\nrepeated: messages that were handled to the end more than once, as the logs tell.\n\
         redelivered: messages that the broker delivered again, since it was started last."
    );
}

/// The line that `./dev test` adds up.
fn summary(passed: usize, failed: usize, filtered: usize, time: Duration) -> ExitCode {
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {filtered} filtered out; finished in {:.2}s\n",
        time.as_secs_f64()
    );
    ExitCode::from(u8::from(failed > 0))
}
