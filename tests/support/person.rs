//! A person with a browser.

use std::sync::Arc;

use ingress::credentials::Pepper;
use mail_parser::MessageParser;
use reqwest::Method;
use schemas::link::LinkKey;
use serde_json::{Value, json};
use totp_rs::{Builder, Secret, Totp};

use super::client::{Answer, Client, Session};
use super::system::System;
use super::wait::eventually;

/// The password of everybody who chooses one.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

impl System {
    /// Creates somebody who acts for an account, and logs them in.
    pub(crate) async fn person(&self, account: &str, email: &str, role: &str) -> Client {
        let password = self.user(account, email, role).await;
        self.logged_in(email, &password).await
    }

    /// Creates somebody who acts for an account. Returns their password.
    pub(crate) async fn user(&self, account: &str, email: &str, role: &str) -> String {
        let create = ["user", "create", "--account", account, "--email", email];
        let rest = ["--name", "Ada Example", "--role", role];
        let password = self.flow(&[create.as_slice(), &rest].concat()).await;
        password.trim().to_owned()
    }

    /// Logs somebody in.
    pub(crate) async fn logged_in(&self, email: &str, password: &str) -> Client {
        let client = self.client.with_session(Session::default());
        let answer = client.log_in(email, password).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        client.keeping(&answer)
    }

    /// The token in the last mail to somebody that leads to a page; the mail with this many before it.
    pub(crate) async fn link(&self, email: &str, page: &str, earlier: usize) -> String {
        let marker = format!("/{page}#");
        eventually(&format!("the link to {page} for {email}"), async || {
            let mails = self.texts_to(email).await;
            let with = mails.iter().filter(|text| text.contains(&marker));
            let text = with.clone().nth(earlier)?;
            let (_, rest) = text.split_once(&marker)?;
            rest.split_whitespace().next().map(str::to_owned)
        })
        .await
    }

    /// The key that the secrets in links follow from.
    pub(crate) async fn links(&self) -> LinkKey {
        let path = self.folder().join("data").join("pepper");
        let pepper = Pepper::open(&path, &self.db().await).await;
        pepper.unwrap().link_key()
    }

    /// The plain text of every mail to somebody, with its subject in front.
    pub(crate) async fn texts_to(&self, email: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for mail in self.mail.accepted().await {
            if mail.to.iter().any(|to| to == email) {
                let raw = std::fs::read(self.folder().join(&mail.file)).unwrap();
                let mail = MessageParser::default().parse(&raw).unwrap();
                let subject = mail.subject().unwrap_or_default();
                let body = mail.body_text(0).unwrap_or_default();
                texts.push(format!("{subject}\n{body}"));
            }
        }
        texts
    }
}

impl Client {
    /// Tries to log somebody in.
    pub(crate) async fn log_in(&self, email: &str, password: &str) -> Answer {
        let body = json!({ "email": email, "password": password });
        self.with_body(Method::POST, "/v1/session", &body).await
    }

    /// The same browser after an answer: with the cookies that it sets, and the token in its body.
    pub(crate) fn keeping(&self, answer: &Answer) -> Self {
        let mut session = self.session().cloned().unwrap_or_default();
        for value in answer.headers.get_all("set-cookie") {
            let pair = value.to_str().unwrap().split(';').next().unwrap();
            let (name, _) = pair.split_once('=').unwrap();
            session
                .cookies
                .retain(|known| !known.starts_with(&format!("{name}=")));
            session.cookies.push(pair.to_owned());
        }
        if let Some(token) = answer.body["csrf_token"].as_str() {
            session.csrf = Some(token.to_owned());
        }
        self.with_session(session)
    }

    /// The same browser with the token of its session as it is now.
    pub(crate) async fn refreshed(&self) -> Self {
        let shown = self.get("/v1/session").await;
        assert_eq!(shown.status, 200, "{shown:?}");
        self.keeping(&shown)
    }

    /// POST.
    pub(crate) async fn post_to(&self, path: &str, body: Value) -> Answer {
        self.with_body(Method::POST, path, &body).await
    }

    /// DELETE.
    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }
}

/// An authenticator.
#[derive(Clone)]
pub(crate) struct Authenticator(Arc<Totp>);

impl Authenticator {
    /// One that was given this secret.
    pub(crate) fn new(secret: &str) -> Self {
        let secret = Secret::try_from_base32(secret).unwrap();
        Self(Arc::new(
            Builder::new().with_secret(secret).build().unwrap(),
        ))
    }

    /// The code of now, or of this many steps later.
    pub(crate) fn code(&self, later: u64) -> String {
        let now = u64::try_from(chrono::Utc::now().timestamp()).unwrap();
        self.0.generate(now + later * 30).to_string()
    }
}
