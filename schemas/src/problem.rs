//! Errors as the reader gets them: problem details (RFC 9457), over HTTP and in rejection events.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the problem types are documented; the last segment is the stable name.
pub const TYPE_BASE: &str = "https://customer-flow.dev/problems/";

/// A kind of problem: what is the same for every occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProblemType {
    /// The stable name, the last segment of the type URI.
    pub name: &'static str,
    /// The HTTP status, or the one it would have over HTTP.
    pub status: u16,
    /// The kind in words.
    pub title: &'static str,
    /// When it happens, and what the reader can do about it.
    pub about: &'static str,
}

macro_rules! types {
    ($($constant:ident = $status:literal $name:literal, $title:literal, $about:literal;)*) => {
        $(
            #[doc = $about]
            pub const $constant: ProblemType = ProblemType {
                name: $name,
                status: $status,
                title: $title,
                about: $about,
            };
        )*

        /// Every kind of problem.
        pub const TYPES: &[ProblemType] = &[$($constant),*];
    };
}

types! {
    MALFORMED = 400 "malformed-request", "The request cannot be read",
        "The body is no JSON, or broke off. The detail says where.";
    UNAUTHORIZED = 401 "unauthorized", "A valid credential is required",
        "No credential was sent, or it does not exist, has expired or was revoked. Which of these is not said.";
    UNKNOWN_PUBLISHER = 401 "unknown-publisher", "The publisher is not known",
        "The message names no broker user that is a publisher, or one that was revoked.";
    FORBIDDEN = 403 "forbidden", "The credential does not allow this",
        "The credential is valid but lacks a scope or a role, or does not act for this account. Use one that may.";
    CROSS_SITE = 403 "cross-site-request", "The request may come from another page",
        "A request with a cookie that changes something says the token of the session in X-CSRF-Token, and comes from a page of this origin.";
    SIGN_UP_CLOSED = 403 "sign-up-closed", "Nobody signs up here",
        "Accounts are created by the seller, and people are invited. Ask the seller, or an owner of your account.";
    NOT_FOUND = 404 "not-found", "Not found",
        "It does not exist, or belongs to another account, which is the same to the caller.";
    METHOD_NOT_ALLOWED = 405 "method-not-allowed", "Method not allowed",
        "The address has other methods; the header Allow lists them.";
    TIMEOUT = 408 "timeout", "The request timed out",
        "The request took too long to arrive or to be answered. Repeat it with the same Idempotency-Key.";
    NOT_READY = 409 "not-ready", "Not ready yet",
        "What was asked for is being made. Ask again after Retry-After seconds.";
    CONFLICT = 409 "conflict", "Not possible as things are",
        "What was asked for cannot be done to a thing in its present state. The detail says why.";
    CHANGED_MEANWHILE = 412 "changed-meanwhile", "It was changed meanwhile",
        "If-Match names another version than there is now. Read it again and repeat the change.";
    TOO_LARGE = 413 "too-large", "The request is too large",
        "The body or the message is larger than the limit that the detail names.";
    UNSUPPORTED_MEDIA_TYPE = 415 "unsupported-media-type", "The media type is not supported",
        "Send the body in a media type that the detail names, which is application/json but for files.";
    INVALID_REQUEST = 422 "invalid-request", "Fields of the request are wrong",
        "The list errors has every field that is wrong, and what is wrong with it. Nothing was accepted.";
    INVALID_MESSAGE = 422 "invalid-message", "The message cannot be read",
        "The message is not of the kind that it claims. The schema is at /schemas/ under its kind.";
    KEY_REUSED = 422 "idempotency-key-reused", "The key was used for another request",
        "The Idempotency-Key or external_ref belongs to a request that asks for something else. Use a new one for a new request.";
    EXTERNAL_REF_IN_USE = 422 "external-ref-in-use", "The reference is in use",
        "Another order of the account has this external_ref.";
    UNKNOWN_SUBJECT = 422 "unknown-subject", "What the ticket is about does not exist",
        "The order, resource, invoice or attachment that is named does not exist, or belongs to another account.";
    NOTHING_TO_INVOICE = 422 "nothing-to-invoice", "There is nothing to invoice",
        "Everything up to now is invoiced already.";
    UNKNOWN_OFFERING = 422 "unknown-offering", "The offering is not available",
        "GET /v1/offerings lists what can be ordered.";
    UNKNOWN_PLAN = 422 "unknown-plan", "The plan is not available",
        "GET /v1/offerings lists the plans of each offering.";
    UNKNOWN_REGION = 422 "unknown-region", "The region is not available",
        "GET /v1/offerings lists the regions of each offering.";
    NO_PRICE = 422 "no-price", "There is no price in the account's currency",
        "The plan is not sold in the currency of the account. Choose another plan, or ask the seller.";
    TOO_MANY_REQUESTS = 429 "too-many-requests", "Too many requests",
        "There were more requests than the credential, the account or the address may make. Wait Retry-After seconds.";
    ORDER_FAILED = 500 "order-failed", "The order could not be fulfilled yet",
        "The order waits for a person. It is not lost, and may still complete.";
    INTERNAL = 500 "internal", "Something went wrong",
        "This is our fault. Quote the trace id to support.";
    UNAVAILABLE = 503 "unavailable", "Not available at the moment",
        "Nothing was accepted. Repeat the request after Retry-After seconds, with the same Idempotency-Key.";
}

/// Problem details (RFC 9457 §3.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// A stable URI that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words; the same for every occurrence.
    pub title: String,
    /// The HTTP status, or the one it would have over HTTP.
    pub status: u16,
    /// What was wrong this time and what to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Every field that was wrong, at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The trace in which it happened, to quote to support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

/// One field that was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldError {
    /// The path of the field in the request: `quantity`, `lines[2].price`, or a header's name.
    pub field: String,
    /// What is wrong with it: `must be …`.
    pub message: String,
}

impl Problem {
    /// A problem of this type.
    pub fn new(of: ProblemType, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("{TYPE_BASE}{}", of.name),
            title: of.title.to_owned(),
            status: of.status,
            detail: detail.into(),
            errors: Vec::new(),
            trace_id: None,
        }
    }

    /// The same problem with the fields that were wrong.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// The stable name: the last segment of the type URI.
    pub fn name(&self) -> &str {
        self.kind.strip_prefix(TYPE_BASE).unwrap_or(&self.kind)
    }
}

impl FieldError {
    /// The field at `path` and what is wrong with it.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: path.into(),
            message: message.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_of_problems_are_unique_and_fit_into_an_address() {
        let names: HashSet<_> = TYPES.iter().map(|of| of.name).collect();
        assert_eq!(names.len(), TYPES.len());
        let plain = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        assert!(names.iter().all(|name| plain(name)));
    }
}
