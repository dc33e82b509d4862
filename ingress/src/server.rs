//! Our own accept loop around warp's filters. `warp::serve` never gives up on a client that is slow
//! or silent: here headers must come in time, requests are answered in time, and the number of
//! connections has a limit.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::field::Empty;
use tracing::{Instrument, Span};
use uuid::Uuid;
use warp::http::HeaderValue;
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::error::ApiError;

/// How many connections there are at once; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 2048;
/// How long a client may take to send the head of a request, and may be silent between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a request may take, its body and the answer included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest head of a request.
const MAX_HEAD: usize = 32 * 1024;
/// How long running requests may take to finish after the shutdown began.
const GRACE: Duration = Duration::from_secs(25);

pub(crate) async fn serve<F>(listener: TcpListener, routes: F, shutdown: CancellationToken)
where
    F: Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
{
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        let slot = slots.clone().acquire_owned();
        let accepted = tokio::select! {
            accepted = async { (slot.await, listener.accept().await) } => accepted,
            () = shutdown.cancelled() => break,
        };
        let (slot, stream) = match accepted {
            (Ok(slot), Ok((stream, _))) => (slot, stream),
            (_, Err(error)) => {
                // Out of file descriptors, for example: others may close theirs meanwhile.
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            (Err(_), _) => break,
        };
        stream.set_nodelay(true).ok();
        let service = warp::service(routes.clone());
        let service = service_fn(move |request| answer(service.clone(), request));
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _slot = slot;
            if let Err(error) = connection.await {
                tracing::debug!("a client left: {error}");
            }
        });
    }
    timeout(GRACE, graceful.shutdown()).await.ok();
}

/// Answers one request, in time, in a span of its own.
async fn answer<S>(service: S, request: Request<Incoming>) -> Result<Response, Infallible>
where
    S: tower::Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    let (request_id, span) = (request_id(&request), request_span(&request));
    let answering = async {
        let mut response = match timeout(REQUEST_TIMEOUT, service.oneshot(request)).await {
            Ok(Ok(response)) => response,
            Err(_) => ApiError::timeout().into_response(),
        };
        finish(&mut response, &request_id);
        response
    };
    Ok(answering.instrument(span).await)
}

/// The span of a request, in the trace of the caller if it names one.
fn request_span(request: &Request<Incoming>) -> Span {
    let (method, path) = (request.method(), request.uri().path());
    let route = route(path);
    let span = tracing::info_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        http.request.method = %method,
        http.route = route,
        url.path = path,
        http.response.status_code = Empty,
        otel.status_code = Empty,
    );
    let header = |name: &str| {
        request
            .headers()
            .get(name)?
            .to_str()
            .ok()
            .map(str::to_owned)
    };
    broker::extract_http(&span, header);
    span
}

/// The path without the ids in it, so that there are few.
fn route(path: &str) -> String {
    let part = |part: &str| {
        if part.parse::<Uuid>().is_ok() {
            "{id}".to_owned()
        } else {
            part.to_owned()
        }
    };
    let known = ["/v1/", "/healthz", "/readyz"]
        .iter()
        .any(|prefix| path.starts_with(prefix));
    if known {
        path.split('/').map(part).collect::<Vec<_>>().join("/")
    } else {
        "/".to_owned()
    }
}

/// The caller's id for the request, or one of ours.
fn request_id(request: &Request<Incoming>) -> String {
    let given = request
        .headers()
        .get("x-request-id")
        .and_then(|value| value.to_str().ok());
    let usable = given
        .filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()));
    usable.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

fn finish(response: &mut Response, request_id: &str) {
    let status = response.status();
    let span = Span::current();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-request-id", id);
    }
    if let Some(Ok(id)) = broker::current_trace_id().map(|id| HeaderValue::from_str(&id)) {
        headers.insert("x-trace-id", id);
    }
    headers.insert(
        "x-content-type-options",
        HeaderValue::from_static("nosniff"),
    );
    headers
        .entry("cache-control")
        .or_insert(HeaderValue::from_static("no-store"));
}
