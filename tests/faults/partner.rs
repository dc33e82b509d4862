//! A partner system: publishes straight to RabbitMQ, well and badly.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use reqwest::Method;
use schemas::Message;
use schemas::order::{OrderPlace, OrderRequest, order_id};
use schemas::topology::ORDERS;
use serde_json::json;
use uuid::Uuid;

use crate::scene::Scene;

/// A connection of a publisher with confirms.
pub(crate) struct Partner {
    _connection: Connection,
    channel: Channel,
}

/// A message as a publisher makes it.
#[derive(Clone)]
pub(crate) struct Letter {
    /// The order that it asks for.
    pub(crate) order_id: Uuid,
    pub(crate) exchange: &'static str,
    pub(crate) key: String,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Vec<u8>,
}

impl Partner {
    /// Connects to the virtual host of a scene as `user:password`.
    pub(crate) async fn connect(scene: &Scene, user: &str) -> Self {
        let (user, password) = user.split_once(':').expect("user:password");
        let url = format!("{}/{}", scene.rabbit.url_of(user, password), scene.vhost());
        let connection = Connection::connect(&url, ConnectionProperties::default()).await;
        let connection = connection.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let confirms = channel.confirm_select(ConfirmSelectOptions::default());
        confirms.await.unwrap();
        Self {
            _connection: connection,
            channel,
        }
    }

    /// Publishes and waits for the confirm.
    pub(crate) async fn send(&self, letter: &Letter) -> lapin::Result<()> {
        let publishing = self.channel.basic_publish(
            letter.exchange.into(),
            letter.key.as_str().into(),
            BasicPublishOptions::default(),
            &letter.body,
            letter.properties.clone(),
        );
        publishing.await?.await.map(drop)
    }

    /// Publishes many and waits for the confirm of each.
    pub(crate) async fn send_all(
        &self,
        letters: impl Iterator<Item = Letter>,
    ) -> lapin::Result<()> {
        let mut confirms = Vec::new();
        for letter in letters {
            let publishing = self.channel.basic_publish(
                letter.exchange.into(),
                letter.key.as_str().into(),
                BasicPublishOptions::default(),
                &letter.body,
                letter.properties.clone(),
            );
            confirms.push(publishing.await?);
        }
        for confirm in confirms {
            confirm.await?;
        }
        Ok(())
    }

    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }
}

impl Letter {
    /// A valid order of the scene's account under a reference of the partner's own.
    pub(crate) fn order(scene: &Scene, reference: &str, name: &str) -> Self {
        let account_id: Uuid = scene.system.account_id.parse().unwrap();
        let request: OrderRequest = serde_json::from_value(json!({
            "offering": "cloud-server", "plan": "s", "quantity": 1,
            "region": "eu-central", "name": name, "external_ref": reference,
        }))
        .unwrap();
        let order_id = order_id(account_id, request.external_ref.as_ref());
        let place = OrderPlace {
            order_id: Some(order_id),
            account_id,
            placed_at: Some(chrono::Utc::now()),
            request,
        };
        Self {
            order_id,
            exchange: ORDERS,
            key: format!("partner.{}", OrderPlace::KIND),
            properties: BasicProperties::default()
                .with_type(OrderPlace::KIND.into())
                .with_content_type("application/json".into())
                .with_message_id(Uuid::now_v7().to_string().into())
                .with_correlation_id(order_id.to_string().into())
                .with_user_id("flow".into())
                .with_delivery_mode(2),
            body: serde_json::to_vec(&place).unwrap(),
        }
    }

    /// The same letter with another body.
    pub(crate) fn with_body(&self, body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..self.clone()
        }
    }

    /// The same letter with other properties.
    pub(crate) fn with(&self, change: impl FnOnce(BasicProperties) -> BasicProperties) -> Self {
        Self {
            properties: change(self.properties.clone()),
            ..self.clone()
        }
    }

    /// The same letter with these headers.
    pub(crate) fn with_headers(&self, headers: &[(&str, AMQPValue)]) -> Self {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert((*name).into(), value.clone());
        }
        self.with(|properties| properties.with_headers(table))
    }
}

/// A text as the value of a header.
pub(crate) fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(text))
}

/// Creates a user who may write to the public entries and nothing else. Returns `user:password`.
pub(crate) async fn outsider(scene: &Scene) -> String {
    let user = format!("outsider-{}", Uuid::now_v7().simple());
    let rabbit = &scene.rabbit;
    let account = json!({ "password": "secret", "tags": "" });
    rabbit
        .call(Method::PUT, &format!("users/{user}"), account)
        .await;
    let permissions =
        json!({ "configure": "^$", "write": "^(orders|tickets|invoices)$", "read": "^$" });
    let path = format!("permissions/{}/{user}", scene.vhost());
    rabbit.call(Method::PUT, &path, permissions).await;
    format!("{user}:secret")
}
