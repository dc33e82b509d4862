//! The neighbours: a cloud provider and a mail server, as processes of their own that are never
//! killed and keep ledgers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::process::Process;

/// The simulated cloud provider.
pub(crate) struct Provider {
    _process: Process,
    url: String,
    http: reqwest::Client,
}

/// The mail server.
pub(crate) struct Mail {
    _process: Process,
    /// `host:port` of SMTP.
    pub(crate) address: String,
    /// Where its control listens.
    pub(crate) control: String,
    http: reqwest::Client,
}

/// A mail as the mail server got it.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) to: Vec<String>,
    pub(crate) message_id: String,
    pub(crate) encrypted: bool,
    pub(crate) file: PathBuf,
}

fn http() -> reqwest::Client {
    #[expect(clippy::disallowed_methods, reason = "a test's own client")]
    reqwest::Client::builder()
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap()
}

impl Provider {
    pub(crate) async fn start(folder: &Path) -> Self {
        let arguments = [
            "provider-simulator",
            "--listen",
            "127.0.0.1:0",
            "--ledger",
            "provider.jsonl",
        ];
        let mut process = Process::start("provider", folder, &arguments, &[]);
        let url = format!("http://{}", process.address("listens on http://").await);
        Self {
            _process: process,
            url,
            http: http(),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Switches faults on; see `simulator::provider::Faults`.
    pub(crate) async fn faults(&self, faults: Value) {
        let url = format!("{}/control/faults", self.url);
        self.http
            .put(url)
            .json(&faults)
            .send()
            .await
            .unwrap()
            .error_for_status()
            .unwrap();
    }

    /// Deletes a server behind our back.
    pub(crate) async fn delete(&self, server: &str) {
        let url = format!("{}/v1/servers/{server}", self.url);
        let deleted = self.http.delete(url).send().await.unwrap();
        deleted.error_for_status().unwrap();
    }

    /// Creates a server behind our back that carries our label. Returns its id.
    pub(crate) async fn create_labelled(&self, order: &str) -> String {
        let body = json!({
            "name": "by-hand", "server_type": "sim-s", "region": "eu-central",
            "labels": { "managed-by": "customer-flow", "order": order },
        });
        let url = format!("{}/v1/servers", self.url);
        let created = self.http.post(url).json(&body).send().await.unwrap();
        let answer: Value = created.error_for_status().unwrap().json().await.unwrap();
        answer["server"]["id"].to_string()
    }

    /// Every create and delete that really happened.
    pub(crate) async fn ledger(&self) -> Vec<Value> {
        let url = format!("{}/control/ledger", self.url);
        let body: Value = self
            .http
            .get(url)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        body["entries"].as_array().cloned().unwrap_or_default()
    }

    /// The creates among them.
    pub(crate) async fn created(&self) -> Vec<Value> {
        self.ledger()
            .await
            .into_iter()
            .filter(|entry| entry["what"] == "create")
            .collect()
    }
}

impl Mail {
    /// A mail server, with further arguments of `flow mail-sink`.
    pub(crate) async fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut all = vec![
            "mail-sink",
            "--listen",
            "127.0.0.1:0",
            "--control",
            "127.0.0.1:0",
            "--folder",
            "mails",
        ];
        all.extend(arguments);
        std::fs::create_dir_all(folder.join("mails")).unwrap();
        let mut process = Process::start("mail", folder, &all, &[]);
        let address = process.address("taking mail on smtp://").await;
        let control = format!("http://{}", process.address("control on http://").await);
        Self {
            _process: process,
            address,
            control,
            http: http(),
        }
    }

    /// How many mails it has accepted, and when the last one.
    pub(crate) async fn count(&self) -> Option<(usize, DateTime<Utc>)> {
        let url = format!("{}/control/mails/count", self.control);
        let body: Value = self.http.get(url).send().await.ok()?.json().await.ok()?;
        let count = usize::try_from(body["count"].as_u64()?).ok()?;
        Some((count, serde_json::from_value(body["last"].clone()).ok()?))
    }

    /// Switches faults on; see `simulator::mail::Fault`.
    pub(crate) async fn faults(&self, faults: Value) {
        let url = format!("{}/control/faults", self.control);
        self.http
            .put(url)
            .json(&faults)
            .send()
            .await
            .unwrap()
            .error_for_status()
            .unwrap();
    }

    /// Every mail that was accepted.
    pub(crate) async fn accepted(&self) -> Vec<Accepted> {
        let url = format!("{}/control/mails", self.control);
        let body: Value = self
            .http
            .get(url)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let mails = body["mails"].as_array().cloned().unwrap_or_default();
        let mail = |mail: &Value| Accepted {
            to: serde_json::from_value(mail["to"].clone()).unwrap(),
            message_id: mail["message_id"].as_str().unwrap().to_owned(),
            encrypted: mail["encrypted"] == json!(true),
            file: PathBuf::from(mail["file"].as_str().unwrap()),
        };
        mails.iter().map(mail).collect()
    }
}
