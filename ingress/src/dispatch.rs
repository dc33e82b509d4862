//! From a request to the route that serves it: first the path, then who asks and whether they may,
//! and only then the body.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use futures_util::{Stream, StreamExt};
use tracing::Span;
use warp::filters::path::FullPath;
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::State;
use crate::call::{Call, read_body, read_json};
use crate::credentials::Caller;
use crate::error::ApiError;
use crate::limits::Taken;
use crate::oauth::access_token;
use crate::reply::unless_known;
use crate::route::{Access, Route};

/// How much of a refused body is taken so that the client sees the answer, and for how long.
const MAX_DISCARDED: usize = 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// The routes by their paths.
struct Dispatcher {
    state: Arc<State>,
    paths: matchit::Router<Vec<Route>>,
}

/// Every route as one filter.
pub(crate) fn filter(
    state: Arc<State>,
    routes: Vec<Route>,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    let mut by_path: Vec<(&'static str, Vec<Route>)> = Vec::new();
    for route in routes {
        match by_path.iter_mut().find(|(path, _)| *path == route.path) {
            Some((_, methods)) => methods.push(route),
            None => by_path.push((route.path, vec![route])),
        }
    }
    let mut paths = matchit::Router::new();
    for (path, methods) in by_path {
        paths
            .insert(path, methods)
            .expect("the paths of the table do not collide");
    }
    let dispatcher = Arc::new(Dispatcher { state, paths });
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional())
        .map(|method, path, query, headers, from| Head {
            method,
            path,
            query,
            headers,
            from,
        })
        .and(warp::body::stream())
        .and(warp::any().map(move || dispatcher.clone()))
        .then(respond)
        .or_else(async |rejection| {
            tracing::error!("no route may reject: {rejection:?}");
            Ok::<_, Infallible>((ApiError::nothing_here().into_response(),))
        })
}

/// What is known of a request before its body.
struct Head {
    method: Method,
    path: FullPath,
    query: String,
    headers: HeaderMap,
    /// Whom it comes from.
    from: Option<IpAddr>,
}

async fn respond(
    head: Head,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
    dispatcher: Arc<Dispatcher>,
) -> Response {
    let mut body = std::pin::pin!(body);
    match dispatcher.answer(head, body.as_mut()).await {
        Ok(response) => response,
        Err(error) => {
            discard(body).await;
            error.into_response()
        }
    }
}

impl Dispatcher {
    async fn answer(
        &self,
        head: Head,
        body: Pin<&mut impl Stream<Item = Result<impl Buf, warp::Error>>>,
    ) -> Result<Response, ApiError> {
        let path = head.path.as_str();
        let found = self.paths.at(path).map_err(|_| ApiError::nothing_here())?;
        let routes = found.value;
        if head.method == Method::OPTIONS {
            return Ok(options(routes));
        }
        // The server leaves the body out of the answer to HEAD, and keeps its length.
        let wanted = match head.method == Method::HEAD {
            true => &Method::GET,
            false => &head.method,
        };
        let route = routes.iter().find(|route| route.method == *wanted);
        let route = route.ok_or_else(|| ApiError::method_not_allowed(&allowed(routes)))?;
        Span::current().record("http.route", route.path);
        broker::rename_current_span(format!("{} {}", head.method, route.path));
        let (caller, taken) = self.caller(route, &head).await?.unzip();
        let body = match route.body {
            Some(_) if route.is_form => read_body(&head.headers, body).await?,
            Some(_) => read_json(&head.headers, body).await?,
            None => Vec::new(),
        };
        let known = head.headers.get(header::IF_NONE_MATCH).cloned();
        let params = found.params.iter().map(|(_, value)| value.to_owned());
        let call = Call {
            state: self.state.clone(),
            caller,
            params: params.collect(),
            query: head.query,
            headers: head.headers,
            body,
            from: head.from,
        };
        let mut response = route.serve(call).await?;
        if let Some(taken) = taken {
            taken.show(&mut response);
        }
        Ok(match *wanted == Method::GET {
            true => unless_known(response, known.as_ref()),
            false => response,
        })
    }

    /// Who asks, if they may and have not asked too often. Nobody on a public route.
    async fn caller(
        &self,
        route: &Route,
        head: &Head,
    ) -> Result<Option<(Caller, Taken)>, ApiError> {
        if route.access == Access::Public {
            return Ok(None);
        }
        let State {
            keys,
            limits,
            oauth,
            ..
        } = &*self.state;
        let given = head.headers.get(header::AUTHORIZATION);
        // What is no text is no key either.
        let given = given.map(|value| value.to_str().unwrap_or_default());
        let known_only = limits.is_barred(head.from);
        let checked = match given.and_then(access_token) {
            Some(token) => oauth.check(token, head.from).await,
            None => keys.check(given, head.from, known_only).await,
        };
        let caller = match checked {
            Err(error) if error.is_unauthorized() && given.is_some() => {
                limits.guessed(head.from).await?;
                return Err(error.with_invalid_token());
            }
            checked => checked?,
        };
        let taken = limits.count(&caller).await?;
        if let Access::Scope(scope) = route.access {
            caller.require(scope)?;
        }
        Ok(Some((caller, taken)))
    }
}

/// The methods at a path, for the header `Allow`.
fn allowed(routes: &[Route]) -> String {
    let mut methods = vec!["OPTIONS"];
    for route in routes {
        methods.push(route.method.as_str());
        if route.method == Method::GET {
            methods.push("HEAD");
        }
    }
    methods.sort_unstable();
    methods.join(", ")
}

fn options(routes: &[Route]) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Ok(methods) = HeaderValue::from_str(&allowed(routes)) {
        response.headers_mut().insert(header::ALLOW, methods);
    }
    response
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
