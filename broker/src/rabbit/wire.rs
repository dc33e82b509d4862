//! Our properties and headers as AMQP's, and back.

use std::collections::BTreeMap;

use chrono::DateTime;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use serde_json::Value;

use crate::wire::{Properties, Received};

const PERSISTENT: u8 = 2;
/// The longest header value that is kept of a foreign message.
const MAX_HEADER: usize = 4096;

pub(super) fn to_amqp(properties: &Properties, user: &str) -> BasicProperties {
    let mut amqp = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        // Validated by the broker: it must be the user of the connection.
        .with_user_id(short(user));
    if let Some(id) = &properties.message_id {
        amqp = amqp.with_message_id(short(id));
    }
    if let Some(id) = &properties.correlation_id {
        amqp = amqp.with_correlation_id(short(id));
    }
    if let Some(kind) = &properties.kind {
        amqp = amqp.with_type(short(kind));
    }
    if let Some(content_type) = &properties.content_type {
        amqp = amqp.with_content_type(short(content_type));
    }
    if let Some(app) = &properties.app_id {
        amqp = amqp.with_app_id(short(app));
    }
    if let Some(at) = properties.timestamp {
        amqp = amqp.with_timestamp(u64::try_from(at.timestamp()).unwrap_or(0));
    }
    let mut headers = FieldTable::default();
    for (name, value) in &properties.headers {
        headers.insert(short(name), to_value(value));
    }
    amqp.with_headers(headers)
}

pub(super) fn from_amqp(delivery: &mut Delivery) -> Received {
    let text = |value: &Option<ShortString>| value.as_ref().map(ToString::to_string);
    let amqp = &delivery.properties;
    let headers = amqp.headers().as_ref().map(from_table).unwrap_or_default();
    Received {
        exchange: delivery.exchange.to_string(),
        routing_key: delivery.routing_key.to_string(),
        redelivered: delivery.redelivered,
        properties: Properties {
            message_id: text(amqp.message_id()),
            correlation_id: text(amqp.correlation_id()),
            kind: text(amqp.kind()),
            content_type: text(amqp.content_type()),
            timestamp: amqp
                .timestamp()
                .and_then(|seconds| DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0)),
            app_id: text(amqp.app_id()),
            user_id: text(amqp.user_id()),
            headers,
        },
        body: std::mem::take(&mut delivery.data),
    }
}

/// A short string, cut at AMQP's 255 bytes.
fn short(text: &str) -> ShortString {
    let end = (0..=text.len().min(255))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    let cut = end.and_then(|end| text.get(..end)).unwrap_or_default();
    ShortString::try_new(cut).unwrap_or_default()
}

fn to_value(value: &Value) -> AMQPValue {
    match value {
        Value::Bool(value) => AMQPValue::Boolean(*value),
        Value::Number(number) => AMQPValue::LongLongInt(number.as_i64().unwrap_or_default()),
        Value::String(text) => AMQPValue::LongString(text.clone().into()),
        other => AMQPValue::LongString(other.to_string().into()),
    }
}

fn from_table(table: &FieldTable) -> BTreeMap<String, Value> {
    table
        .inner()
        .iter()
        .map(|(name, value)| (name.to_string(), from_value(value)))
        .collect()
}

fn from_value(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => (*value).into(),
        AMQPValue::ShortShortInt(value) => (*value).into(),
        AMQPValue::ShortShortUInt(value) => (*value).into(),
        AMQPValue::ShortInt(value) => (*value).into(),
        AMQPValue::ShortUInt(value) => (*value).into(),
        AMQPValue::LongInt(value) => (*value).into(),
        AMQPValue::LongUInt(value) => (*value).into(),
        AMQPValue::LongLongInt(value) => (*value).into(),
        AMQPValue::Timestamp(value) => (*value).into(),
        AMQPValue::ShortString(text) => cut(text.to_string()),
        AMQPValue::LongString(text) => cut(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::FieldTable(table) => from_table(table).into_iter().collect(),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(from_value).collect(),
        AMQPValue::Void => Value::Null,
        other => cut(format!("{other:?}")),
    }
}

fn cut(mut text: String) -> Value {
    if text.len() > MAX_HEADER {
        text = text
            .chars()
            .take(MAX_HEADER / 4)
            .chain("…".chars())
            .collect();
    }
    text.into()
}
