//! Limits of requests: for each key and each account, so that nobody takes the share of others; and of
//! guesses, for each address. Token buckets by GCRA (ITU-T I.371), shared by all ingresses through the
//! cache; while it is away each ingress has its own.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use moka::sync::Cache as Memory;
use redis::Script;
use tokio::sync::Mutex;
use uuid::Uuid;
use warp::reply::Response;

use crate::cache::Cache;
use crate::credentials::Caller;
use crate::error::ApiError;
use crate::reply;

/// How many buckets are remembered at most.
const MOST: u64 = 100_000;
/// How long a bucket is remembered that nobody uses. All are full again by then.
const IDLE: Duration = Duration::from_secs(600);
/// How many seconds' worth of requests may come at once.
const BURST_SECONDS: u32 = 2;
/// How often an address may guess at once, and how long it takes to earn another guess.
const GUESSES: Rate = Rate {
    interval: Duration::from_secs(2),
    burst: 30,
};
/// How often somebody's password may be tried at once, and how long it takes to earn another try. Who
/// has logged in before from the same browser is counted apart: strangers lock nobody out.
const LOG_INS: Rate = Rate {
    interval: Duration::from_secs(10),
    burst: 20,
};
/// The same for somebody's second factor. Only who knows the password gets there.
const CODES: Rate = Rate {
    interval: Duration::from_secs(60),
    burst: 10,
};
/// How many mails strangers may have sent to one address, and from one.
const MAILS_TO: Rate = Rate {
    interval: Duration::from_secs(120),
    burst: 5,
};
const MAILS_FROM: Rate = Rate {
    interval: Duration::from_secs(10),
    burst: 30,
};
/// How long an answer is held back at least, and at most, from who goes on asking although it was told to
/// wait: whoever floods takes no processor from others with what is refused.
const HELD_BACK: Duration = Duration::from_millis(200);
const HELD_BACK_AT_MOST: Duration = Duration::from_millis(400);
/// The golden ratio: multiples of it spread evenly between whole numbers (Knuth, The Art of Computer
/// Programming, 6.4), so that those who are held back together do not come back together.
const SPREAD: f64 = 0.618_033_988_749_895;
/// Tokens that were fetched together are used within this.
const BATCH: Duration = Duration::from_millis(100);
/// How many batches there are in a second: a busy key asks the cache this often, not every time.
const BATCHES: u32 = 50;

/// Takes tokens from a bucket by the clock of Redis. Answers how long the bucket takes to be full, or
/// how long it takes until there are enough, in microseconds, the latter as a negative number.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
         local now = time[1] * 1000000 + time[2]
         local interval, burst, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
         local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
         local then_full_at = full_at + interval * wanted
         local missing = then_full_at - interval * burst - now
         if missing > 0 then return -missing end
         redis.call('SET', KEYS[1], string.format('%d', then_full_at),
                    'PX', math.ceil((then_full_at - now) / 1000))
         return then_full_at - now",
    )
});

/// How fast tokens come, and how many a bucket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate {
    interval: Duration,
    burst: u32,
}

impl Rate {
    fn per_second(rate: u32) -> Self {
        Self {
            interval: Duration::from_secs(1) / rate.max(1),
            burst: rate.saturating_mul(BURST_SECONDS).max(1),
        }
    }

    /// How many tokens are left in a bucket that takes this long to be full.
    fn left(self, until_full: Duration) -> u32 {
        let room = (self.interval * self.burst).saturating_sub(until_full);
        u32::try_from(room.as_nanos() / self.interval.as_nanos().max(1)).unwrap_or(u32::MAX)
    }
}

/// How many requests a second there may be.
#[derive(Debug, Clone, Copy)]
pub struct RequestLimits {
    /// With each key.
    pub key: u32,
    /// For each account.
    pub account: u32,
}

/// The limits of this ingress.
pub(crate) struct Limits {
    key: Rate,
    account: Rate,
    shared: Cache,
    buckets: Memory<String, Arc<Mutex<Bucket>>>,
    /// Until when an address may not guess.
    barred: Memory<IpAddr, Instant>,
    /// Until when who had too many requests was told to wait.
    told_to_wait: Memory<String, Instant>,
    /// How many answers were held back.
    held_back: AtomicU32,
}

/// What this ingress has of a bucket.
struct Bucket {
    /// Tokens that were fetched and are not used yet, and until when they count.
    held: u32,
    held_until: Instant,
    /// When the bucket is full, if nobody takes from it: as the cache said, or by itself.
    full_at: Instant,
}

/// What came of taking a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// There was one. For the headers: the size of the bucket, what is left, when it is full.
    Yes {
        burst: u32,
        left: u32,
        full: Duration,
    },
    /// There is one after this.
    After(Duration),
}

