//! The published contract: a JSON Schema for each kind of message, and the AsyncAPI document of what
//! partner systems publish and read. Both are made from the types, and committed in `docs/contract/`.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use crate::document::DocumentRender;
use crate::email::EmailSend;
use crate::event::{
    CreditNoteIssued, InvoiceDelivered, InvoiceIssued, InvoiceVoided, MessageRejected,
    OrderAccepted, OrderCancelled, OrderCompleted, OrderFailed, OrderRejected, PaymentRecorded,
    RequestRejected, ResourceTerminated, TicketAnswered, TicketChanged, TicketOpened,
    TicketRejected,
};
use crate::invoice::{InvoiceHandle, InvoiceIssue, InvoiceRequest, InvoiceSettle};
use crate::message::Message;
use crate::order::{OrderCancel, OrderPlace};
use crate::provision::{ResourceDeprovision, ResourceProvision, ResourceTerminate, UsageRead};
use crate::ticket::{TicketHandle, TicketRaise, TicketReply};
use crate::topology::{self, EVENTS};

/// Where the schemas are published, under the kind and `.json`.
pub const SCHEMAS: &str = "https://customer-flow.dev/schemas/";

/// Who publishes a kind of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Partner systems, and the ingress.
    Entry,
    /// Customer Flow, for whoever may listen.
    Fact,
    /// Customer Flow, for itself: no part of the contract with anybody else.
    Command,
}

/// A kind of message.
#[derive(Debug, Clone)]
pub struct Kind {
    /// Property `type`.
    pub name: &'static str,
    /// The exchange that it is published to.
    pub exchange: &'static str,
    /// Who publishes it.
    pub role: Role,
    generate: fn(SchemaSettings) -> Schema,
}

impl Kind {
    fn of<M: Message + JsonSchema>() -> Self {
        Self {
            name: M::KIND,
            exchange: M::EXCHANGE,
            role: match M::EXCHANGE {
                topology::ORDERS | topology::TICKETS | topology::INVOICES => Role::Entry,
                EVENTS => Role::Fact,
                _ => Role::Command,
            },
            generate: |settings| settings.into_generator().into_root_schema_for::<M>(),
        }
    }

    /// The JSON Schema (2020-12) of the payload. Unknown fields are allowed: fields are only ever
    /// added to a kind.
    pub fn json_schema(&self) -> Value {
        let schema = (self.generate)(settings(SchemaSettings::draft2020_12()));
        let mut document = Map::new();
        document.insert(
            "$id".to_owned(),
            format!("{SCHEMAS}{}.json", self.name).into(),
        );
        document.extend(schema.as_object().cloned().unwrap_or_default());
        document.insert("title".to_owned(), self.name.into());
        Value::Object(document)
    }

    /// The schema as AsyncAPI takes it: draft 7, without the head.
    fn payload(&self) -> Value {
        let schema = (self.generate)(settings(SchemaSettings::draft07()));
        let mut schema = schema.as_object().cloned().unwrap_or_default();
        schema.remove("$schema");
        schema.insert("title".to_owned(), self.name.into());
        Value::Object(schema)
    }

    fn summary(&self) -> String {
        let described = self.json_schema()["description"].clone();
        let text = described.as_str().unwrap_or_default();
        let first = text.split("\n\n").next().unwrap_or_default();
        let sentence = first.split_once(": ").map_or(first, |(_, behind)| behind);
        sentence.replace('\n', " ")
    }
}

/// Whole: every schema stands for itself.
fn settings(settings: SchemaSettings) -> SchemaSettings {
    settings.with(|settings| settings.inline_subschemas = true)
}

/// Every kind of message.
pub fn kinds() -> Vec<Kind> {
    vec![
        Kind::of::<OrderPlace>(),
        Kind::of::<OrderAccepted>(),
        Kind::of::<OrderCompleted>(),
        Kind::of::<OrderFailed>(),
        Kind::of::<OrderRejected>(),
        Kind::of::<OrderCancel>(),
        Kind::of::<OrderCancelled>(),
        Kind::of::<ResourceTerminate>(),
        Kind::of::<ResourceTerminated>(),
        Kind::of::<RequestRejected>(),
        Kind::of::<InvoiceRequest>(),
        Kind::of::<InvoiceIssued>(),
        Kind::of::<InvoiceDelivered>(),
        Kind::of::<InvoiceVoided>(),
        Kind::of::<CreditNoteIssued>(),
        Kind::of::<PaymentRecorded>(),
        Kind::of::<TicketRaise>(),
        Kind::of::<TicketReply>(),
        Kind::of::<TicketOpened>(),
        Kind::of::<TicketAnswered>(),
        Kind::of::<TicketChanged>(),
        Kind::of::<TicketRejected>(),
        Kind::of::<MessageRejected>(),
        Kind::of::<ResourceProvision>(),
        Kind::of::<ResourceDeprovision>(),
        Kind::of::<InvoiceIssue>(),
        Kind::of::<InvoiceSettle>(),
        Kind::of::<InvoiceHandle>(),
        Kind::of::<UsageRead>(),
        Kind::of::<DocumentRender>(),
        Kind::of::<EmailSend>(),
        Kind::of::<TicketHandle>(),
    ]
}

