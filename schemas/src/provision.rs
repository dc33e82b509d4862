//! Provisioning: one resource at one provider.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::message::Message;
use crate::topology;
use crate::values::Code;

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

/// The id of the `ordinal`-th resource of an order, counted from 1.
pub fn resource_id(order_id: Uuid, ordinal: u32) -> Uuid {
    Uuid::new_v5(&order_id, format!("resource/{ordinal}").as_bytes())
}
