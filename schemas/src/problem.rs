//! Errors as the reader gets them: problem details (RFC 9457), over HTTP and in rejection events.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the problem types are documented; the last segment is the stable name.
pub const TYPE_BASE: &str = "https://customer-flow.dev/problems/";

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
    /// A problem of the kind `name` (the last segment of its type URI).
    pub fn new(name: &str, status: u16, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("{TYPE_BASE}{name}"),
            title: title.to_owned(),
            status,
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
