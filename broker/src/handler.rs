//! What a handler is, why it fails, and what becomes of a failed message.

use std::time::Duration;

use chrono::{DateTime, Utc};
use schemas::topology::{LADDER, Level, WorkQueue};
use schemas::{Envelope, Message, Outgoing};
use uuid::Uuid;

/// What a handler returns: the messages that follow, or why it could not.
pub type Handled = Result<Vec<Outgoing>, Failure>;

/// Consumes one kind of message from one queue.
pub trait Handler: Send + Sync + 'static {
    /// The payload it takes.
    type Message: Message;

    /// The queue it consumes.
    fn queue(&self) -> WorkQueue;

    /// Does the work and returns what follows.
    ///
    /// May be called again with the same message, also at the same time, and must then leave the
    /// world as one call would and return the same follow-ups. The call is dropped when it takes
    /// longer than the queue's timeout.
    fn handle(&self, message: &Envelope<Self::Message>) -> impl Future<Output = Handled> + Send;

    /// Makes a failed attempt visible to those who wait. What goes wrong here changes nothing
    /// about what becomes of the message.
    fn failed(
        &self,
        _message: &Envelope<Self::Message>,
        _error: &str,
        _next: Next,
    ) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// What is said to whoever published a message that is parked at once, because trying again
    /// cannot help.
    fn refused(&self, _refused: &Refused<'_>) -> Option<Outgoing> {
        None
    }
}

/// A message that is parked at once.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    /// The message, as [`Envelope::id`].
    pub id: Uuid,
    /// What it belongs to, as [`Envelope::correlation_id`].
    pub correlation_id: Uuid,
    /// Who published it, as validated by the broker.
    pub publisher: Option<&'a str>,
    /// Property `message_id` as it was sent.
    pub message_id: Option<&'a str>,
    /// Property `type` as it was sent.
    pub message_type: Option<&'a str>,
    /// Why, in one word.
    pub reason: &'a str,
    /// What is wrong with it.
    pub error: &'a str,
}

/// What becomes of a message after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It is tried again at about this time.
    Retry(DateTime<Utc>),
    /// It is parked until a person decides.
    Parked,
}

/// Why a message was not handled, from the point of view of what helps.
///
/// `?` on any error means [`Failure::Transient`]: a needless retry is cheap, a lost message is
/// not. Decide by type or status, never by the text of an error.
#[derive(Debug)]
pub enum Failure {
    /// Trying again later may help. Counts as an attempt.
    Transient(anyhow::Error),
    /// The other side asked for a pause of this length. Does not count as an attempt.
    RateLimited(Duration, anyhow::Error),
    /// Something that this depends on has not happened yet, but may have in about this long. Does
    /// not count as an attempt.
    NotYet(Duration, anyhow::Error),
    /// Trying again cannot help: parked at once, under this reason.
    Permanent(&'static str, anyhow::Error),
    /// Our own database or broker is away: consuming pauses until it is back. Does not count.
    Unavailable(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Transient(error.into())
    }
}

impl Failure {
    /// The error with its causes: `issue invoice: connect to the database: connection refused`.
    pub fn chain(&self) -> String {
        let (Self::Transient(error)
        | Self::RateLimited(_, error)
        | Self::NotYet(_, error)
        | Self::Permanent(_, error)
        | Self::Unavailable(error)) = self;
        format!("{error:#}")
    }
}

/// After so many failed attempts a message is parked. The ladder's last level is used three times,
/// which makes about 19 hours in all.
const MAX_ATTEMPTS: u32 = 8;
/// A panic is not expected to go away by itself.
const MAX_PANICS: u32 = 3;
/// After so many waits that were no attempts a message is parked: two hours for one that is not
/// ready yet.
const MAX_WAITS: u32 = 250;

/// What the loop does with a failed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// Publish to the retry ladder with these counters, then acknowledge.
    Retry {
        level: Level,
        attempt: u32,
        waits: u32,
    },
    /// Park under this reason, then acknowledge.
    Park { reason: &'static str },
    /// Keep the delivery and try again here.
    Hold,
}

/// Where a message stands in the ladder, and a number from 0 to 1 that spreads messages that
/// failed together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) attempt: u32,
    pub(crate) waits: u32,
    pub(crate) jitter: f64,
}

