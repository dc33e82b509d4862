//! One request on its way to a handler.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Buf;
use futures_util::{Stream, StreamExt};
use serde::Serialize;
use uuid::Uuid;
use warp::http::HeaderMap;

use crate::State;
use crate::credentials::{Caller, Person};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::reply;

/// The largest body that is read, but for files.
const MAX_BODY: usize = 64 * 1024;
/// The largest file.
pub(crate) const MAX_FILE: usize = 5 * 1024 * 1024;

/// A request of somebody who may make it, with its body read.
pub(crate) struct Call {
    pub(crate) state: Arc<State>,
    /// Nobody on a public route, and where it is about a person.
    pub(crate) caller: Option<Caller>,
    /// Who is logged in, if they ask with a session.
    pub(crate) person: Option<Arc<Person>>,
    /// Whom it comes from.
    pub(crate) from: Option<IpAddr>,
    /// The parameters in the path.
    pub(crate) params: Vec<String>,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Call {
    /// Who asks.
    ///
    /// # Errors
    /// 401 on a public route, where nobody is asked.
    pub(crate) fn caller(&self) -> Result<&Caller, ApiError> {
        self.caller
            .as_ref()
            .ok_or_else(|| ApiError::unauthorized("Send a credential."))
    }

    /// Who is logged in.
    ///
    /// # Errors
    /// 401 when nobody is.
    pub(crate) fn person(&self) -> Result<&Arc<Person>, ApiError> {
        self.person
            .as_ref()
            .ok_or_else(|| ApiError::unauthorized("Log in."))
    }

    /// The account that is acted for.
    ///
    /// # Errors
    /// As [`Call::caller`].
    pub(crate) fn account(&self) -> Result<Uuid, ApiError> {
        Ok(self.caller()?.account_id)
    }

    /// The first parameter in the path, as the id of a `what`.
    ///
    /// # Errors
    /// 404: what is no id is nothing that exists.
    pub(crate) fn id(&self, what: &str) -> Result<Uuid, ApiError> {
        let text = self.param();
        text.parse().map_err(|_| ApiError::not_found(what))
    }

    /// The first parameter in the path, as it is.
    pub(crate) fn param(&self) -> &str {
        self.params.first().map_or("", String::as_str)
    }

    /// A header as text. Nothing if it is missing.
    ///
    /// # Errors
    /// 422 when it is no text.
    pub(crate) fn header(&self, name: &'static str) -> Result<Option<&str>, ApiError> {
        let value = self.headers.get(name);
        let text = value.map(|value| value.to_str()).transpose();
        text.map_err(|_| ApiError::wrong_field(name, "must be readable text"))
    }

    /// Whether the caller means the representation that there is (RFC 9110 §13.1.1).
    ///
    /// # Errors
    /// 412 when `If-Match` names another one.
    pub(crate) fn if_match(&self, current: &impl Serialize) -> Result<(), ApiError> {
        let wanted = self.header("if-match")?;
        match wanted.is_none_or(|wanted| reply::names(wanted, &reply::json_etag(current))) {
            true => Ok(()),
            false => Err(ApiError::changed_meanwhile()),
        }
    }

    /// The parameters of the query string.
    pub(crate) fn query(&self) -> Fields {
        Fields::of_query(&self.query)
    }

    /// The fields of the JSON body.
    ///
    /// # Errors
    /// 400 when it is no JSON, 422 when it is no object.
    pub(crate) fn fields(&self) -> Result<Fields, ApiError> {
        Fields::parse(&self.body)
    }
}

/// Reads the body of a JSON request up to its limit, however it is sent.
///
/// # Errors
/// 413, 415, or 400 when it breaks off.
pub(crate) async fn read_json(
    headers: &HeaderMap,
    stream: Pin<&mut impl Stream<Item = Result<impl Buf, warp::Error>>>,
) -> Result<Vec<u8>, ApiError> {
    let media_type = media_type(headers);
    if !["application/json", "application/merge-patch+json"]
        .iter()
        .any(|known| media_type.eq_ignore_ascii_case(known))
    {
        return Err(ApiError::unsupported_media_type("application/json"));
    }
    read_body(headers, stream).await
}

/// Reads a file up to its limit.
///
/// # Errors
/// 413, 415, or 400 when it breaks off.
pub(crate) async fn read_file(
    headers: &HeaderMap,
    media_types: &[&str],
    stream: Pin<&mut impl Stream<Item = Result<impl Buf, warp::Error>>>,
) -> Result<Vec<u8>, ApiError> {
    let given = media_type(headers);
    match media_types
        .iter()
        .any(|known| given.eq_ignore_ascii_case(known))
    {
        true => read_up_to(MAX_FILE, headers, stream).await,
        false => Err(ApiError::unsupported_media_type(&media_types.join(", "))),
    }
}

/// The media type of a body, without parameters. Empty if it is not said.
pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get("content-type");
    let text = value.and_then(|value| value.to_str().ok());
    let name = text.and_then(|text| text.split(';').next());
    name.unwrap_or_default().trim()
}

/// Reads a body up to its limit, however it is sent.
///
/// # Errors
/// 413, or 400 when it breaks off.
pub(crate) async fn read_body(
    headers: &HeaderMap,
    stream: Pin<&mut impl Stream<Item = Result<impl Buf, warp::Error>>>,
) -> Result<Vec<u8>, ApiError> {
    read_up_to(MAX_BODY, headers, stream).await
}

async fn read_up_to(
    most: usize,
    headers: &HeaderMap,
    mut stream: Pin<&mut impl Stream<Item = Result<impl Buf, warp::Error>>>,
) -> Result<Vec<u8>, ApiError> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let length = text("content-length").and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > most as u64) {
        return Err(ApiError::too_large(most));
    }
    let mut body = Vec::new();
    while let Some(chunk) = stream.next().await {
        let mut chunk = chunk.map_err(|_| ApiError::malformed("The body broke off."))?;
        if body.len() + chunk.remaining() > most {
            return Err(ApiError::too_large(most));
        }
        while chunk.has_remaining() {
            let piece = chunk.chunk();
            body.extend_from_slice(piece);
            chunk.advance(piece.len());
        }
    }
    Ok(body)
}
