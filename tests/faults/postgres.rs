//! A PostgreSQL server of the harness's own, to be stopped, killed and paused.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use sea_orm::{ConnectOptions, ConnectionTrait, Database};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::machine::{faked_time, free_port, put_down, signal};
use crate::support::process::command;
use crate::support::wait::within;

const BOOT: Duration = Duration::from_secs(60);

/// A PostgreSQL server. It is killed and its folder removed when this is dropped.
pub(crate) struct Postgres {
    programs: PathBuf,
    port: u16,
    postmaster: Option<Child>,
    ahead: bool,
    folder: TempDir,
}

/// How a server is stopped, as `pg_ctl` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Sessions are ended, transactions rolled back.
    Fast,
    /// Like a crash: the next start recovers.
    Immediate,
}

impl Postgres {
    /// Where the programs are, if they are installed.
    pub(crate) fn programs() -> Option<PathBuf> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        let mut folders: Vec<_> = versions
            .filter_map(|version| Some(version.ok()?.path().join("bin")))
            .filter(|folder| folder.join("initdb").exists())
            .collect();
        folders.sort();
        folders.pop()
    }

    /// Makes and starts a server with nothing in it.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("flow-faults-postgres-")
            .tempdir()
            .unwrap();
        let everyone = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), everyone).unwrap();
        if let Some((user, group)) = unprivileged() {
            chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let mut postgres = Self {
            programs: Self::programs().expect("PostgreSQL is installed"),
            port: free_port(),
            postmaster: None,
            ahead: false,
            folder,
        };
        let data = postgres.folder.path().join("data");
        let mut initdb = postgres.program("initdb");
        initdb.args(["-U", "flow", "-A", "trust", "-E", "UTF8", "--locale=C"]);
        let made = initdb.arg("-D").arg(data).output().await.unwrap();
        assert!(made.status.success(), "initdb: {made:?}");
        postgres.boot(&[]).await;
        postgres
    }

    /// A program of PostgreSQL, run by a user that it likes: it refuses root.
    fn program(&self, name: &str) -> Command {
        let program = self.programs.join(name).display().to_string();
        let mut command = command(&program);
        if let Some((user, group)) = unprivileged() {
            command.uid(user).gid(group);
        }
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// The URL of its administrator.
    pub(crate) fn url(&self) -> String {
        format!("postgres://flow@127.0.0.1:{}/postgres", self.port)
    }

    /// The port it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Starts the stopped server with these settings (`name=value`), and waits until it serves.
    pub(crate) async fn boot(&mut self, settings: &[&str]) {
        self.boot_with(settings, &[]).await;
    }

    /// The same, with a clock that is so many seconds ahead of everybody else's.
    pub(crate) async fn boot_ahead(&mut self, seconds: i64) {
        self.boot_with(&[], &faked_time(&format!("+{seconds}")))
            .await;
        self.ahead = true;
    }

    /// Has the clock of everybody else again.
    pub(crate) async fn on_time(&mut self) {
        if std::mem::take(&mut self.ahead) {
            self.stop(Stop::Fast).await;
            self.boot(&[]).await;
        }
    }

    async fn boot_with(&mut self, settings: &[&str], variables: &[(String, String)]) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        let mut program = self.program("postgres");
        program.arg("-D").arg(self.folder.path().join("data"));
        program.args(["-p", &self.port.to_string()]);
        program.arg("-k").arg(self.folder.path());
        program.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=on"]);
        program.args(["-c", "max_connections=200"]);
        for setting in settings {
            program.args(["-c", setting]);
        }
        program.envs(variables.iter().cloned());
        program.stdout(log.try_clone().unwrap()).stderr(log);
        self.postmaster = Some(program.kill_on_drop(true).spawn().unwrap());
        within(BOOT, "PostgreSQL to take connections", async || {
            self.try_sql("SELECT 1").await.ok()
        })
        .await;
    }

    /// Stops it.
    pub(crate) async fn stop(&mut self, how: Stop) {
        let mut postmaster = self.postmaster.take().expect("it runs");
        let name = match how {
            Stop::Fast => "INT",
            Stop::Immediate => "QUIT",
        };
        signal(name, postmaster.id().expect("it runs")).await;
        postmaster.wait().await.unwrap();
    }

    /// SIGSTOP of the server and every session: it is there, and does nothing.
    pub(crate) async fn pause(&self) {
        for pid in self.processes() {
            signal("STOP", pid).await;
        }
    }

    /// SIGCONT of everything that [`Self::pause`] stopped.
    pub(crate) async fn resume(&self) {
        for pid in self.processes() {
            signal("CONT", pid).await;
        }
    }

    /// The server and its children.
    fn processes(&self) -> Vec<u32> {
        let postmaster = self.postmaster.as_ref().expect("it runs");
        let pid = postmaster.id().expect("it runs");
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let children = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok());
        [pid].into_iter().chain(children).collect()
    }

    /// Runs a statement as administrator.
    pub(crate) async fn sql(&self, statement: &str) {
        self.try_sql(statement).await.unwrap();
    }

    async fn try_sql(&self, statement: &str) -> Result<(), sea_orm::DbErr> {
        let mut options = ConnectOptions::new(self.url());
        options.max_connections(1).sqlx_logging(false);
        let admin = Database::connect(options).await?;
        admin.execute_unprepared(statement).await.map(drop)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let children = match &self.postmaster {
            Some(_) => self.processes(),
            None => Vec::new(),
        };
        if let Some(postmaster) = &mut self.postmaster {
            put_down(postmaster, children.get(1..).unwrap_or_default());
        }
    }
}

/// User and group to run as when we are root.
fn unprivileged() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    if std::fs::metadata("/proc/self").ok()?.uid() != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let fields: Vec<_> = line.expect("a user postgres").split(':').collect();
    Some((fields[2].parse().unwrap(), fields[3].parse().unwrap()))
}
