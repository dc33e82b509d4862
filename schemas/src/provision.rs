//! Resources at providers: created, given up, deleted.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::message::Message;
use crate::topology;
use crate::values::{Code, Name};

/// `resource.provision.v1`: create this resource, or find out what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceProvision {
    /// The resource, whose row says everything else.
    pub resource_id: Uuid,
    /// The provider, which chooses the queue.
    pub provider: Code,
}

impl Message for ResourceProvision {
    const KIND: &'static str = "resource.provision.v1";
    const EXCHANGE: &'static str = topology::WORK;

    fn routing_key(&self) -> Cow<'static, str> {
        Cow::Owned(format!("{}.{}", Self::KIND, self.provider))
    }
}

/// `resource.terminate.v1`: an account gives a resource up. It is deleted with everything on it, and
/// billed until the provider has deleted it.
///
/// Once is enough: a resource is terminated once, however often it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceTerminate {
    /// The account whose resource it is.
    pub account_id: Uuid,
    /// The resource, as `order.completed.v1` names it.
    pub resource_id: Uuid,
    /// When it was asked for. From an ingress only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<DateTime<Utc>>,
    /// Why, in the account's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Name>,
}

impl Message for ResourceTerminate {
    const KIND: &'static str = "resource.terminate.v1";
    const EXCHANGE: &'static str = topology::ORDERS;
}

/// The id of the request to terminate a resource; there is one.
pub fn termination_id(resource_id: Uuid) -> Uuid {
    Uuid::new_v5(&resource_id, b"termination")
}

/// `resource.deprovision.v1`: delete this resource at its provider, if it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceDeprovision {
    /// The resource, whose row says everything else.
    pub resource_id: Uuid,
    /// The provider, which chooses the queue.
    pub provider: Code,
}

impl Message for ResourceDeprovision {
    const KIND: &'static str = "resource.deprovision.v1";
    const EXCHANGE: &'static str = topology::WORK;

    fn routing_key(&self) -> Cow<'static, str> {
        Cow::Owned(format!("{}.{}", Self::KIND, self.provider))
    }
}

/// `usage.read.v1`: read the meters of this resource for a request for an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsageRead {
    /// The request for an invoice.
    pub request_id: Uuid,
    /// The resource, whose row says everything else.
    pub resource_id: Uuid,
    /// The provider, which chooses the queue.
    pub provider: Code,
}

impl Message for UsageRead {
    const KIND: &'static str = "usage.read.v1";
    const EXCHANGE: &'static str = topology::WORK;

    fn routing_key(&self) -> Cow<'static, str> {
        Cow::Owned(format!("{}.{}", Self::KIND, self.provider))
    }
}

/// The id of the `ordinal`-th resource of an order, counted from 1.
pub fn resource_id(order_id: Uuid, ordinal: u32) -> Uuid {
    Uuid::new_v5(&order_id, format!("resource/{ordinal}").as_bytes())
}
