//! What the broker user of a partner system may do: publish to the public entries under its own
//! prefix, and read its own answers. <https://www.rabbitmq.com/docs/access-control>

use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::{Method, StatusCode};
use schemas::topology::{INVOICES, ORDERS, TICKETS};
use serde_json::{Value, json};
use url::Url;

const TIMEOUT: Duration = Duration::from_secs(10);
/// The exchanges that partner systems publish to.
const ENTRIES: [&str; 3] = [ORDERS, TICKETS, INVOICES];
/// Matches nothing.
const NOTHING: &str = "^$";

/// The least rights that a partner system can work with, in one virtual host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The broker user.
    pub user: String,
    /// The virtual host.
    pub vhost: String,
    /// The queue that it reads.
    pub answers: String,
}

impl Access {
    fn write(&self) -> String {
        format!("^({})$", ENTRIES.join("|"))
    }

    fn read(&self) -> String {
        format!("^{}$", self.answers.replace('.', "\\."))
    }

    /// Routing keys that it may publish with: `<user>.` and anything.
    fn prefix(&self) -> String {
        format!("^{}\\.", self.user)
    }

    /// The lines that grant this, for somebody who has `rabbitmqctl` rather than the management API.
    pub fn rabbitmqctl(&self, password: &str) -> Vec<String> {
        let (user, vhost) = (&self.user, &self.vhost);
        let mut lines = vec![
            format!("rabbitmqctl add_user {user} '{password}'"),
            format!(
                "rabbitmqctl set_permissions -p '{vhost}' {user} '{NOTHING}' '{}' '{}'",
                self.write(),
                self.read()
            ),
        ];
        lines.extend(ENTRIES.map(|exchange| {
            let prefix = self.prefix();
            format!(
                "rabbitmqctl set_topic_permissions -p '{vhost}' {user} {exchange} '{prefix}' '{NOTHING}'"
            )
        }));
        lines
    }
}

/// The management API of RabbitMQ.
pub struct Admin {
    http: reqwest::Client,
    base: Url,
}

impl Admin {
    /// The API at `url`: `http://user:password@host:15672`.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(url: Url) -> anyhow::Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "the one client of this API")]
        let builder = reqwest::Client::builder();
        let http = builder.timeout(TIMEOUT).build();
        Ok(Self {
            http: http.context("set up the client of the management API")?,
            base: url,
        })
    }

    /// Whether the broker has a user of this name.
    ///
    /// # Errors
    /// When the API cannot be reached, or refuses.
    pub async fn knows(&self, user: &str) -> anyhow::Result<bool> {
        match self.call(Method::GET, &["users", user], None).await? {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            status => anyhow::bail!("the management API answers {status} to GET /api/users/{user}"),
        }
    }

    /// Creates the user with this password, or gives it a new one, and grants what it may do.
    ///
    /// # Errors
    /// When the API cannot be reached, or refuses.
    pub async fn grant(&self, access: &Access, password: &str) -> anyhow::Result<()> {
        let Access { user, vhost, .. } = access;
        self.set_password(user, password).await?;
        let permissions =
            json!({ "configure": NOTHING, "write": access.write(), "read": access.read() });
        self.put(&["permissions", vhost, user], permissions).await?;
        for exchange in ENTRIES {
            let topics = json!({ "exchange": exchange, "write": access.prefix(), "read": NOTHING });
            self.put(&["topic-permissions", vhost, user], topics)
                .await?;
        }
        Ok(())
    }

    /// Gives the user a new password. Connections that are open stay open.
    ///
    /// # Errors
    /// When the API cannot be reached, or refuses.
    pub async fn set_password(&self, user: &str, password: &str) -> anyhow::Result<()> {
        let account = json!({ "password": password, "tags": "" });
        self.put(&["users", user], account).await
    }

    /// Removes the user; RabbitMQ closes its connections. It need not exist.
    ///
    /// # Errors
    /// When the API cannot be reached, or refuses.
    pub async fn remove(&self, user: &str) -> anyhow::Result<()> {
        let status = self.call(Method::DELETE, &["users", user], None).await?;
        ensure!(
            status.is_success() || status == StatusCode::NOT_FOUND,
            "the management API answers {status}"
        );
        Ok(())
    }

    async fn put(&self, path: &[&str], body: Value) -> anyhow::Result<()> {
        let status = self.call(Method::PUT, path, Some(body)).await?;
        ensure!(
            status.is_success(),
            "the management API answers {status} to PUT /api/{}; the user in its URL must be an administrator",
            path.join("/")
        );
        Ok(())
    }

    async fn call(
        &self,
        method: Method,
        path: &[&str],
        body: Option<Value>,
    ) -> anyhow::Result<StatusCode> {
        let mut url = self.base.clone();
        let (user, password) = (url.username().to_owned(), url.password().map(str::to_owned));
        url.set_username("").ok();
        url.set_password(None).ok();
        url.path_segments_mut()
            .ok()
            .context("the URL of the management API must begin with http:// or https://")?
            .pop_if_empty()
            .push("api")
            .extend(path);
        let mut request = self.http.request(method, url).basic_auth(user, password);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.map_err(reqwest::Error::without_url);
        Ok(answer
            .context("call the management API of RabbitMQ")?
            .status())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_lines_grant_the_entries_under_the_own_prefix_and_the_own_answers() {
        let access = Access {
            user: "acme".to_owned(),
            vhost: "/".to_owned(),
            answers: "answers.acme".to_owned(),
        };
        let lines = access.rabbitmqctl("secret");
        assert_eq!(
            lines[1],
            r"rabbitmqctl set_permissions -p '/' acme '^$' '^(orders|tickets|invoices)$' '^answers\.acme$'"
        );
        assert_eq!(
            lines[2],
            r"rabbitmqctl set_topic_permissions -p '/' acme orders '^acme\.' '^$'"
        );
        assert_eq!(lines.len(), 5);
    }
}
