//! Waiting for conditions, never for time.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(15);

/// Waits until `probe` answers, and returns the answer.
///
/// # Panics
/// When it does not within a minute, saying what was waited for.
pub(crate) async fn eventually<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, what, probe).await
}

/// Waits until `probe` answers, for `patience` at most.
///
/// # Panics
/// When it does not in time, saying what was waited for.
pub(crate) async fn within<T>(
    patience: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = probe().await {
            return answer;
        }
        assert!(
            began.elapsed() < patience,
            "waited {patience:?} in vain for {what}"
        );
        look_again().await;
    }
}

/// The pause between two looks at a condition.
pub(crate) async fn look_again() {
    sleep(LOOK_AGAIN).await;
}
