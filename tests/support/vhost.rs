//! A virtual host of RabbitMQ for one story, over the management API.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::suite::Servers;
use super::wait::eventually;

/// The password of users that [`Vhost::add_user`] creates.
pub(crate) const STRANGER: &str = "stranger";

/// A virtual host, removed by [`Vhost::remove`].
pub(crate) struct Vhost {
    name: String,
    admin: Admin,
    server: reqwest::Url,
}

#[derive(Clone)]
struct Admin {
    http: reqwest::Client,
    base: reqwest::Url,
    user: String,
    password: String,
}

impl Admin {
    fn new(url: &str) -> Self {
        let mut base: reqwest::Url = url.parse().unwrap();
        let (user, password) = (
            base.username().to_owned(),
            base.password().unwrap_or_default().to_owned(),
        );
        base.set_username("").unwrap();
        base.set_password(None).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test's own client")]
        let http = reqwest::Client::builder().build().unwrap();
        Self {
            http,
            base,
            user,
            password,
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::Result<Value> {
        let url = format!("{}{path}", self.base);
        let mut request = self
            .http
            .request(method, url)
            .basic_auth(&self.user, Some(&self.password));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?.error_for_status()?;
        Ok(serde_json::from_str(&response.text().await?).unwrap_or(Value::Null))
    }
}

impl Vhost {
    /// Creates a virtual host that the user of the tests may do everything in.
    pub(crate) async fn create() -> Self {
        Self::create_on(&Servers::of_environment()).await
    }

    /// Creates one on one of several servers.
    pub(crate) async fn create_on(servers: &Servers) -> Self {
        let vhost = Self {
            name: format!("test-{}", Uuid::now_v7()),
            admin: Admin::new(&servers.amqp_admin),
            server: servers.amqp.parse().unwrap(),
        };
        vhost.declare().await;
        vhost
    }

    /// Creates it on its server, again if the server has forgotten it.
    pub(crate) async fn declare(&self) {
        let (name, admin) = (&self.name, &self.admin);
        admin
            .call(Method::PUT, &format!("api/vhosts/{name}"), Some(json!({})))
            .await
            .unwrap();
        let everything = json!({ "configure": ".*", "write": ".*", "read": ".*" });
        let path = format!("api/permissions/{name}/{}", admin.user);
        admin
            .call(Method::PUT, &path, Some(everything))
            .await
            .unwrap();
    }

    /// The URL of the virtual host.
    pub(crate) fn url(&self) -> String {
        self.url_at(&self.server)
    }

    /// The URL of the virtual host behind a proxy that listens on `port`.
    pub(crate) fn url_through(&self, port: u16) -> String {
        let mut url = self.server.clone();
        url.set_port(Some(port)).unwrap();
        self.url_at(&url)
    }

    fn url_at(&self, server: &reqwest::Url) -> String {
        format!("{}/{}", server.as_str().trim_end_matches('/'), self.name)
    }

    /// Creates a broker user with the password [`STRANGER`], who may do everything here.
    pub(crate) async fn add_user(&self, user: &str) {
        self.add_user_with(user, STRANGER).await;
    }

    /// Creates a broker user with this password, who may do everything here. Returns the URL of the
    /// virtual host for that one.
    pub(crate) async fn add_user_with(&self, user: &str, password: &str) -> String {
        let account = json!({ "password": password, "tags": "" });
        let path = format!("api/users/{user}");
        let added = self.admin.call(Method::PUT, &path, Some(account)).await;
        added.unwrap();
        let everything = json!({ "configure": ".*", "write": ".*", "read": ".*" });
        let path = format!("api/permissions/{}/{user}", self.name);
        let granted = self.admin.call(Method::PUT, &path, Some(everything)).await;
        granted.unwrap();
        let mut server = self.server.clone();
        server.set_username(user).unwrap();
        server.set_password(Some(password)).unwrap();
        self.url_at(&server)
    }

    /// Removes a broker user.
    pub(crate) async fn remove_user(&self, user: &str) {
        let path = format!("api/users/{user}");
        self.admin.call(Method::DELETE, &path, None).await.unwrap();
    }

    /// Deletes a queue.
    pub(crate) async fn delete_queue(&self, queue: &str) {
        let path = format!("api/queues/{}/{queue}", self.name);
        self.admin.call(Method::DELETE, &path, None).await.unwrap();
    }

    /// Deletes every queue with what is in it, as if the broker had lost its disk.
    pub(crate) async fn delete_every_queue(&self) {
        let path = format!("api/queues/{}", self.name);
        let queues = self.admin.call(Method::GET, &path, None).await.unwrap();
        for queue in queues.as_array().unwrap() {
            self.delete_queue(queue["name"].as_str().unwrap()).await;
        }
    }

    /// Deletes an exchange.
    pub(crate) async fn delete_exchange(&self, exchange: &str) {
        let path = format!("api/exchanges/{}/{exchange}", self.name);
        self.admin.call(Method::DELETE, &path, None).await.unwrap();
    }

    /// Closes every connection to the virtual host, as an operator or a restart would. Waits until
    /// there is one to close.
    pub(crate) async fn close_connections(&self) {
        let path = format!("api/vhosts/{}/connections", self.name);
        let names = eventually("a connection", async || {
            let connections = self.admin.call(Method::GET, &path, None).await.ok()?;
            let names: Vec<String> = connections
                .as_array()?
                .iter()
                .filter_map(|connection| connection["name"].as_str().map(str::to_owned))
                .collect();
            (!names.is_empty()).then_some(names)
        })
        .await;
        for name in names {
            let mut url = self.admin.base.clone();
            url.path_segments_mut()
                .unwrap()
                .clear()
                .extend(["api", "connections", &name]);
            // It may be gone already.
            let request = self
                .admin
                .http
                .delete(url)
                .basic_auth(&self.admin.user, Some(&self.admin.password));
            request.send().await.unwrap();
        }
    }

    /// Removes the virtual host with everything in it.
    pub(crate) async fn remove(self) {
        let path = format!("api/vhosts/{}", self.name);
        self.admin.call(Method::DELETE, &path, None).await.unwrap();
    }
}
