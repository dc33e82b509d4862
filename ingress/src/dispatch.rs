//! From a request to the route that serves it: first the path, then who asks and whether they may,
//! and only then the body.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use futures_util::{Stream, StreamExt};
use tokio::sync::Semaphore;
use tracing::Span;
use warp::filters::path::FullPath;
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::State;
use crate::call::{Call, read_body, read_file, read_json};
use crate::credentials::{Caller, Person};
use crate::error::ApiError;
use crate::limits::Taken;
use crate::oauth::access_token;
use crate::reply::unless_known;
use crate::route::{Access, Body, Route};

/// How much of a refused body is taken so that the client sees the answer, and for how long.
const MAX_DISCARDED: usize = 16 * 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// How many files are uploaded at once; further ones wait.
const MAX_UPLOADS: usize = 32;

/// The routes by their paths.
struct Dispatcher {
    state: Arc<State>,
    paths: matchit::Router<Vec<Route>>,
    uploads: Semaphore,
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
    let dispatcher = Arc::new(Dispatcher {
        state,
        paths,
        uploads: Semaphore::new(MAX_UPLOADS),
    });
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
        let asking = self.asking(route, &head).await?;
        let _uploading;
        let body = match route.body {
            Some(Body::Json(_)) => read_json(&head.headers, body).await?,
            Some(Body::Form(_)) => read_body(&head.headers, body).await?,
            Some(Body::File(media_types)) => {
                // The largest bodies there are: only so many are in memory at once.
                _uploading = self.uploads.acquire().await;
                read_file(&head.headers, media_types, body).await?
            }
            None => Vec::new(),
        };
        let known = head.headers.get(header::IF_NONE_MATCH).cloned();
        let params = found.params.iter().map(|(_, value)| value.to_owned());
        let call = Call {
            state: self.state.clone(),
            caller: asking.caller,
            person: asking.person,
            params: params.collect(),
            query: head.query,
            headers: head.headers,
            body,
            from: head.from,
        };
        let mut response = route.serve(call).await?;
        if let Some(taken) = asking.taken {
            taken.show(&mut response);
        }
        Ok(match *wanted == Method::GET {
            true => unless_known(response, known.as_ref()),
            false => response,
        })
    }

    /// Who asks, if they may and have not asked too often. Nobody on a public route.
    async fn asking(&self, route: &Route, head: &Head) -> Result<Asking, ApiError> {
        let given = head.headers.get(header::AUTHORIZATION);
        let cookie = self.state.cookies.session();
        let cookie = self.state.cookies.find(cookie, &head.headers);
        match route.access {
            Access::Public => {
                // Somebody else's page logs nobody in, as itself or as another one.
                if route.writes() {
                    same_origin(&head.headers, &self.state.origin)?;
                }
                Ok(Asking::default())
            }
            Access::Known | Access::Scope(_) => {
                let (caller, person) = match (given, cookie) {
                    (None, Some(token)) => {
                        let person = self.logged_in(token, route, head).await?;
                        let named = head.headers.get("account-id");
                        // What is no text is no account either.
                        let named = named.map(|name| name.to_str().unwrap_or_default());
                        (person.acting(named)?, Some(person))
                    }
                    _ => (self.key(given, head).await?, None),
                };
                let taken = self.state.limits.count(&caller).await?;
                if let Access::Scope(scope) = route.access {
                    caller.require(scope)?;
                }
                Ok(Asking {
                    caller: Some(caller),
                    person,
                    taken: Some(taken),
                })
            }
            Access::Person | Access::Session => {
                let nobody = || ApiError::unauthorized("This is about a person. Log in.");
                let token = cookie.filter(|_| given.is_none()).ok_or_else(nobody)?;
                let person = self.logged_in(token, route, head).await?;
                let taken = self.state.limits.count_person(person.user.id).await?;
                Ok(Asking {
                    caller: None,
                    person: Some(person),
                    taken: Some(taken),
                })
            }
        }
    }

    /// Whose key or access token it is.
    async fn key(&self, given: Option<&HeaderValue>, head: &Head) -> Result<Caller, ApiError> {
        let State {
            keys,
            limits,
            oauth,
            ..
        } = &*self.state;
        // What is no text is no key either.
        let given = given.map(|value| value.to_str().unwrap_or_default());
        let known_only = limits.is_barred(head.from);
        let checked = match given.and_then(access_token) {
            Some(token) => oauth.check(token, head.from).await,
            None => keys.check(given, head.from, known_only).await,
        };
        match checked {
            Err(error) if error.is_unauthorized() && given.is_some() => {
                limits.guessed(head.from).await?;
                Err(error.with_invalid_token())
            }
            checked => checked,
        }
    }

    /// Whose session it is. What changes something must come from our own page.
    async fn logged_in(
        &self,
        token: &str,
        route: &Route,
        head: &Head,
    ) -> Result<Arc<Person>, ApiError> {
        let State {
            sessions, limits, ..
        } = &*self.state;
        let person = match sessions.check(token, limits.is_barred(head.from)).await {
            Err(error) if error.is_unauthorized() => {
                limits.guessed(head.from).await?;
                return Err(error);
            }
            checked => checked?,
        };
        if route.writes() {
            same_origin(&head.headers, &self.state.origin)?;
            person.check_csrf(&head.headers)?;
        }
        match person.session.second_factor_due && route.access != Access::Session {
            true => Err(ApiError::unauthorized(
                "The second factor is missing: POST /v1/session/second-factor.",
            )),
            false => Ok(person),
        }
    }
}

/// Who asks, and what is left of their requests.
#[derive(Default)]
struct Asking {
    caller: Option<Caller>,
    person: Option<Arc<Person>>,
    taken: Option<Taken>,
}

/// # Errors
/// 403 when a browser says that the page of another origin makes the request (Fetch Metadata; RFC 6454
/// §7). Its own origin is the one that people reach the API under, or the host that it asks. Whoever is
/// no browser says nothing, and has no cookies of others.
fn same_origin(headers: &HeaderMap, own: &str) -> Result<(), ApiError> {
    let text = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or("null"))
    };
    let foreign = || ApiError::cross_site("This page may not do that. Use the one of this origin.");
    if text("sec-fetch-site").is_some_and(|site| !["same-origin", "none"].contains(&site)) {
        return Err(foreign());
    }
    let Some(origin) = text("origin") else {
        return Ok(());
    };
    let host = origin.split_once("://").map(|(_, host)| host);
    match origin == own || (host.is_some() && host == text("host")) {
        true => Ok(()),
        false => Err(foreign()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_origins_are_told_apart() {
        let own = "https://portal.example";
        for (pairs, expected) in [
            (vec![], true),
            (vec![("origin", own)], true),
            (
                vec![("origin", "http://api:8080"), ("host", "api:8080")],
                true,
            ),
            (
                vec![("origin", "https://evil.example"), ("host", "api:8080")],
                false,
            ),
            (
                vec![("origin", "https://portal.example.evil.example")],
                false,
            ),
            (vec![("origin", "null"), ("host", "null")], false),
            (
                vec![("sec-fetch-site", "same-origin"), ("origin", own)],
                true,
            ),
            (vec![("sec-fetch-site", "none")], true),
            (
                vec![("sec-fetch-site", "same-site"), ("origin", own)],
                false,
            ),
            (vec![("sec-fetch-site", "cross-site")], false),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in &pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            assert_eq!(same_origin(&headers, own).is_ok(), expected, "{pairs:?}");
        }
    }
}
