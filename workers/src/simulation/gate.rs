//! Where a worker can be held up, and where it can die.

use std::any::Any;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::Handled;
use futures_util::FutureExt;
use tokio::sync::Notify;

tokio::task_local! {
    static GATE: Arc<Gate>;
}

/// Nothing but a deadlock takes so long.
const DEADLOCK: Duration = Duration::from_secs(20);

/// What shall become of one call of a handler.
#[derive(Default)]
pub(super) struct Gate {
    stop_at: Option<u32>,
    die_after: Option<u32>,
    points: AtomicU32,
    statements: AtomicU32,
    at: Mutex<&'static str>,
    stopped: Notify,
    go: Notify,
}

impl Gate {
    /// It stops at this point, counted from 0.
    pub(super) fn stop_at(point: u32) -> Self {
        Self {
            stop_at: Some(point),
            ..Self::default()
        }
    }

    /// It dies after this statement, counted from 1.
    pub(super) fn die_after(statement: u32) -> Self {
        Self {
            die_after: Some(statement),
            ..Self::default()
        }
    }
}

/// A point at which a worker can be held up: other workers go on, time passes, it may never return.
/// A transaction must not be open here.
pub(crate) async fn point(name: &'static str) {
    let Ok(gate) = GATE.try_with(Arc::clone) else {
        return;
    };
    let number = gate.points.fetch_add(1, Ordering::Relaxed);
    if gate.stop_at == Some(number) {
        *gate.at.lock().unwrap() = name;
        gate.stopped.notify_one();
        gate.go.notified().await;
    }
}

struct Death;

/// Called after each statement.
pub(super) fn statement() {
    let dies = GATE.try_with(|gate| {
        let number = gate.statements.fetch_add(1, Ordering::Relaxed) + 1;
        gate.die_after == Some(number)
    });
    if dies == Ok(true) {
        // Unwinding drops the handler where it stands, and rolls an open transaction back, as the
        // end of the process would.
        resume_unwind(Box::new(Death));
    }
}

/// One call of a handler.
pub(super) struct Call {
    future: Pin<Box<dyn Future<Output = Handled>>>,
    gate: Arc<Gate>,
}

/// How far a call has come.
pub(super) enum Progress {
    Ended(Handled),
    Stopped(&'static str),
    Died,
}

impl Call {
    pub(super) fn new(future: impl Future<Output = Handled> + 'static, gate: Gate) -> Self {
        Self {
            future: Box::pin(future),
            gate: Arc::new(gate),
        }
    }

    /// Runs until it ends, dies or is held up.
    pub(super) async fn run(&mut self) -> Progress {
        let gate = self.gate.clone();
        let call = AssertUnwindSafe(GATE.scope(gate.clone(), &mut self.future)).catch_unwind();
        tokio::select! {
            biased;
            ended = call => match ended {
                Ok(handled) => Progress::Ended(handled),
                Err(panic) => died(panic),
            },
            () = gate.stopped.notified() => Progress::Stopped(*gate.at.lock().unwrap()),
            () = tokio::time::sleep(DEADLOCK) => panic!("a handler waits for something that never comes"),
        }
    }

    /// Goes on after having been held up.
    pub(super) async fn resume(&mut self) -> Progress {
        self.gate.go.notify_one();
        self.run().await
    }
}

fn died(panic: Box<dyn Any + Send>) -> Progress {
    match panic.is::<Death>() {
        true => Progress::Died,
        false => resume_unwind(panic),
    }
}
