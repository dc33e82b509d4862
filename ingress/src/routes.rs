//! The route table.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use futures_util::{Stream, StreamExt};
use uuid::Uuid;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use crate::State;
use crate::credentials::Caller;
use crate::error::ApiError;
use crate::page::PageQuery;
use crate::{health, invoices, offerings, orders, resources};

/// The largest body that is read.
const MAX_BODY: usize = 64 * 1024;
/// How much of a refused body is taken so that the client sees the answer, and for how long.
const MAX_DISCARDED: usize = 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// Every route of the API. A credential is looked at before the body is read, and after the path has
/// matched: a wrong path is 404 to everybody.
pub(crate) fn routes(
    state: Arc<State>,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    let v1 = |name: &'static str| warp::path("v1").and(warp::path(name));
    let with = with(state.clone());
    let caller = caller(state.clone());

    let place_order = v1("orders")
        .and(warp::path::end())
        .and(warp::post())
        .and(authorized_body(state.clone()))
        .and(warp::header::optional("idempotency-key"))
        .and(with.clone())
        .then(orders::place);
    let list_orders = v1("orders")
        .and(warp::path::end())
        .and(warp::get())
        .and(caller.clone())
        .and(warp::query())
        .and(with.clone())
        .then(orders::list);
    let get_order = v1("orders")
        .and(id())
        .and(warp::path::end())
        .and(warp::get())
        .and(caller.clone())
        .and(with.clone())
        .then(orders::get);
    let list_offerings = v1("offerings")
        .and(warp::path::end())
        .and(warp::get())
        .and(caller.clone())
        .and(with.clone())
        .then(offerings::list);
    let list_resources = v1("resources")
        .and(warp::path::end())
        .and(warp::get())
        .and(caller.clone())
        .and(warp::query::<PageQuery>())
        .and(with.clone())
        .then(resources::list);
    let get_resource = v1("resources")
        .and(id())
        .and(warp::path::end())
        .and(warp::get())
        .and(caller.clone())
        .and(with.clone())
        .then(resources::get);
    let list_invoices = v1("invoices")
        .and(warp::path::end())
        .and(warp::get())
        .and(caller.clone())
        .and(warp::query::<PageQuery>())
        .and(with.clone())
        .then(invoices::list);
    let get_invoice = v1("invoices")
        .and(id())
        .and(warp::path::end())
        .and(warp::get())
        .and(caller.clone())
        .and(with.clone())
        .then(invoices::get);
    let get_pdf = v1("invoices")
        .and(id())
        .and(warp::path("pdf"))
        .and(warp::path::end())
        .and(warp::get())
        .and(caller)
        .and(warp::header::optional("if-none-match"))
        .and(with.clone())
        .then(invoices::pdf);
    let alive = warp::path!("healthz").and(warp::get()).map(health::alive);
    let ready = warp::path!("readyz")
        .and(warp::get())
        .and(with)
        .then(health::ready);

    [
        answered(place_order),
        answered(list_orders),
        answered(get_order),
        answered(list_offerings),
        answered(list_resources),
        answered(get_resource),
        answered(list_invoices),
        answered(get_invoice),
        answered(get_pdf),
        answered(alive),
        answered(ready),
    ]
    .into_iter()
    // From the right, so that the first route is tried first and by itself.
    .rev()
    .reduce(|table, route| route.or(table).unify().boxed())
    .expect("the table has routes")
    .recover(async |rejection: Rejection| Ok::<_, Infallible>(ApiError::of_rejection(&rejection)))
    .unify()
}

/// A route whose answer is made.
fn answered<F, R>(route: F) -> BoxedFilter<(Response,)>
where
    F: Filter<Extract = (R,), Error = Rejection> + Clone + Send + Sync + 'static,
    R: Reply + 'static,
{
    route.map(Reply::into_response).boxed()
}

fn with(
    state: Arc<State>,
) -> impl Filter<Extract = (Arc<State>,), Error = Infallible> + Clone + Send + Sync {
    warp::any().map(move || state.clone())
}

/// Who asks, or 401.
fn caller(
    state: Arc<State>,
) -> impl Filter<Extract = (Caller,), Error = Rejection> + Clone + Send + Sync {
    warp::header::optional::<String>("authorization")
        .and(with(state))
        .and_then(async |authorization: Option<String>, state: Arc<State>| {
            state
                .keys
                .check(authorization.as_deref())
                .await
                .map_err(warp::reject::custom)
        })
}

/// The id in a path. What is no id is nothing that exists.
fn id() -> impl Filter<Extract = (Uuid,), Error = Rejection> + Copy + Send + Sync {
    warp::path::param::<Uuid>()
}

/// Who asks, and the body of their JSON request.
fn authorized_body(
    state: Arc<State>,
) -> impl Filter<Extract = (Authorized,), Error = Rejection> + Clone + Send + Sync {
    warp::header::optional::<String>("authorization")
        .and(warp::header::optional::<String>("content-type"))
        .and(warp::header::optional::<u64>("content-length"))
        .and(warp::body::stream())
        .and(with(state))
        .and_then(authorize)
}

async fn authorize(
    authorization: Option<String>,
    media_type: Option<String>,
    length: Option<u64>,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
    state: Arc<State>,
) -> Result<Authorized, Rejection> {
    let caller = state.keys.check(authorization.as_deref()).await;
    let mut body = std::pin::pin!(body);
    match read_body(caller, media_type, length, body.as_mut()).await {
        Ok(authorized) => Ok(authorized),
        Err(error) => {
            discard(body).await;
            Err(warp::reject::custom(error))
        }
    }
}

/// A request of somebody who is known.
pub(crate) struct Authorized {
    pub(crate) caller: Caller,
    pub(crate) body: Vec<u8>,
}

/// Reads the body of a JSON request up to its limit, however it is sent; but not a byte of it for
/// somebody who is not known.
async fn read_body(
    caller: Result<Caller, ApiError>,
    media_type: Option<String>,
    length: Option<u64>,
    mut stream: Pin<&mut impl Stream<Item = Result<impl Buf, warp::Error>>>,
) -> Result<Authorized, ApiError> {
    let caller = caller?;
    let media_type = media_type
        .as_deref()
        .and_then(|value| value.split(';').next());
    if !media_type
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case("application/json")
    {
        return Err(ApiError::unsupported_media_type());
    }
    if length.is_some_and(|length| length > MAX_BODY as u64) {
        return Err(ApiError::too_large(MAX_BODY));
    }
    let mut body = Vec::new();
    while let Some(chunk) = stream.next().await {
        let mut chunk = chunk.map_err(|_| ApiError::malformed("The body broke off."))?;
        if body.len() + chunk.remaining() > MAX_BODY {
            return Err(ApiError::too_large(MAX_BODY));
        }
        while chunk.has_remaining() {
            let piece = chunk.chunk();
            body.extend_from_slice(piece);
            chunk.advance(piece.len());
        }
    }
    Ok(Authorized { caller, body })
}

/// Takes what a refused client is still sending, within limits: to close the connection on unread
/// bytes resets it, and the client may never see why it was refused.
async fn discard(mut stream: Pin<&mut impl Stream<Item = Result<impl Buf, warp::Error>>>) {
    let discarding = async {
        let mut discarded = 0;
        while let Some(Ok(chunk)) = stream.next().await {
            discarded += chunk.remaining();
            if discarded > MAX_DISCARDED {
                break;
            }
        }
    };
    tokio::time::timeout(DISCARD_TIMEOUT, discarding).await.ok();
}
