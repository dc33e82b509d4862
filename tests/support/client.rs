//! A client of the HTTP API.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::{coverage, openapi};

/// A client with an API key, or with the session of a person.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    key: String,
    session: Option<Session>,
    /// The account that a person acts for.
    account: Option<String>,
}

/// What the browser of a person knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Session {
    /// Names and values.
    pub(crate) cookies: Vec<String>,
    pub(crate) csrf: Option<String>,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// A header as text, empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The stable name of the problem.
    pub(crate) fn problem(&self) -> &str {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        self.body["type"]
            .as_str()
            .unwrap_or_default()
            .rsplit('/')
            .next()
            .unwrap_or_default()
    }

    /// The fields that were wrong.
    pub(crate) fn wrong_fields(&self) -> Vec<&str> {
        let errors = self.body["errors"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        errors
            .iter()
            .filter_map(|error| error["field"].as_str())
            .collect()
    }
}

impl Client {
    /// A client of the API at `base`.
    pub(crate) fn new(base: &str, key: &str) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the customer's side")]
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        Self {
            http,
            base: base.to_owned(),
            key: key.to_owned(),
            session: None,
            account: None,
        }
    }

    /// The same client with another key.
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self {
            key: key.to_owned(),
            ..self.clone()
        }
    }

    /// The same client as the browser of a person.
    pub(crate) fn with_session(&self, session: Session) -> Self {
        Self {
            session: Some(session),
            ..self.clone()
        }
    }

    /// What the browser knows.
    pub(crate) fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// The same person, acting for an account.
    pub(crate) fn acting_for(&self, account: &str) -> Self {
        Self {
            account: Some(account.to_owned()),
            ..self.clone()
        }
    }

    /// Its key.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Where the API is.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// A request with the key or the session, if there is one, to be completed.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = (self.http).request(method.clone(), format!("{}{path}", self.base));
        let Some(session) = &self.session else {
            return match self.key.is_empty() {
                true => request,
                false => request.bearer_auth(&self.key),
            };
        };
        let mut request = match session.cookies.is_empty() {
            true => request,
            false => request.header("cookie", session.cookies.join("; ")),
        };
        if let Some(account) = &self.account {
            request = request.header("account-id", account);
        }
        match &session.csrf {
            Some(token) if !method.is_safe() => request.header("x-csrf-token", token),
            _ => request,
        }
    }

    /// GET.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// A request with a JSON body.
    pub(crate) async fn with_body(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.send(self.request(method, path).json(body)).await
    }

    /// Sends a request, and checks that the contract knows the answer.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        self.try_send(request).await.unwrap()
    }

    async fn try_send(&self, request: RequestBuilder) -> reqwest::Result<Answer> {
        let request = request.build()?;
        let (method, address) = (request.method().clone(), request.url().path().to_owned());
        let answer = read(self.http.execute(request).await?).await;
        openapi::check(&method, &address, &answer);
        coverage::note(&method, &address, answer.status);
        Ok(answer)
    }

    /// POST of a form, without the key; with a name and a password if they are given.
    pub(crate) async fn form(
        &self,
        path: &str,
        form: &[(&str, &str)],
        basic: Option<(&str, &str)>,
    ) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = self
            .http
            .post(format!("{}{path}", self.base))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        let request = match basic {
            Some((name, password)) => request.basic_auth(name, Some(password)),
            None => request,
        };
        self.send(request).await
    }

    /// An access token for a client with these scopes; all that it may have if they are empty.
    pub(crate) async fn token(&self, (id, secret): (&str, &str), scope: &str) -> String {
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        let answer = self.form("/oauth2/token", &form, Some((id, secret))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["access_token"].as_str().unwrap().to_owned()
    }

    /// GET of bytes.
    pub(crate) async fn bytes(&self, path: &str) -> Response {
        let response = self.request(Method::GET, path).send().await.unwrap();
        coverage::note(&Method::GET, path, response.status());
        response
    }

    /// POST of an order under a key.
    pub(crate) async fn order(&self, key: &str, body: &Value) -> Answer {
        self.try_order(key, body).await.unwrap()
    }

    /// POST of an order under a key, by a client that may lose its connection.
    pub(crate) async fn try_order(&self, key: &str, body: &Value) -> reqwest::Result<Answer> {
        let request = self
            .request(Method::POST, "/v1/orders")
            .header("idempotency-key", key)
            .json(body);
        self.try_send(request).await
    }

    /// POST of anything as an order.
    pub(crate) async fn post(&self, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self
            .request(Method::POST, "/v1/orders")
            .header("content-type", content_type)
            .body(body);
        self.send(request).await
    }
}

/// Reads an answer to its end.
pub(crate) async fn read(response: Response) -> Answer {
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer {
        status,
        headers,
        body,
    }
}

/// An order of one small server called `name`.
pub(crate) fn small_server(name: &str) -> Value {
    json!({ "offering": "cloud-server", "plan": "s", "quantity": 1, "region": "eu-central", "name": name })
}
