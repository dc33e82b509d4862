//! Our own accept loop around warp's filters. `warp::serve` never gives up on a client that is slow
//! or silent: here headers must come in time, requests are answered in time, and the number of
//! connections has a limit.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response as HttpResponse, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service, ServiceExt};
use tower_http::compression::predicate::{And, DefaultPredicate, NotForContentType, Predicate};
use tower_http::compression::{Compression, CompressionBody};
use tower_http::cors::{AllowOrigin, Cors, CorsLayer};
use tracing::field::Empty;
use tracing::{Instrument, Span};
use uuid::Uuid;
use warp::http::{HeaderName, HeaderValue, header};
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::error::ApiError;
use crate::proxy;

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

/// How long a browser may remember what other origins may do.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);
/// What every answer carries unless it says otherwise: it is data, for nobody to frame or to guess
/// the type of.
const SECURITY: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (header::CACHE_CONTROL, "no-store"),
];

/// Who stands in front of the API.
pub(crate) struct Front {
    /// Proxies of ours.
    pub(crate) proxies: Vec<IpNet>,
    /// Origins whose web pages may call it.
    pub(crate) cors_origins: Vec<String>,
}

pub(crate) async fn serve<F>(
    listener: TcpListener,
    routes: F,
    front: Front,
    shutdown: CancellationToken,
) where
    F: Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
{
    let api = Api::new(warp::service(routes), &front.cors_origins);
    let proxies: Arc<[IpNet]> = front.proxies.into();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        let slot = slots.clone().acquire_owned();
        let accepted = tokio::select! {
            accepted = async { (slot.await, listener.accept().await) } => accepted,
            () = shutdown.cancelled() => break,
        };
        let (slot, stream, peer) = match accepted {
            (Ok(slot), Ok((stream, peer))) => (slot, stream, peer),
            (_, Err(error)) => {
                // Out of file descriptors, for example: others may close theirs meanwhile.
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            (Err(_), _) => break,
        };
        stream.set_nodelay(true).ok();
        let (api, proxies) = (api.clone(), proxies.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            let client = proxy::client(peer.ip(), request.headers(), &proxies);
            request.extensions_mut().insert(client);
            answer(api.clone(), request)
        });
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

/// The routes, within what is the same for all of them.
#[derive(Clone)]
struct Api<S> {
    inner: Compressed<S>,
    /// Answers preflights, and says which pages may read the answers.
    cors: Option<Cors<Compressed<S>>>,
}

type Compressed<S> = Compression<InTime<S>, And<DefaultPredicate, NotForContentType>>;
type Answer = HttpResponse<CompressionBody<<Response as HasBody>::Body>>;

/// Names the body of warp's responses, which warp itself does not.
trait HasBody {
    type Body;
}

impl<B> HasBody for HttpResponse<B> {
    type Body = B;
}

impl<S> Api<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    fn new(routes: S, cors_origins: &[String]) -> Self {
        // A PDF is compressed already, and goes out byte for byte as it was mailed.
        let not_pdf = NotForContentType::const_new("application/pdf");
        let inner =
            Compression::new(InTime(routes)).compress_when(DefaultPredicate::new().and(not_pdf));
        let cors = (!cors_origins.is_empty()).then(|| cors(cors_origins).layer(inner.clone()));
        Self { inner, cors }
    }

    async fn call(self, request: Request<Incoming>) -> Result<Answer, Infallible> {
        // A plain OPTIONS is answered by the route; only a preflight is for others.
        let preflight = request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        match self.cors {
            Some(cors) if preflight || request.method() != Method::OPTIONS => {
                cors.oneshot(request).await
            }
            _ => self.inner.oneshot(request).await,
        }
    }
}

fn cors(origins: &[String]) -> CorsLayer {
    let origins = origins.iter().filter_map(|origin| origin.parse().ok());
    let known = HeaderName::from_static;
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            known("idempotency-key"),
            known("prefer"),
            known("traceparent"),
            known("tracestate"),
            known("x-request-id"),
        ])
        .expose_headers([
            header::ETAG,
            header::LOCATION,
            header::RETRY_AFTER,
            known("idempotency-replayed"),
            known("preference-applied"),
            known("x-request-id"),
            known("x-trace-id"),
        ])
        .max_age(PREFLIGHT_AGE)
}

/// Answers 408 to what takes too long.
#[derive(Clone)]
struct InTime<S>(S);

impl<S> Service<Request<Incoming>> for InTime<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        // RFC 9112 §3.2: a request whose host is missing or said twice is refused. Somebody in between
        // may have understood another one.
        let hosts = request.headers().get_all(header::HOST).iter().count();
        if hosts != 1 && request.version() != Version::HTTP_10 {
            let refused = ApiError::malformed("Send the header Host, once.");
            return Box::pin(std::future::ready(Ok(refused.into_response())));
        }
        let answering = timeout(REQUEST_TIMEOUT, self.0.call(request));
        Box::pin(async move {
            answering
                .await
                .unwrap_or_else(|_| Ok(ApiError::timeout().into_response()))
        })
    }
}

/// Answers one request in a span of its own.
async fn answer<S>(api: Api<S>, request: Request<Incoming>) -> Result<Answer, Infallible>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let (request_id, span) = (request_id(&request), request_span(&request));
    let answering = async {
        let mut response = api.call(request).await?;
        finish(&mut response, &request_id);
        Ok(response)
    };
    answering.instrument(span).await
}

/// The span of a request, in the trace of the caller if it names one. The dispatcher adds the route.
fn request_span(request: &Request<Incoming>) -> Span {
    let (method, path) = (request.method(), request.uri().path());
    let span = tracing::info_span!(
        "request",
        otel.name = %method,
        otel.kind = "server",
        http.request.method = %method,
        http.route = Empty,
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

fn finish(response: &mut Answer, request_id: &str) {
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
    for (name, value) in SECURITY {
        let value = HeaderValue::from_static(value);
        headers.entry(name).or_insert(value);
    }
}
