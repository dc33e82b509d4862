//! Named places where a test makes the process die or stand still, to prove that nothing depends on
//! what comes after. A release build has none.
//!
//! `CRASH_AT=<name>:<n>` kills the process when it passes the place for the n-th time, as `kill -9`
//! does; `PAUSE_AT=<name>:<n>` stops it, as `kill -STOP` does; `PANIC_AT=<name>:<n>` panics there.

/// Passes a named place.
#[cfg(not(debug_assertions))]
pub fn crash_point(_name: &str) {}

/// Passes a named place.
#[cfg(debug_assertions)]
pub fn crash_point(name: &str) {
    use rustix::process::Signal;
    for (place, signal) in [
        (&*places::CRASH_AT, Signal::KILL),
        (&*places::PAUSE_AT, Signal::STOP),
    ] {
        if place.as_ref().is_some_and(|place| place.reached(name)) {
            // Nobody can be told when the signal is refused; the test then fails by itself.
            rustix::process::kill_process(rustix::process::getpid(), signal).ok();
            // The signal may take another thread first, and this one must not go on.
            #[expect(
                clippy::disallowed_methods,
                reason = "the process ends or stands still here"
            )]
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
    let panics = places::PANIC_AT.as_ref();
    assert!(
        panics.is_none_or(|place| !place.reached(name)),
        "as PANIC_AT asks for"
    );
}

#[cfg(debug_assertions)]
mod places {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    pub(super) static CRASH_AT: LazyLock<Option<Place>> = LazyLock::new(|| Place::of("CRASH_AT"));
    pub(super) static PAUSE_AT: LazyLock<Option<Place>> = LazyLock::new(|| Place::of("PAUSE_AT"));
    pub(super) static PANIC_AT: LazyLock<Option<Place>> = LazyLock::new(|| Place::of("PANIC_AT"));

    pub(super) struct Place {
        name: String,
        passes: u32,
        passed: AtomicU32,
    }

    impl Place {
        #[expect(
            clippy::disallowed_methods,
            reason = "for tests alone, and far from every command line"
        )]
        fn of(variable: &str) -> Option<Self> {
            let value = std::env::var(variable).ok()?;
            let (name, passes) = value.split_once(':')?;
            Some(Self {
                name: name.to_owned(),
                passes: passes.parse().ok()?,
                passed: AtomicU32::new(0),
            })
        }

        pub(super) fn reached(&self, name: &str) -> bool {
            self.name == name && self.passed.fetch_add(1, Ordering::Relaxed) + 1 == self.passes
        }
    }
}