impl Disposition {
    /// The whole retry policy.
    pub(crate) fn of(failure: &Failure, panicked: bool, standing: Standing) -> Self {
        let Standing {
            attempt,
            waits,
            jitter,
        } = standing;
        let waited = |level| match waits + 1 < MAX_WAITS {
            true => Self::Retry {
                level,
                attempt,
                waits: waits + 1,
            },
            false => Self::Park {
                reason: "not_ready",
            },
        };
        match failure {
            Failure::Unavailable(_) => Self::Hold,
            Failure::Permanent(reason, _) => Self::Park { reason },
            Failure::RateLimited(pause, _) => {
                let enough = LADDER.into_iter().find(|level| level.delay >= *pause);
                waited(enough.unwrap_or(LADDER[LADDER.len() - 1]))
            }
            Failure::NotYet(hint, _) => {
                // Rather look once too often; but what has not happened after a minute takes longer.
                let patience = if waits < 12 {
                    *hint
                } else {
                    (*hint).max(LADDER[1].delay)
                };
                let level = LADDER
                    .into_iter()
                    .rev()
                    .find(|level| level.delay <= patience);
                waited(level.unwrap_or(LADDER[0]))
            }
            Failure::Transient(_) if panicked && attempt + 1 >= MAX_PANICS => {
                Self::Park { reason: "panic" }
            }
            Failure::Transient(_) if attempt + 1 >= MAX_ATTEMPTS => Self::Park {
                reason: "attempts_exhausted",
            },
            Failure::Transient(_) => {
                // One in four goes a level higher, so that a crowd does not return as a crowd.
                let step = attempt as usize + usize::from(jitter < 0.25 && attempt > 0);
                let level = LADDER[step.min(LADDER.len() - 1)];
                Self::Retry {
                    level,
                    attempt: attempt + 1,
                    waits,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn at(attempt: u32, waits: u32) -> Standing {
        Standing {
            attempt,
            waits,
            jitter: 1.0,
        }
    }

    fn level(disposition: Disposition) -> &'static str {
        match disposition {
            Disposition::Retry { level, .. } => level.name,
            Disposition::Park { reason } => reason,
            Disposition::Hold => "hold",
        }
    }

    #[test]
    fn transient_failures_climb_the_ladder_and_are_parked_at_its_end() {
        let climb: Vec<_> = (0..MAX_ATTEMPTS)
            .map(|attempt| {
                level(Disposition::of(
                    &Failure::Transient(anyhow!("x")),
                    false,
                    at(attempt, 0),
                ))
            })
            .collect();
        assert_eq!(
            climb,
            [
                "5s",
                "30s",
                "2m",
                "10m",
                "1h",
                "6h",
                "6h",
                "attempts_exhausted"
            ]
        );
    }

    #[test]
    fn jitter_moves_some_messages_up_but_never_the_first_retry() {
        let jittered = |attempt| Standing {
            attempt,
            waits: 0,
            jitter: 0.1,
        };
        let of = |standing| {
            level(Disposition::of(
                &Failure::Transient(anyhow!("x")),
                false,
                standing,
            ))
        };
        assert_eq!(of(jittered(0)), "5s");
        assert_eq!(of(jittered(1)), "2m");
        assert_eq!(of(jittered(6)), "6h");
    }

    #[test]
    fn waiting_burns_no_attempts_but_does_not_last_for_ever() {
        let not_yet = Failure::NotYet(Duration::from_secs(1), anyhow!("x"));
        assert_eq!(
            Disposition::of(&not_yet, false, at(2, 5)),
            Disposition::Retry {
                level: LADDER[0],
                attempt: 2,
                waits: 6
            }
        );
        assert_eq!(level(Disposition::of(&not_yet, false, at(0, 20))), "30s");
        assert_eq!(
            level(Disposition::of(&not_yet, false, at(0, MAX_WAITS))),
            "not_ready"
        );
        let later = Failure::NotYet(Duration::from_secs(660), anyhow!("x"));
        assert_eq!(level(Disposition::of(&later, false, at(0, 0))), "10m");
        let limited = |secs| Failure::RateLimited(Duration::from_secs(secs), anyhow!("x"));
        assert_eq!(level(Disposition::of(&limited(3), false, at(0, 0))), "5s");
        assert_eq!(level(Disposition::of(&limited(31), false, at(0, 0))), "2m");
        assert_eq!(
            level(Disposition::of(&limited(86_400), false, at(0, 0))),
            "6h"
        );
    }

    #[test]
    fn permanent_failures_and_repeated_panics_are_parked() {
        let permanent = Failure::Permanent("rejected", anyhow!("x"));
        assert_eq!(
            level(Disposition::of(&permanent, false, at(0, 0))),
            "rejected"
        );
        let panic = Failure::Transient(anyhow!("x"));
        assert_eq!(level(Disposition::of(&panic, true, at(0, 0))), "5s");
        assert_eq!(level(Disposition::of(&panic, true, at(2, 0))), "panic");
        let away = Failure::Unavailable(anyhow!("x"));
        assert_eq!(level(Disposition::of(&away, false, at(7, 0))), "hold");
    }
}
