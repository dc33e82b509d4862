//! Orders: the request for a resource.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::message::Message;
use crate::topology;
use crate::values::{Code, ExternalRef, Name, ResourceName};

/// What a customer asks for; the body of `POST /v1/orders`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderRequest {
    /// The offering in the catalogue.
    pub offering: Code,
    /// The plan of that offering.
    pub plan: Code,
    /// How many resources. 1 if it is missing.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = MAX_QUANTITY))]
    pub quantity: u32,
    /// The region of the offering to create them in.
    pub region: Code,
    /// The name of the resource; with a quantity above 1 they are numbered behind it.
    pub name: ResourceName,
    /// The caller's own reference, unique per account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ref: Option<ExternalRef>,
}

/// The most resources one order may ask for.
pub const MAX_QUANTITY: u32 = 100;

fn one() -> u32 {
    1
}

impl OrderRequest {
    /// SHA-256 of what is asked for, in hex: equal for requests that mean the same, however they
    /// were written down. Tells a repeated request from another one under the same key.
    pub fn sha256(&self) -> String {
        let canonical = serde_json::to_vec(self).expect("a struct of strings and integers");
        data_encoding::HEXLOWER.encode(&Sha256::digest(canonical))
    }
}

/// `order.place.v1`: an account asks for a resource.
///
/// A partner system says which account asks for what, under an `external_ref`. The rest is for the
/// ingress to say; from anybody else it is not believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderPlace {
    /// The order's id, which follows from the account and the reference. From an ingress only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<Uuid>,
    /// The account that orders and will be invoiced.
    pub account_id: Uuid,
    /// When it was accepted. From an ingress only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placed_at: Option<DateTime<Utc>>,
    /// What is ordered.
    pub request: OrderRequest,
}

impl Message for OrderPlace {
    const KIND: &'static str = "order.place.v1";
    const EXCHANGE: &'static str = topology::ORDERS;
}

/// `order.cancel.v1`: an account takes an order back, before or while its resources are created.
///
/// Once is enough: an order is cancelled once, however often it is asked for. An order whose
/// resources are all active cannot be cancelled; they can be terminated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderCancel {
    /// The account whose order it is.
    pub account_id: Uuid,
    /// The order, as `order.accepted.v1` names it.
    pub order_id: Uuid,
    /// When it was asked for. From an ingress only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<DateTime<Utc>>,
    /// Why, in the account's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Name>,
}

impl Message for OrderCancel {
    const KIND: &'static str = "order.cancel.v1";
    const EXCHANGE: &'static str = topology::ORDERS;
}

/// The id of the request to cancel an order; there is one.
pub fn cancellation_id(order_id: Uuid) -> Uuid {
    Uuid::new_v5(&order_id, b"cancellation")
}

/// The id of the order that `account_id` asks for under `key`.
///
/// The key is the `Idempotency-Key` over HTTP or the `external_ref` in messages, in one namespace:
/// the same key is the same order, whichever way and however often it arrives. Without a key every
/// request is an order of its own.
pub fn order_id(account_id: Uuid, key: Option<&ExternalRef>) -> Uuid {
    match key {
        Some(key) => Uuid::new_v5(&account_id, format!("order/{key}").as_bytes()),
        None => Uuid::now_v7(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_key_is_the_same_order_for_one_account_only() {
        let (a, b) = (Uuid::now_v7(), Uuid::now_v7());
        let key: ExternalRef = "order-1".parse().unwrap();
        assert_eq!(order_id(a, Some(&key)), order_id(a, Some(&key)));
        assert_ne!(order_id(a, Some(&key)), order_id(b, Some(&key)));
        assert_ne!(order_id(a, None), order_id(a, None));
    }

    #[test]
    fn the_hash_sees_meaning_and_not_spelling() {
        let json =
            r#"{"offering":"cloud-server","plan":"s","quantity":1,"region":"eu","name":"web"}"#;
        let spaced = json.replace(',', " ,\n ");
        let one: OrderRequest = serde_json::from_str(json).unwrap();
        let two: OrderRequest = serde_json::from_str(&spaced).unwrap();
        assert_eq!(one.sha256(), two.sha256());
        let other = OrderRequest {
            quantity: 2,
            ..one.clone()
        };
        assert_ne!(one.sha256(), other.sha256());
    }
}
