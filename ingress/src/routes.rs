//! The route table.

use std::convert::Infallible;
use std::sync::Arc;

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

/// Every route of the API. A credential is looked at before the body is read, and after the path has
/// matched: a wrong path is 404 to everybody.
pub(crate) fn routes(
    state: Arc<State>,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    let v1 = |name: &'static str| warp::path("v1").and(warp::path(name));
    let with = with(state.clone());
    let caller = caller(state);

    let place_order = v1("orders")
        .and(warp::path::end())
        .and(warp::post())
        .and(caller.clone())
        .and(warp::header::optional("idempotency-key"))
        .and(json_body())
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
    .reduce(|table, route| table.or(route).unify().boxed())
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

/// The body of a JSON request, read up to its limit, however it is sent.
fn json_body() -> impl Filter<Extract = (Vec<u8>,), Error = Rejection> + Clone + Send + Sync {
    warp::header::optional::<String>("content-type")
        .and(warp::header::optional::<u64>("content-length"))
        .and(warp::body::stream())
        .and_then(read_body)
}

async fn read_body(
    content_type: Option<String>,
    length: Option<u64>,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<Vec<u8>, Rejection> {
    let media_type = content_type
        .as_deref()
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case("application/json") {
        return Err(ApiError::unsupported_media_type().into());
    }
    if length.is_some_and(|length| length > MAX_BODY as u64) {
        return Err(ApiError::too_large(MAX_BODY).into());
    }
    let mut read = Vec::new();
    let mut body = std::pin::pin!(body);
    while let Some(chunk) = body.next().await {
        let mut chunk = chunk.map_err(|_| ApiError::malformed("The body broke off."))?;
        if read.len() + chunk.remaining() > MAX_BODY {
            return Err(ApiError::too_large(MAX_BODY).into());
        }
        while chunk.has_remaining() {
            let piece = chunk.chunk();
            read.extend_from_slice(piece);
            chunk.advance(piece.len());
        }
    }
    Ok(read)
}
