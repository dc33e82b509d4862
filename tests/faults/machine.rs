//! Ports and signals.

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
