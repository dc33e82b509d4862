//! The parts of the system, a process each, started again whenever they end.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::machine::signal;
use crate::support::process::Process;
use crate::support::system::PARTS;
use crate::support::wait::eventually;

/// The pause before a part is started again, as systemd makes one.
const RESTART: Duration = Duration::from_millis(100);

type Variables = Vec<(String, String)>;

/// Processes under a supervisor. They are killed when this is dropped.
pub(crate) struct Supervised {
    folder: PathBuf,
    environment: Variables,
    ingress: u16,
    parts: Vec<Part>,
}

struct Part {
    name: String,
    life: Arc<Mutex<Life>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Life {
    pid: Option<u32>,
    deaths: Vec<ExitStatus>,
}

impl Supervised {
    /// Starts every part in `folder`, with the ingress on the port `ingress`.
    pub(crate) fn start(folder: &Path, environment: Variables, ingress: u16) -> Self {
        let mut supervised = Self {
            folder: folder.to_owned(),
            environment,
            ingress,
            parts: Vec::new(),
        };
        for (name, _) in PARTS {
            supervised.add(name, name, &[]);
        }
        supervised
    }

    /// Starts one more process of the part `like`, under a name of its own, with more variables
    /// for its first life.
    pub(crate) fn add(&mut self, name: &str, like: &str, first: &[(&str, &str)]) {
        let known = PARTS.iter().find(|(part, _)| *part == like);
        let (_, arguments) = known.expect("a part");
        let listen = format!("127.0.0.1:{}", self.ingress);
        let own = |word: &&str| match *word {
            "127.0.0.1:0" => listen.clone(),
            word => word.to_owned(),
        };
        let arguments: Vec<String> = arguments.iter().map(own).collect();
        let (life, stop) = (Arc::<Mutex<Life>>::default(), CancellationToken::new());
        let program = Program {
            name: name.to_owned(),
            folder: self.folder.clone(),
            arguments,
            environment: self.environment.clone(),
        };
        let first = first.iter().map(|(name, value)| (*name, *value));
        let first = first.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.parts.push(Part {
            name: name.to_owned(),
            task: tokio::spawn(program.run(first.collect(), life.clone(), stop.clone())),
            life,
            stop,
        });
    }

    /// Ends a part well and starts it with one more variable for all its lives, until it is
    /// restarted.
    pub(crate) async fn doom(&mut self, name: &'static str, (variable, value): (&str, &str)) {
        self.stop(name).await;
        let healthy = self.environment.clone();
        self.environment
            .push((variable.to_owned(), value.to_owned()));
        self.add(name, name, &[]);
        self.environment = healthy;
    }

    /// Ends a part well and starts it with more variables for its first life.
    pub(crate) async fn restart(&mut self, name: &str, first: &[(&str, &str)]) {
        self.stop(name).await;
        let like = PARTS.iter().map(|(part, _)| *part);
        let like = like.filter(|part| name.starts_with(part)).max();
        self.add(name, like.expect("a part"), first);
    }

    /// SIGTERM, and no new life. It must end well.
    pub(crate) async fn stop(&mut self, name: &str) {
        let index = self.parts.iter().position(|part| part.name == name);
        let part = self.parts.remove(index.expect("a part"));
        part.stop.cancel();
        part.task.await.unwrap();
    }

    /// SIGTERM to everything; all must end well.
    pub(crate) async fn stop_all(&mut self) {
        for part in &self.parts {
            part.stop.cancel();
        }
        for part in self.parts.drain(..) {
            part.task.await.unwrap();
        }
    }

    /// The names of the processes.
    pub(crate) fn names(&self) -> Vec<String> {
        self.parts.iter().map(|part| part.name.clone()).collect()
    }

    /// Sends a signal to a part, if it lives.
    pub(crate) async fn signal(&self, name: &str, what: &str) {
        let pid = self.life(name).lock().unwrap().pid;
        if let Some(pid) = pid {
            signal(what, pid).await;
        }
    }

    /// The memory that a part has in hand (`VmRSS`), in KiB. Nothing while it does not live.
    pub(crate) fn memory(&self, name: &str) -> Option<u64> {
        let pid = self.life(name).lock().unwrap().pid?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// How often a part has ended.
    pub(crate) fn deaths(&self, name: &str) -> usize {
        self.life(name).lock().unwrap().deaths.len()
    }

    /// Whether the last life of a part ended by kill -9.
    pub(crate) fn was_killed(&self, name: &str) -> bool {
        let life = self.life(name).lock().unwrap();
        life.deaths.last().and_then(ExitStatusExt::signal) == Some(9)
    }

    /// How often any part has ended.
    pub(crate) fn all_deaths(&self) -> usize {
        let deaths = |part: &Part| part.life.lock().unwrap().deaths.len();
        self.parts.iter().map(deaths).sum()
    }

    /// Waits until a part is stopped by SIGSTOP.
    pub(crate) async fn stopped(&self, name: &str) {
        eventually(&format!("{name} to stand still"), async || {
            let pid = self.life(name).lock().unwrap().pid?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let state = stat.rsplit_once(')')?.1.trim_start().chars().next()?;
            (state == 'T').then_some(())
        })
        .await;
    }

    /// The processes that a part has started itself.
    pub(crate) fn children(&self, name: &str) -> Vec<u32> {
        let Some(pid) = self.life(name).lock().unwrap().pid else {
            return Vec::new();
        };
        let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
            return Vec::new();
        };
        threads
            .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("children")).ok())
            .flat_map(|pids| {
                pids.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .filter_map(|pid| pid.parse().ok())
            .collect()
    }

    fn life(&self, name: &str) -> &Mutex<Life> {
        let part = self.parts.iter().find(|part| part.name == name);
        &part.expect("a part").life
    }
}

struct Program {
    name: String,
    folder: PathBuf,
    arguments: Vec<String>,
    environment: Variables,
}

impl Program {
    async fn run(self, mut more: Variables, life: Arc<Mutex<Life>>, stop: CancellationToken) {
        let arguments: Vec<_> = self.arguments.iter().map(String::as_str).collect();
        while !stop.is_cancelled() {
            let environment: Variables = self.environment.iter().cloned().chain(more).collect();
            more = Vec::new();
            let mut process = Process::start(&self.name, &self.folder, &arguments, &environment);
            life.lock().unwrap().pid = Some(process.id());
            let died = tokio::select! {
                status = process.wait() => Some(status),
                () = stop.cancelled() => None,
            };
            life.lock().unwrap().pid = None;
            let Some(status) = died else {
                process.signal("CONT").await;
                let status = process.terminate().await;
                // It may be killed by a fault just now, or not have come to listen to signals yet.
                let killed = matches!(status.signal(), Some(9 | 15));
                assert!(
                    status.success() || killed,
                    "{} ended with {status}",
                    self.name
                );
                return;
            };
            life.lock().unwrap().deaths.push(status);
            sleep(RESTART).await;
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        for part in &self.parts {
            part.task.abort();
        }
    }
}