/// The AsyncAPI document (3.0) of what partner systems publish and read.
/// <https://www.asyncapi.com/docs/reference/specification/v3.0.0>
pub fn asyncapi() -> Value {
    let kinds = kinds();
    let of = |role: Role| kinds.iter().filter(move |kind| kind.role == role);
    let reference = |kind: &Kind| {
        let target = format!("#/components/messages/{}", kind.name);
        (kind.name.to_owned(), json!({ "$ref": target }))
    };
    let message = |kind: &Kind| {
        let value = json!({
            "name": kind.name,
            "title": kind.name,
            "summary": kind.summary(),
            "contentType": "application/json",
            "payload": kind.payload(),
            "bindings": { "amqp": { "messageType": kind.name, "bindingVersion": "0.3.0" } },
        });
        (kind.name.to_owned(), value)
    };
    let messages: Map<String, Value> = of(Role::Entry).chain(of(Role::Fact)).map(message).collect();
    let publisher = json!({ "description": "The broker user of the partner system." });
    let entry = |exchange: &'static str, title: &str| {
        let to_it = of(Role::Entry).filter(|kind| kind.exchange == exchange);
        json!({
            "address": "{publisher}.{kind}",
            "title": title,
            "description": "A topic exchange; the address is the routing key, with the kind of the \
                            message.",
            "parameters": {
                "publisher": publisher,
                "kind": { "description": "The kind of the message." },
            },
            "messages": to_it.map(reference).collect::<Map<_, _>>(),
            "bindings": { "amqp": {
                "is": "routingKey",
                "exchange": { "name": exchange, "type": "topic", "durable": true },
                "bindingVersion": "0.3.0",
            } },
        })
    };
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Customer Flow for partner systems",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
        },
        "defaultContentType": "application/json",
        "channels": {
            "orders": entry(topology::ORDERS, "The entry for orders"),
            "tickets": entry(topology::TICKETS, "The entry for tickets"),
            "invoices": entry(topology::INVOICES, "The entry for requests for invoices"),
            "answers": {
                "address": "answers.{publisher}",
                "title": "What became of it",
                "description": "A queue with every fact about the accounts of the partner system, \
                                and what is said of its messages. A queue that is not read keeps \
                                the newest 100,000.",
                "parameters": { "publisher": publisher },
                "messages": of(Role::Fact).map(reference).collect::<Map<_, _>>(),
                "bindings": { "amqp": {
                    "is": "queue",
                    "queue": { "name": "answers.{publisher}", "durable": true },
                    "bindingVersion": "0.3.0",
                } },
            },
        },
        "operations": {
            "takeOrders": {
                "action": "receive",
                "channel": { "$ref": "#/channels/orders" },
                "summary": "A partner system places or cancels an order, or terminates a resource.",
            },
            "takeTickets": {
                "action": "receive",
                "channel": { "$ref": "#/channels/tickets" },
                "summary": "A partner system raises a ticket or replies to one.",
            },
            "takeInvoiceRequests": {
                "action": "receive",
                "channel": { "$ref": "#/channels/invoices" },
                "summary": "A partner system asks for an invoice.",
            },
            "answer": {
                "action": "send",
                "channel": { "$ref": "#/channels/answers" },
                "summary": "Customer Flow says what became of it.",
            },
        },
        "components": { "messages": messages },
    })
}

