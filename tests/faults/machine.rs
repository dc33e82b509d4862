//! Ports, signals and clocks.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::Rng;
use tokio::process::Child;

use crate::support::process::command;

/// A port that nobody listens on, below those that the system hands out by itself: it is still free
/// when its server comes back after a fault.
pub(crate) fn free_port() -> u16 {
    let mut random = rand::rng();
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(|| random.random_range(10_000..32_000))
        .find(free)
        .expect("ports never end")
}

/// libfaketime, if it is installed.
pub(crate) fn faketime() -> Option<PathBuf> {
    let libraries = std::fs::read_dir("/usr/lib").ok()?;
    let folders = libraries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut candidates = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    candidates.find(|library| library.exists())
}

/// The variables that make a process believe in another time: `+3600` is an hour ahead. Time goes on
/// as fast as for everybody, and intervals stay what they are.
pub(crate) fn faked_time(offset: &str) -> Vec<(String, String)> {
    let library = faketime().expect("libfaketime is installed");
    let variables = [
        ("LD_PRELOAD", library.to_str().expect("a path")),
        ("FAKETIME", offset),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    variables.map(owned).to_vec()
}

/// Sends a signal to a process; it may be gone already.
pub(crate) async fn signal(name: &str, pid: u32) {
    let arguments = [format!("-{name}"), pid.to_string()];
    let output = command("kill").args(arguments).output().await;
    output.unwrap();
}

/// Kills a process with its children, and waits until they are gone: what they write to can be
/// removed then.
pub(crate) fn put_down(process: &mut Child, children: &[u32]) {
    process.start_kill().ok();
    let deadline = Instant::now() + Duration::from_secs(5);
    let lives = |pid: &u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    while Instant::now() < deadline
        && (matches!(process.try_wait(), Ok(None)) || children.iter().any(lives))
    {
        #[expect(clippy::disallowed_methods, reason = "called when values are dropped")]
        std::thread::sleep(Duration::from_millis(20));
    }
}
