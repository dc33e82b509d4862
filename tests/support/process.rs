//! Processes of the program under test, with their output in files.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::wait::eventually;

/// The program under test.
pub(crate) const FLOW: &str = env!("CARGO_BIN_EXE_flow");

/// A running process. It is killed when it is dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Where in the file this process begins: one of the same name may have written before.
    begin: usize,
}

impl Process {
    /// Starts `flow` with these arguments and this environment, its output in `folder`.
    pub(crate) fn start(
        name: &str,
        folder: &Path,
        arguments: &[&str],
        environment: &[(String, String)],
    ) -> Self {
        let log = folder.join(format!("{name}.log"));
        let begin =
            std::fs::metadata(&log).map_or(0, |known| usize::try_from(known.len()).unwrap());
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let child = command(FLOW)
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            name: name.to_owned(),
            child,
            log,
            begin,
        }
    }

    /// What it has said so far.
    pub(crate) fn output(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(self.begin..).unwrap_or_default()).into_owned()
    }

    /// Waits until it says where it listens, and returns the address behind `marker`.
    pub(crate) async fn address(&mut self, marker: &str) -> String {
        let what = format!("{} to say {marker}", self.name);
        eventually(&what, async || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("{} ended with {status}: {}", self.name, self.output());
            }
            let output = self.output();
            let (_, rest) = output.split_once(marker)?;
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || ".:[]-".contains(c)))?;
            Some(rest.get(..end)?.to_owned())
        })
        .await
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// kill -9.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        self.child.wait().await.unwrap()
    }

    /// Its id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("the process runs")
    }

    /// Sends a signal.
    pub(crate) async fn signal(&self, signal: &str) {
        let pid = self.id().to_string();
        let sent = command("kill")
            .args([&format!("-{signal}"), &pid])
            .status()
            .await
            .unwrap();
        assert!(sent.success(), "kill -{signal} {pid}");
    }

    /// SIGTERM, and waits for the end.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM").await;
        let status = tokio::time::timeout(Duration::from_secs(40), self.wait()).await;
        status.unwrap_or_else(|_| panic!("{} did not stop: {}", self.name, self.output()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let output = self.output();
            let lines: Vec<_> = output.lines().collect();
            let tail = lines
                .iter()
                .skip(lines.len().saturating_sub(25))
                .copied()
                .collect::<Vec<_>>()
                .join("\n");
            eprintln!("--- {} said last:\n{tail}", self.name);
        }
    }
}

/// Runs `flow` to its end and returns what it printed.
///
/// # Panics
/// When it fails.
pub(crate) async fn flow(
    folder: &Path,
    arguments: &[&str],
    environment: &[(String, String)],
) -> String {
    let output = try_flow(folder, arguments, environment).await;
    output.unwrap_or_else(|error| panic!("flow {}: {error}", arguments.join(" ")))
}

/// Runs `flow` to its end: what it printed, or what it complained about.
pub(crate) async fn try_flow(
    folder: &Path,
    arguments: &[&str],
    environment: &[(String, String)],
) -> Result<String, String> {
    let output = output(folder, arguments, environment).await;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    }
}

/// Runs `flow` to its end with a text on its standard input, and returns what it printed.
///
/// # Panics
/// When it fails.
pub(crate) async fn told(
    folder: &Path,
    arguments: &[&str],
    environment: &[(String, String)],
    input: &str,
) -> String {
    let mut child = command(FLOW)
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "flow {}: {complaint}",
        arguments.join(" ")
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `flow` to its end and returns what it printed, whatever it ended with.
pub(crate) async fn printed(
    folder: &Path,
    arguments: &[&str],
    environment: &[(String, String)],
) -> String {
    let output = output(folder, arguments, environment).await;
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs `flow` to its end.
pub(crate) async fn output(
    folder: &Path,
    arguments: &[&str],
    environment: &[(String, String)],
) -> std::process::Output {
    command(FLOW)
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap()
}

/// A command in a clean environment.
pub(crate) fn command(program: &str) -> Command {
    #[expect(clippy::disallowed_methods, reason = "stories are told from outside")]
    let mut command = Command::new(program);
    for name in [
        "BROKER_URL",
        "DATABASE_URL",
        "MAIL_URL",
        "RENDERER",
        "LISTEN",
        "DATA",
        "RUST_LOG",
    ] {
        command.env_remove(name);
    }
    command
}
