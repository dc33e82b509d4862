//! Invoices: what is owed for an order.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::message::Message;
use crate::topology;

/// `invoice.issue.v1`: issue the invoice for a completed order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceIssue {
    /// The order to invoice.
    pub order_id: Uuid,
}

impl Message for InvoiceIssue {
    const KIND: &'static str = "invoice.issue.v1";
    const EXCHANGE: &'static str = topology::WORK;
}

/// The id of the invoice for an order; an order has one.
pub fn invoice_id(order_id: Uuid) -> Uuid {
    Uuid::new_v5(&order_id, b"invoice")
}