impl Limits {
    pub(crate) fn new(limits: RequestLimits, shared: Cache) -> Self {
        Self {
            key: Rate::per_second(limits.key),
            account: Rate::per_second(limits.account),
            shared,
            buckets: Memory::builder()
                .max_capacity(MOST)
                .time_to_idle(IDLE)
                .build(),
            barred: Memory::builder()
                .max_capacity(MOST)
                .time_to_live(IDLE)
                .build(),
            told_to_wait: Memory::builder()
                .max_capacity(MOST)
                .time_to_live(IDLE)
                .build(),
            held_back: AtomicU32::new(0),
        }
    }

    /// Counts a request of somebody who is known.
    ///
    /// # Errors
    /// 429 when there were too many.
    pub(crate) async fn count(&self, caller: &Caller) -> Result<Taken, ApiError> {
        let key = format!("key:{}", caller.actor());
        let taken = self.request(key, self.key, "requests with this credential");
        let taken = taken.await?;
        let account = format!("account:{}", caller.account_id);
        self.request(account, self.account, "requests of this account")
            .await?;
        Ok(taken)
    }

    /// Counts a request of a person that concerns no account.
    ///
    /// # Errors
    /// 429 when there were too many.
    pub(crate) async fn count_person(&self, user_id: Uuid) -> Result<Taken, ApiError> {
        let name = format!("key:user {user_id}");
        self.request(name, self.key, "requests with this credential")
            .await
    }

    async fn request(&self, name: String, rate: Rate, what: &str) -> Result<Taken, ApiError> {
        let taken = self.take(name.clone(), rate).await;
        let Taken::After(wait) = taken else {
            return Ok(taken);
        };
        let now = Instant::now();
        let goes_on = self
            .told_to_wait
            .get(&name)
            .is_some_and(|until| now < until);
        let until = now + Duration::from_secs(seconds(wait));
        self.told_to_wait.insert(name, until);
        if goes_on {
            tokio::time::sleep(self.next_delay()).await;
        }
        Err(ApiError::too_many(what, wait))
    }

    fn next_delay(&self) -> Duration {
        let count = self.held_back.fetch_add(1, Ordering::Relaxed);
        let part = (f64::from(count) * SPREAD).fract();
        HELD_BACK + (HELD_BACK_AT_MOST - HELD_BACK).mul_f64(part)
    }