const ABOUT: &str = "Partner systems publish straight to RabbitMQ, with credentials of their own \
(`flow publisher create`), and need no HTTP.\n\n\
Set the properties `type` (the kind), `content_type` (`application/json`), `message_id`, `user_id` \
(your user; the broker checks it) and `delivery_mode` 2, publish as mandatory, and wait for the \
confirm. `external_ref` is required, and makes a message that comes again the same order.";

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn folder() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/contract"))
    }

    fn committed(name: &str) -> Value {
        let path = folder().join(name);
        let text = std::fs::read_to_string(&path);
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn the_committed_contract_is_the_one_of_the_code() {
        let hint = "run flow contract write docs/contract";
        for kind in kinds() {
            let name = format!("schemas/{}.json", kind.name);
            assert_eq!(committed(&name), kind.json_schema(), "{hint}");
        }
        assert_eq!(committed("asyncapi.json"), asyncapi(), "{hint}");
    }

    #[test]
    fn the_document_is_valid_asyncapi() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/specs/asyncapi-3.0.json"
        );
        let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let document = asyncapi();
        let errors: Vec<_> = validator.iter_errors(&document).collect();
        assert!(errors.is_empty(), "{errors:?}");
        assert!(!validator.is_valid(&json!({ "asyncapi": "3.0.0" })));
    }

    /// The examples are messages as they were published once. They are never changed: whoever
    /// published or read them must be able to do so for ever.
    #[test]
    fn every_message_that_was_ever_published_is_still_understood() {
        for kind in kinds().iter().filter(|kind| kind.role != Role::Command) {
            let example = committed(&format!("examples/{}.json", kind.name));
            let schema = kind.json_schema();
            assert!(jsonschema::meta::is_valid(&schema), "{}", kind.name);
            if let Err(error) = validator(&schema).validate(&example) {
                panic!("{} is not what it was: {error}", kind.name);
            }
            let read = again(kind.name, &example);
            assert_eq!(read, example, "{} loses fields", kind.name);
        }
    }

    /// One that looks at formats too.
    fn validator(schema: &Value) -> jsonschema::Validator {
        let options = jsonschema::options().should_validate_formats(true);
        options.build(schema).unwrap()
    }

    /// Read as its type and written again.
    fn again(kind: &str, example: &Value) -> Value {
        fn of<M: Message>(kind: &str, example: &Value) -> Option<Value> {
            (M::KIND == kind).then(|| {
                let read: M = serde_json::from_value(example.clone()).unwrap();
                serde_json::to_value(read).unwrap()
            })
        }
        of::<OrderPlace>(kind, example)
            .or_else(|| of::<OrderAccepted>(kind, example))
            .or_else(|| of::<OrderCompleted>(kind, example))
            .or_else(|| of::<OrderFailed>(kind, example))
            .or_else(|| of::<OrderRejected>(kind, example))
            .or_else(|| of::<OrderCancel>(kind, example))
            .or_else(|| of::<OrderCancelled>(kind, example))
            .or_else(|| of::<ResourceTerminate>(kind, example))
            .or_else(|| of::<ResourceTerminated>(kind, example))
            .or_else(|| of::<RequestRejected>(kind, example))
            .or_else(|| of::<InvoiceRequest>(kind, example))
            .or_else(|| of::<InvoiceIssued>(kind, example))
            .or_else(|| of::<InvoiceDelivered>(kind, example))
            .or_else(|| of::<InvoiceVoided>(kind, example))
            .or_else(|| of::<CreditNoteIssued>(kind, example))
            .or_else(|| of::<PaymentRecorded>(kind, example))
            .or_else(|| of::<TicketRaise>(kind, example))
            .or_else(|| of::<TicketReply>(kind, example))
            .or_else(|| of::<TicketOpened>(kind, example))
            .or_else(|| of::<TicketAnswered>(kind, example))
            .or_else(|| of::<TicketChanged>(kind, example))
            .or_else(|| of::<TicketRejected>(kind, example))
            .or_else(|| of::<MessageRejected>(kind, example))
            .unwrap()
    }

    #[test]
    fn what_a_type_refuses_its_schema_refuses_too() {
        let good = committed("examples/order.place.v1.json");
        let schema = kinds()[0].json_schema();
        for (pointer, bad) in [
            ("/request/plan", json!("XL plan")),
            ("/request/name", json!("under_score")),
            ("/request/external_ref", json!("with blank")),
            ("/request/quantity", json!(0)),
            ("/request/quantity", json!("1")),
            ("/account_id", json!("nobody")),
            ("/request", json!(null)),
        ] {
            let mut order = good.clone();
            *order.pointer_mut(pointer).unwrap() = bad;
            let valid = validator(&schema).is_valid(&order);
            assert!(!valid, "{pointer} {order}");
        }
    }
}
