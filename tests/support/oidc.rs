//! A certified OpenID Connect server as a foreign issuer: the npm package oidc-provider, run by node.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Child;

use super::process::command;
use super::suite::environment;
use super::wait::eventually;

/// What its tokens for us have as audience.
pub(crate) const AUDIENCE: &str = "customer-flow";

/// A running server; see `tests/oidc/server.mjs`. It is killed when it is dropped.
pub(crate) struct Oidc {
    _process: Child,
    /// Its issuer identifier.
    pub(crate) issuer: String,
    control: String,
    http: reqwest::Client,
}

impl Oidc {
    /// Starts a server with its output in `folder`.
    pub(crate) async fn start(folder: &Path) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oidc/server.mjs");
        let packages = environment("TEST_OIDC").unwrap();
        let log = folder.join("oidc.out");
        let process = command("node")
            .args([script, &packages])
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&log).unwrap())
            .stderr(std::fs::File::create(folder.join("oidc.err")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let said = eventually("the OpenID Connect server to start", async || {
            let said = std::fs::read_to_string(&log).unwrap();
            said.contains(" .\n").then_some(said)
        })
        .await;
        let after = |marker: &str| {
            let (_, rest) = said.split_once(marker).unwrap();
            rest.split(' ').next().unwrap().to_owned()
        };
        #[expect(clippy::disallowed_methods, reason = "a test's own client")]
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        Self {
            _process: process,
            issuer: after("issuer on "),
            control: after("control on "),
            http,
        }
    }

    /// A token as the server issues it.
    pub(crate) async fn token(&self, client: &str, scope: &str) -> String {
        let request = self
            .http
            .post(format!("{}/token", self.issuer))
            .basic_auth(client, Some(format!("secret-of-{client}")))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!(
                "grant_type=client_credentials&scope={}",
                scope.replace(' ', "+")
            ));
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        let token = answer["access_token"].as_str();
        token.unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// A token that the server would never issue, signed with its key.
    pub(crate) async fn sign(&self, wanted: &Value) -> String {
        let answer = self.control("sign", wanted).await;
        answer["token"].as_str().unwrap().to_owned()
    }

    /// Tells the server to be otherwise; see `COMMANDS` in its source.
    pub(crate) async fn control(&self, command: &str, wanted: &Value) -> Value {
        let url = format!("{}/{command}", self.control);
        let answer = self.http.post(url).json(wanted).send().await.unwrap();
        answer.error_for_status().unwrap().json().await.unwrap()
    }

    /// Lets it answer wrongly, or rightly again with the kind `none`.
    pub(crate) async fn fault(&self, kind: &str, to: &str) {
        let fault = json!({ "kind": kind, "to": to });
        self.control("fault", &fault).await;
    }

    /// How often it was asked for its keys.
    pub(crate) async fn asked(&self) -> u64 {
        let requests = self.control("requests", &json!({})).await;
        requests["jwks"].as_u64().unwrap()
    }
}