    /// Whether an address has guessed too often. What it sends is believed only if it is known.
    pub(crate) fn is_barred(&self, from: Option<IpAddr>) -> bool {
        let until = from.and_then(|from| self.barred.get(&from));
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Counts a credential that does not work.
    ///
    /// # Errors
    /// 429 when there were too many.
    pub(crate) async fn guessed(&self, from: Option<IpAddr>) -> Result<(), ApiError> {
        let Some(from) = from else {
            return Ok(());
        };
        match self.take(format!("guess:{from}"), GUESSES).await {
            Taken::Yes { .. } => Ok(()),
            Taken::After(wait) => {
                self.barred.insert(from, Instant::now() + wait);
                Err(ApiError::too_many(
                    "wrong credentials from this address",
                    wait,
                ))
            }
        }
    }

    /// Counts an attempt to log in as somebody, whoever that is; `device` names the browser, if somebody
    /// has logged in from it as the same before.
    ///
    /// # Errors
    /// 429 when there were too many.
    pub(crate) async fn log_in(&self, as_whom: &str, device: Option<&str>) -> Result<(), ApiError> {
        let name = match device {
            Some(device) => format!("device:{device}"),
            None => format!("log-in:{as_whom}"),
        };
        self.allow(name, LOG_INS, "attempts to log in").await
    }

    /// Counts a password that somebody who is logged in says again.
    ///
    /// # Errors
    /// 429 when there were too many.
    pub(crate) async fn password(&self, user_id: Uuid) -> Result<(), ApiError> {
        self.allow(format!("password:{user_id}"), LOG_INS, "passwords")
            .await
    }

    /// Counts a code that somebody gives.
    ///
    /// # Errors
    /// 429 when there were too many.
    pub(crate) async fn code(&self, user_id: Uuid) -> Result<(), ApiError> {
        self.allow(format!("code:{user_id}"), CODES, "codes").await
    }

    /// Counts a mail that a stranger has sent to an address.
    ///
    /// # Errors
    /// 429 when there were too many, to it or from them.
    pub(crate) async fn mail(&self, from: Option<IpAddr>, to: &str) -> Result<(), ApiError> {
        if let Some(from) = from {
            let name = format!("mail-from:{from}");
            self.allow(name, MAILS_FROM, "requests from this address")
                .await?;
        }
        let name = format!("mail-to:{to}");
        self.allow(name, MAILS_TO, "mails to this address").await
    }

    async fn allow(&self, name: String, rate: Rate, what: &str) -> Result<(), ApiError> {
        match self.take(name, rate).await {
            Taken::Yes { .. } => Ok(()),
            Taken::After(wait) => Err(ApiError::too_many(what, wait)),
        }
    }

    async fn take(&self, name: String, rate: Rate) -> Taken {
        let bucket = self.buckets.get_with(name.clone(), || {
            let now = Instant::now();
            let new = Bucket {
                held: 0,
                held_until: now,
                full_at: now,
            };
            Arc::new(Mutex::new(new))
        });
        // Others wait for the tokens that one fetches.
        let mut bucket = bucket.lock().await;
        if bucket.held == 0 || bucket.held_until <= Instant::now() {
            let batch = (rate.burst / BURST_SECONDS / BATCHES).max(1);
            let wait = match self.fetch(&mut bucket, &name, rate, batch).await {
                Some(_) if batch > 1 => self.fetch(&mut bucket, &name, rate, 1).await,
                wait => wait,
            };
            if let Some(wait) = wait {
                return Taken::After(wait);
            }
        }
        bucket.held -= 1;
        let full = bucket.full_at.saturating_duration_since(Instant::now());
        Taken::Yes {
            burst: rate.burst,
            left: rate.left(full) + bucket.held,
            full,
        }
    }

    /// Fetches tokens. Answers how long it takes until there are as many, if there are not.
    async fn fetch(
        &self,
        bucket: &mut Bucket,
        name: &str,
        rate: Rate,
        wanted: u32,
    ) -> Option<Duration> {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let arguments = [
            micros(rate.interval).max(1),
            rate.burst.into(),
            wanted.into(),
        ];
        let said: Option<i64> = self
            .shared
            .run(&TAKE, &format!("limit:{name}"), arguments)
            .await;
        let now = Instant::now();
        let full_in = match said {
            Some(said) => {
                let time = Duration::from_micros(said.unsigned_abs());
                if said < 0 {
                    return Some(time);
                }
                time
            }
            None => {
                let full_in = bucket.full_at.saturating_duration_since(now);
                let then = full_in + rate.interval * wanted;
                let missing = then.saturating_sub(rate.interval * rate.burst);
                if !missing.is_zero() {
                    return Some(missing);
                }
                then
            }
        };
        bucket.full_at = now + full_in;
        bucket.held = wanted;
        bucket.held_until = now + BATCH.max(rate.interval);
        None
    }
}

/// How many seconds somebody is told to wait: none is too few.
pub(crate) fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

impl Taken {
    /// Says in an answer what is left (draft-ietf-httpapi-ratelimit-headers-06).
    pub(crate) fn show(self, response: &mut Response) {
        if let Self::Yes { burst, left, full } = self {
            reply::set(response, "ratelimit-limit", &burst.to_string());
            reply::set(response, "ratelimit-remaining", &left.to_string());
            reply::set(response, "ratelimit-reset", &seconds(full).to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(rate: u32) -> Limits {
        let alone = Cache::open(&crate::cache::CacheUrl::Memory).unwrap();
        let limits = RequestLimits {
            key: rate,
            account: rate,
        };
        Limits::new(limits, alone)
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_bucket_gives_its_burst_and_then_its_rate() {
        let limits = limits(10);
        for left in (0..20).rev() {
            match limits.take("a".to_owned(), limits.key).await {
                Taken::Yes {
                    burst: 20,
                    left: said,
                    ..
                } => assert!(said.abs_diff(left) <= 1),
                other => panic!("{left}: {other:?}"),
            }
        }
        let Taken::After(wait) = limits.take("a".to_owned(), limits.key).await else {
            panic!("there is more than the burst");
        };
        assert!(wait <= Duration::from_millis(100), "{wait:?}");
        let other = limits.take("b".to_owned(), limits.key).await;
        assert!(matches!(other, Taken::Yes { .. }));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn those_that_are_held_back_together_come_back_one_by_one() {
        let limits = limits(1);
        let mut delays: Vec<_> = (0..64).map(|_| limits.next_delay()).collect();
        delays.sort();
        assert!(HELD_BACK <= delays[0] && delays[63] < HELD_BACK_AT_MOST);
        let even = (HELD_BACK_AT_MOST - HELD_BACK) / 64;
        for pair in delays.windows(2) {
            let apart = pair[1] - pair[0];
            assert!(even / 4 < apart && apart < even * 3, "{apart:?}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_busy_bucket_is_fetched_in_batches_and_gives_no_more() {
        let limits = limits(1000);
        let began = Instant::now();
        let mut given = 0;
        while let Taken::Yes { .. } = limits.take("a".to_owned(), limits.key).await {
            given += 1;
            assert!(given < 100_000);
        }
        let earned = began.elapsed().as_millis() + 1;
        assert!(
            (1900..=2000 + earned).contains(&given),
            "{given} in {earned} ms"
        );
    }
}
