//! Documents: the rendered form of an invoice.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::message::Message;
use crate::topology;

/// `document.render.v1`: render and store the PDF of an issued invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentRender {
    /// The invoice.
    pub invoice_id: Uuid,
}

impl Message for DocumentRender {
    const KIND: &'static str = "document.render.v1";
    const EXCHANGE: &'static str = topology::WORK;
}
