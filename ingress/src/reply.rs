//! Answers that are successes.

use data_encoding::HEXLOWER;
use serde::Serialize;
use sha2::{Digest, Sha256};
use warp::Reply;
use warp::http::header::{CONTENT_TYPE, ETAG, IntoHeaderName};
use warp::http::{HeaderValue, StatusCode};
use warp::reply::Response;

/// 200 with a JSON body and its `ETag`.
pub(crate) fn ok(body: &impl Serialize) -> Response {
    let Ok(bytes) = serde_json::to_vec(body) else {
        tracing::error!("an answer is no JSON");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let etag = etag(&bytes);
    let mut response = Response::new(bytes.into());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    set(&mut response, ETAG, &etag);
    response
}

/// A JSON body with a status.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    warp::reply::with_status(warp::reply::json(body), status).into_response()
}

/// 204.
pub(crate) fn empty() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// The entity tag of the JSON of something.
pub(crate) fn json_etag(body: &impl Serialize) -> String {
    etag(&serde_json::to_vec(body).unwrap_or_default())
}

/// The entity tag of a representation (RFC 9110 §8.8.3): equal bytes have equal tags.
pub(crate) fn etag(bytes: &[u8]) -> String {
    let hash = HEXLOWER.encode(&Sha256::digest(bytes));
    format!("\"{hash}\"")
}

/// Sets a header, if the value can be one.
pub(crate) fn set(response: &mut Response, name: impl IntoHeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Whether a list of entity tags, as in `If-None-Match` or `If-Match`, has this one, or all.
pub(crate) fn names(tags: &str, etag: &str) -> bool {
    let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    tags.split(',')
        .map(weak)
        .any(|tag| tag == etag || tag == "*")
}

/// 304 without the body, if the caller has it already (RFC 9110 §13.1.2).
pub(crate) fn unless_known(mut response: Response, known: Option<&HeaderValue>) -> Response {
    let known = known.and_then(|known| known.to_str().ok());
    let etag = response.headers().get(ETAG);
    let etag = etag.and_then(|etag| etag.to_str().ok());
    if let (Some(known), Some(etag)) = (known, etag)
        && response.status() == StatusCode::OK
        && names(known, etag)
    {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Vec::new().into();
        response.headers_mut().remove(CONTENT_TYPE);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_among_several_weak_or_not() {
        let tag = etag(b"x");
        for (tags, expected) in [
            (tag.clone(), true),
            ("*".to_owned(), true),
            (format!("\"other\", W/{tag}"), true),
            ("\"other\"".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(names(&tags, &tag), expected, "{tags}");
        }
    }
}
