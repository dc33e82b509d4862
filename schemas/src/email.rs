//! Mails: the delivery of a document to a recipient.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::message::Message;
use crate::topology;

/// `email.send.v1`: send one mail to one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EmailSend {
    /// The delivery, whose row says to whom and what.
    pub delivery_id: Uuid,
}

impl Message for EmailSend {
    const KIND: &'static str = "email.send.v1";
    const EXCHANGE: &'static str = topology::WORK;
}
