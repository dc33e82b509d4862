//! A partner system, with a broker user of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::Value;
use uuid::Uuid;

use super::suite::Servers;
use super::system::System;

/// A partner system that was let in.
pub(crate) struct Partner {
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) url: String,
}

/// A connection of it.
pub(crate) struct Session {
    name: String,
    pub(crate) connection: Connection,
    pub(crate) channel: Channel,
}

impl Partner {
    /// Lets one in for these accounts.
    pub(crate) async fn create(system: &System, accounts: &[&str]) -> Self {
        let name = format!("acme-{}", Uuid::now_v7().simple());
        let accounts = accounts.join(",");
        let create = ["publisher", "create", &name, "--accounts", &accounts];
        let printed = administer(system, &create).await;
        assert!(printed.contains(&format!("answers.{name}")), "{printed}");
        Self {
            password: word_behind(&printed, "password"),
            url: system.vhost.as_ref().unwrap().url(),
            name,
        }
    }

    pub(crate) async fn connect(&self) -> lapin::Result<Session> {
        let mut url: url::Url = self.url.parse().unwrap();
        url.set_username(&self.name).unwrap();
        url.set_password(Some(&self.password)).unwrap();
        let connection = Connection::connect(url.as_str(), ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(Session {
            name: self.name.clone(),
            connection,
            channel,
        })
    }

    pub(crate) async fn end(&self, system: &System) {
        administer(system, &["publisher", "revoke", &self.name]).await;
    }
}

impl Session {
    pub(crate) fn properties(&self, kind: &str) -> BasicProperties {
        BasicProperties::default()
            .with_type(kind.into())
            .with_content_type("application/json".into())
            .with_message_id(Uuid::now_v7().to_string().into())
            .with_user_id(self.name.as_str().into())
            .with_delivery_mode(2)
    }

    /// Publishes as it should be done, and waits for the confirm.
    pub(crate) async fn send(&self, exchange: &str, kind: &str, body: &Value) -> lapin::Result<()> {
        let key = format!("{}.{kind}", self.name);
        let properties = self.properties(kind);
        self.publish(exchange, &key, properties, body).await
    }

    /// Places an order as it should be done.
    pub(crate) async fn order(&self, body: &Value) -> lapin::Result<()> {
        self.send("orders", "order.place.v1", body).await
    }

    pub(crate) async fn publish(
        &self,
        exchange: &str,
        key: &str,
        properties: BasicProperties,
        body: &Value,
    ) -> lapin::Result<()> {
        let (body, options) = (body.to_string(), BasicPublishOptions::default());
        let publishing = self.channel.basic_publish(
            exchange.into(),
            key.into(),
            options,
            body.as_bytes(),
            properties,
        );
        publishing.await?.await.map(drop)
    }

    /// Reads answers until one of each of these kinds is there. Returns all of them.
    pub(crate) async fn answers(&self, kinds: &[&str]) -> Vec<(String, Value)> {
        let queue = format!("answers.{}", self.name);
        let channel = self.connection.create_channel().await.unwrap();
        let consuming = channel.basic_consume(
            queue.as_str().into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let mut deliveries = consuming.await.unwrap();
        let mut missing: BTreeSet<&str> = kinds.iter().copied().collect();
        let mut answers = Vec::new();
        let reading = async {
            while !missing.is_empty() {
                let delivery = deliveries.next().await.unwrap().unwrap();
                delivery
                    .acker
                    .ack(BasicAckOptions::default())
                    .await
                    .unwrap();
                let kind = delivery.properties.kind().as_ref().unwrap().to_string();
                missing.remove(kind.as_str());
                answers.push((kind, serde_json::from_slice(&delivery.data).unwrap()));
            }
        };
        let read = tokio::time::timeout(Duration::from_secs(60), reading).await;
        assert!(read.is_ok(), "{missing:?} are missing: {answers:?}");
        channel.close(200, "read".into()).await.unwrap();
        answers
    }
}

/// Runs a command with the management API of RabbitMQ.
pub(crate) async fn administer(system: &System, arguments: &[&str]) -> String {
    let api = Servers::of_environment().amqp_admin;
    let mut all = arguments.to_vec();
    all.extend(["--admin-url", &api]);
    system.flow(&all).await
}

/// The answer of this kind.
pub(crate) fn of_kind<'a>(answers: &'a [(String, Value)], kind: &str) -> &'a Value {
    let answer = answers.iter().find(|(known, _)| known == kind);
    &answer.expect("an answer").1
}

/// The word behind a label at the beginning of a line.
pub(crate) fn word_behind(text: &str, label: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    let word = line.and_then(|line| line.split_whitespace().next());
    word.expect("it is printed").to_owned()
}
