//! Errors as answers: problem details (RFC 9457) for everything, with what to do about it.

use std::time::Duration;

use schemas::Problem;
use schemas::problem::{self, FieldError, ProblemType};
use sea_orm::DbErr;
use warp::Reply;
use warp::http::{HeaderName, HeaderValue, StatusCode, header};
use warp::reply::Response;

use crate::limits;

/// An answer that is no success.
#[derive(Debug)]
pub(crate) struct ApiError {
    problem: Box<Problem>,
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

impl ApiError {
    fn new(of: ProblemType, detail: impl Into<String>) -> Self {
        Self {
            problem: Box::new(Problem::new(of, detail)),
            headers: Vec::new(),
        }
    }

    fn with_header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// 401: who asks is not known. Says nothing about why, to those who guess.
    pub(crate) fn unauthorized(detail: &str) -> Self {
        Self::new(problem::UNAUTHORIZED, detail).with_header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"customer-flow\""),
        )
    }

    /// The same for a bearer token that was sent and does not work (RFC 6750 §3.1).
    pub(crate) fn with_invalid_token(self) -> Self {
        let challenge = "Bearer realm=\"customer-flow\", error=\"invalid_token\"";
        self.with_header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(challenge),
        )
    }

    /// 403: the credential may not do this.
    pub(crate) fn forbidden(scope: &str) -> Self {
        let detail = format!("The credential lacks the scope {scope}. Use one that has it.");
        let challenge = format!(
            "Bearer realm=\"customer-flow\", error=\"insufficient_scope\", scope=\"{scope}\""
        );
        let error = Self::new(problem::FORBIDDEN, detail);
        match HeaderValue::from_str(&challenge) {
            Ok(challenge) => error.with_header(header::WWW_AUTHENTICATE, challenge),
            Err(_) => error,
        }
    }

    /// 403: the key may do something that the credential may not.
    pub(crate) fn exceeds() -> Self {
        let detail = "It may do more, lasts longer or works from more networks than the \
                      credential that you use.";
        Self::new(problem::FORBIDDEN, detail)
    }

    /// 403: another page may have made the request, in the name of whoever is logged in.
    pub(crate) fn cross_site(detail: &str) -> Self {
        Self::new(problem::CROSS_SITE, detail)
    }

    /// 403: nobody signs up by themselves.
    pub(crate) fn sign_up_closed() -> Self {
        let detail = "Ask the seller for an account, or an owner of yours for an invitation.";
        Self::new(problem::SIGN_UP_CLOSED, detail)
    }

    /// 403: only somebody who may do as much can give this role, and only an owner can make owners.
    pub(crate) fn role_exceeds() -> Self {
        let detail = "This role may do more than you. Only an owner who is logged in makes owners.";
        Self::new(problem::FORBIDDEN, detail)
    }

    /// 404: it does not exist, or belongs to somebody else, which is the same to the caller.
    pub(crate) fn not_found(what: &str) -> Self {
        let detail = format!("There is no such {what} in this account.");
        Self::new(problem::NOT_FOUND, detail)
    }

    /// 409: it is not in a state in which this can be answered; it is worth asking again.
    pub(crate) fn not_ready(detail: impl Into<String>) -> Self {
        Self::new(problem::NOT_READY, detail)
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("2"))
    }

    /// 400: the request cannot be read at all.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(problem::MALFORMED, detail)
    }

    /// 422: fields are wrong; all of them at once.
    pub(crate) fn invalid(errors: Vec<FieldError>) -> Self {
        let names: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        let detail = format!("Check {}.", names.join(", "));
        let mut error = Self::new(problem::INVALID_REQUEST, detail);
        error.problem.errors = errors;
        error
    }

    /// 422: the key belongs to another request.
    pub(crate) fn key_reused() -> Self {
        let detail = "This Idempotency-Key (or external_ref) was used for a request that asks for something else. \
                      Use a new one for a new request.";
        let mut error = Self::new(problem::KEY_REUSED, detail);
        error.problem.errors = vec![FieldError::new(
            "Idempotency-Key",
            "was used for another request",
        )];
        error
    }

    /// 413: too much.
    pub(crate) fn too_large(limit: usize) -> Self {
        let detail = format!("The body may have at most {limit} bytes.");
        let mut error = Self::new(problem::TOO_LARGE, detail);
        error.problem.errors = vec![FieldError::new(
            "body",
            format!("must have at most {limit} bytes"),
        )];
        error
    }

    /// 415: not what this address takes.
    pub(crate) fn unsupported_media_type(known: &str) -> Self {
        let detail = format!("Send the body as {known}.");
        let mut error = Self::new(problem::UNSUPPORTED_MEDIA_TYPE, detail);
        let reason = format!("must be one of {known}");
        error.problem.errors = vec![FieldError::new("Content-Type", reason)];
        error
    }

    /// 429: too many requests of somebody; it is worth asking again later.
    pub(crate) fn too_many(what: &str, wait: Duration) -> Self {
        let seconds = limits::seconds(wait);
        let detail = format!("There were too many {what}. Try again in {seconds} s.");
        let error = Self::new(problem::TOO_MANY_REQUESTS, detail)
            .with_header(
                HeaderName::from_static("ratelimit-remaining"),
                HeaderValue::from_static("0"),
            )
            .with_header(HeaderName::from_static("ratelimit-reset"), seconds.into());
        error.with_header(header::RETRY_AFTER, seconds.into())
    }

    /// Whether it is a 401.
    pub(crate) fn is_unauthorized(&self) -> bool {
        self.problem.status == problem::UNAUTHORIZED.status
    }

    /// 503: nothing was accepted; it is worth asking again.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(problem::UNAVAILABLE, detail)
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("2"))
    }

    /// 408: the request did not arrive in time.
    pub(crate) fn timeout() -> Self {
        let detail = "The request took too long to arrive or to be answered. Nothing was accepted.";
        Self::new(problem::TIMEOUT, detail)
    }

    fn internal() -> Self {
        let detail = "This is our fault. Quote the trace id to support.";
        Self::new(problem::INTERNAL, detail)
    }

    /// 404: the address is no address.
    pub(crate) fn nothing_here() -> Self {
        let detail = "There is nothing at this address. The addresses are at /docs.";
        Self::new(problem::NOT_FOUND, detail)
    }

    /// 405: the address has other methods.
    pub(crate) fn method_not_allowed(allowed: &str) -> Self {
        let detail = format!("This address knows {allowed}.");
        let error = Self::new(problem::METHOD_NOT_ALLOWED, detail);
        match HeaderValue::from_str(allowed) {
            Ok(allowed) => error.with_header(header::ALLOW, allowed),
            Err(_) => error,
        }
    }

    /// 412: it is not as the caller believes it is.
    pub(crate) fn changed_meanwhile() -> Self {
        let detail = "It was changed since you read it. Read it again, and repeat your change.";
        Self::new(problem::CHANGED_MEANWHILE, detail)
    }

    /// 409: it is in a state in which this cannot be done.
    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(problem::CONFLICT, detail)
    }

    /// 422: one field is wrong.
    pub(crate) fn wrong_field(name: &str, reason: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError::new(name, reason)])
    }

    fn response(&self) -> Response {
        let mut problem = Problem::clone(&self.problem);
        problem.trace_id = broker::current_trace_id();
        let status =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response =
            warp::reply::with_status(warp::reply::json(&problem), status).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        response
    }
}

impl Reply for ApiError {
    fn into_response(self) -> Response {
        self.response()
    }
}

/// A read that failed is answered with 503: the database is away, or busy.
impl From<DbErr> for ApiError {
    fn from(error: DbErr) -> Self {
        tracing::warn!("cannot read from the database: {error}");
        Self::unavailable("The data cannot be read at the moment. Try again in a moment.")
    }
}

/// Anything else is our fault. The caller is told nothing of it; the log is.
impl From<anyhow::Error> for ApiError {
    fn from(error: anyhow::Error) -> Self {
        tracing::error!("cannot answer: {error:#}");
        Self::internal()
    }
}
