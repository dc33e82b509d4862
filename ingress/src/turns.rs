//! Whose turn it is: how many requests of one account are answered at the same time. Limits of requests
//! say how many there may be in a second; they do not keep an account that uses them up in one moment
//! from filling every queue in front of the next one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::sync::Cache as Memory;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// How many requests of an account are answered at once.
const MOST_AT_ONCE: u32 = 64;
/// How many of one that floods while somebody else asks, too.
const OF_A_FLOOD: u32 = 2;
/// How long after its last request an account still counts as asking.
const LINGERS: Duration = Duration::from_secs(1);
/// How many accounts are remembered at most, and how long after their last request.
const REMEMBERED: u64 = 10_000;
const IDLE: Duration = Duration::from_secs(60);

/// The turns of all accounts at this ingress.
pub(crate) struct Turns {
    accounts: Memory<Uuid, Arc<Semaphore>>,
    /// The two that asked last, the later one first.
    last: Mutex<[(Uuid, Instant); 2]>,
}

impl Turns {
    pub(crate) fn new() -> Self {
        let never = Instant::now() - LINGERS;
        Self {
            accounts: Memory::builder()
                .max_capacity(REMEMBERED)
                .time_to_idle(IDLE)
                .build(),
            last: Mutex::new([(Uuid::nil(), never); 2]),
        }
    }

    /// Waits until it is an account's turn, which lasts as long as what is returned. An account that goes
    /// on asking although it was told to wait `floods`.
    pub(crate) async fn take(
        &self,
        account_id: Uuid,
        floods: bool,
    ) -> Option<OwnedSemaphorePermit> {
        let room = self.accounts.get_with(account_id, || {
            Arc::new(Semaphore::new(MOST_AT_ONCE as usize))
        });
        // In a flood a turn takes the room of many.
        let size = match self.alone(account_id, Instant::now()) || !floods {
            true => 1,
            false => MOST_AT_ONCE / OF_A_FLOOD,
        };
        room.acquire_many_owned(size).await.ok()
    }

    /// Notes that an account asks. Whether nobody else does.
    fn alone(&self, account_id: Uuid, now: Instant) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let [(latest, _), (other, _)] = *last;
        if account_id != latest {
            // The one before the latest comes back, or goes.
            last.swap(0, 1);
        }
        if account_id != latest && account_id != other {
            last[0].0 = account_id;
        }
        last[0].1 = now;
        now.duration_since(last[1].1) >= LINGERS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_alone_until_another_one_asks_and_a_while_after_that() {
        let turns = Turns::new();
        let [a, b, c] = [1, 2, 3].map(Uuid::from_u128);
        let began = Instant::now();
        for (account, millis, alone) in [
            (a, 0, true),
            (a, 10, true),
            (b, 20, false),
            (a, 30, false),
            (a, 900, false),
            (a, 1030, true),
            (c, 1040, false),
            (c, 2039, false),
            (c, 2040, true),
        ] {
            let now = began + Duration::from_millis(millis);
            assert_eq!(turns.alone(account, now), alone, "{millis}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_flood_among_others_has_few_turns() {
        let turns = Turns::new();
        let (flooder, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        turns.take(other, false).await;
        let mut taken = Vec::new();
        for _ in 0..OF_A_FLOOD {
            taken.push(turns.take(flooder, true).await);
        }
        let one_more = tokio::time::timeout(Duration::from_millis(20), turns.take(flooder, true));
        assert!(one_more.await.is_err());
        assert!(turns.take(other, false).await.is_some());
        taken.pop();
        assert!(turns.take(flooder, true).await.is_some());
    }
}
