//! `Prefer: wait=N` (RFC 7240 §4.3): an answer that waits for a change.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use warp::http::header::ETAG;
use warp::reply::Response;

use crate::call::Call;
use crate::error::ApiError;
use crate::reply;

/// The longest that a GET waits for a change, how often it looks, and how many wait at once; further
/// ones are answered at once.
const MAX_WAIT: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(400);
pub(crate) const MAX_WAITING: usize = 128;

/// What `show` shows, if asked for only when it is no longer as `If-None-Match` says, or as it was when
/// the request came.
pub(crate) async fn for_change<F>(call: &Call, show: impl Fn() -> F) -> Result<Response, ApiError>
where
    F: Future<Output = Result<Response, ApiError>>,
{
    let mut response = show().await?;
    let wait = call.header("prefer")?.and_then(wait);
    let slot = wait.and_then(|_| call.state.waiting.try_acquire().ok());
    let (Some(wait), Some(_slot)) = (wait, slot) else {
        return Ok(response);
    };
    let until = Instant::now() + wait.min(MAX_WAIT);
    let etag = |response: &Response| {
        let etag = response.headers().get(ETAG);
        etag.and_then(|etag| Some(etag.to_str().ok()?.to_owned()))
            .unwrap_or_default()
    };
    let known = call.header("if-none-match")?.map(str::to_owned);
    let known = known.unwrap_or_else(|| etag(&response));
    while reply::names(&known, &etag(&response)) && Instant::now() < until {
        sleep(LOOK_AGAIN).await;
        response = show().await?;
    }
    let applied = format!("wait={}", wait.min(MAX_WAIT).as_secs());
    reply::set(&mut response, "preference-applied", &applied);
    Ok(response)
}

/// The `wait` of a header `Prefer`: `respond-async, wait=10`.
fn wait(prefer: &str) -> Option<Duration> {
    let mut preferences = prefer.split([',', ';']);
    let wait = preferences.find_map(|preference| preference.trim().strip_prefix("wait="))?;
    wait.trim().parse().ok().map(Duration::from_secs)
}
