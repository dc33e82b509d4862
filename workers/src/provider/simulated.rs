//! The simulated provider (`flow provider-simulator`). It honours idempotency tokens, as Amazon EC2
//! does, so that asking again with the same token is safe at once.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use reqwest::{Request, RequestBuilder, Response, StatusCode};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::json;
use tracing::Instrument;
use tracing::field::Empty;
use url::Url;

use super::{CreateRequest, Credential, Listed, Meter, ProviderError, Server, ServerState};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one call may take.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause when the provider asks for one without saying how long.
const DEFAULT_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause that is believed.
const MAX_PAUSE: Duration = Duration::from_secs(3600);
/// The code of an error about a server that is not there.
const NOT_FOUND: &str = "not_found";
/// The largest answer that is read.
const MAX_ANSWER: usize = 1024 * 1024;

/// The adapter for the simulated provider.
#[derive(Clone)]
pub(crate) struct Simulated {
    http: reqwest::Client,
    base: Url,
    credential: Credential,
}

#[derive(Deserialize)]
struct ServerJson {
    id: u64,
    address: Option<String>,
    status: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct ServerAnswer {
    server: ServerJson,
}

#[derive(Deserialize)]
struct ListAnswer {
    servers: Vec<ServerJson>,
}

#[derive(Deserialize)]
struct UsageAnswer {
    usage: Vec<MeterJson>,
}

#[derive(Deserialize)]
struct MeterJson {
    meter: String,
    unit: String,
    /// A decimal number in a string.
    #[serde(with = "rust_decimal::serde::str")]
    quantity: Decimal,
}

#[derive(Deserialize)]
struct ActionAnswer {
    action: Action,
}

#[derive(Deserialize)]
struct Action {
    /// When it ended.
    finished: Option<DateTime<Utc>>,
    error: Option<ErrorDetails>,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error: ErrorDetails,
}

#[derive(Deserialize)]
struct ErrorDetails {
    code: String,
    message: String,
}

impl From<ServerJson> for Server {
    fn from(json: ServerJson) -> Self {
        let state = match json.status.as_str() {
            "running" => ServerState::Ready,
            "failed" => ServerState::Failed("the provider could not start the server".to_owned()),
            _ => ServerState::Pending,
        };
        Self {
            external_id: json.id.to_string(),
            address: json.address,
            state,
        }
    }
}

impl Simulated {
    /// An adapter that calls the provider at `base`.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub(crate) fn new(base: Url, credential: Credential) -> anyhow::Result<Self> {
        #[expect(
            clippy::disallowed_methods,
            reason = "adapters build their clients, with timeouts"
        )]
        let builder = reqwest::Client::builder();
        let http = builder
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("customer-flow/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("set up the client of the simulated provider")?;
        Ok(Self {
            http,
            base,
            credential,
        })
    }

    pub(crate) async fn create(
        &self,
        request: &CreateRequest<'_>,
    ) -> Result<Server, ProviderError> {
        let call = self
            .http
            .post(self.url("v1/servers"))
            .header("idempotency-token", request.client_token)
            .json(&json!({
                "name": request.name,
                "server_type": request.sku,
                "region": request.region,
                "labels": { "managed-by": "customer-flow", "order": request.order_id },
            }));
        let answer: ServerAnswer = self.send(call).await?;
        self.explained(answer.server.into()).await
    }

    pub(crate) async fn find(&self, client_token: &str) -> Result<Option<Server>, ProviderError> {
        let call = self
            .http
            .get(self.url("v1/servers"))
            .query(&[("client_token", client_token)]);
        let answer: ListAnswer = self.send(call).await?;
        Ok(answer.servers.into_iter().next().map(Server::from))
    }

    pub(crate) async fn list(&self) -> Result<Vec<Listed>, ProviderError> {
        let call = self
            .http
            .get(self.url("v1/servers"))
            .query(&[("label", "managed-by=customer-flow")]);
        let answer: ListAnswer = self.send(call).await?;
        let listed = answer.servers.into_iter().map(|server| Listed {
            external_id: server.id.to_string(),
            order_label: server.labels.get("order").cloned(),
        });
        Ok(listed.collect())
    }

    pub(crate) async fn poll(&self, external_id: &str) -> Result<Server, ProviderError> {
        let path = format!("v1/servers/{external_id}");
        let answer: ServerAnswer = match self.send(self.http.get(self.url(&path))).await {
            Err(ProviderError::Rejected { code, .. }) if code == NOT_FOUND => {
                return Err(ProviderError::Gone);
            }
            answer => answer?,
        };
        self.explained(answer.server.into()).await
    }

    pub(crate) async fn delete(
        &self,
        external_id: &str,
    ) -> Result<Option<DateTime<Utc>>, ProviderError> {
        let path = format!("v1/servers/{external_id}");
        let answer = match self.send(self.http.delete(self.url(&path))).await {
            // It was deleted before: the action still tells when.
            Err(ProviderError::Rejected { code, .. }) if code == NOT_FOUND => {
                let path = format!("v1/actions/{external_id}");
                self.send::<ActionAnswer>(self.http.get(self.url(&path)))
                    .await
            }
            answer => answer,
        };
        match answer {
            Ok(ActionAnswer { action }) => Ok(action.finished),
            Err(ProviderError::Rejected { code, .. }) if code == NOT_FOUND => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn usage(&self, external_id: &str) -> Result<Vec<Meter>, ProviderError> {
        let path = format!("v1/servers/{external_id}/usage");
        let answer: UsageAnswer = match self.send(self.http.get(self.url(&path))).await {
            Err(ProviderError::Rejected { code, .. }) if code == NOT_FOUND => {
                return Err(ProviderError::Gone);
            }
            answer => answer?,
        };
        let meter = |json: MeterJson| Meter {
            name: json.meter,
            unit: json.unit,
            counter: json.quantity,
        };
        Ok(answer.usage.into_iter().map(meter).collect())
    }

    /// The server; if it failed, with the reason that its action gives.
    async fn explained(&self, mut server: Server) -> Result<Server, ProviderError> {
        if matches!(server.state, ServerState::Failed(_)) {
            let path = format!("v1/actions/{}", server.external_id);
            let action: ActionAnswer = self.send(self.http.get(self.url(&path))).await?;
            if let Some(error) = action.action.error {
                server.state = ServerState::Failed(format!("{} ({})", error.message, error.code));
            }
        }
        Ok(server)
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!(
            "{}/{path}",
            self.base.path().trim_end_matches('/')
        ));
        url
    }

    async fn send<A: for<'de> Deserialize<'de>>(
        &self,
        call: RequestBuilder,
    ) -> Result<A, ProviderError> {
        let request = call
            .build()
            .map_err(|error| ProviderError::Unreachable(error.to_string()))?;
        let span = tracing::info_span!(
            "provider",
            otel.name = format!("{} simulated provider", request.method()),
            otel.kind = "client",
            http.request.method = %request.method(),
            url.full = %request.url(),
            http.response.status_code = Empty,
            otel.status_code = Empty,
        );
        self.answer(request).instrument(span).await
    }

    async fn answer<A: for<'de> Deserialize<'de>>(
        &self,
        mut request: Request,
    ) -> Result<A, ProviderError> {
        for (name, value) in broker::inject_http() {
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::try_from(value))
            {
                request.headers_mut().insert(name, value);
            }
        }
        if let Some(header) = self.credential.header().await? {
            request.headers_mut().insert(AUTHORIZATION, header);
        }
        let response =
            self.http
                .execute(request)
                .await
                .map_err(|error| match error.is_connect() {
                    true => ProviderError::Unreachable(innermost(&error)),
                    false => ProviderError::Ambiguous(innermost(&error)),
                })?;
        let status = response.status();
        tracing::Span::current().record("http.response.status_code", status.as_u16());
        if !status.is_success() {
            tracing::Span::current().record("otel.status_code", "ERROR");
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(ProviderError::RateLimited(pause(&response)));
        }
        let body = body(response).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| {
                ProviderError::Ambiguous(format!(
                    "the answer with status {status} cannot be read: {error}"
                ))
            });
        }
        if status == StatusCode::UNAUTHORIZED {
            tracing::error!("the provider refuses our credential: flow provider set-credential");
            return Err(ProviderError::Denied("it refuses our credential"));
        }
        let details = serde_json::from_slice::<ErrorAnswer>(&body).map(|answer| answer.error);
        if status.is_client_error() {
            let ErrorDetails { code, message } = details.unwrap_or_else(|_| ErrorDetails {
                code: status.as_u16().to_string(),
                message: "no reason given".to_owned(),
            });
            return Err(ProviderError::Rejected { code, message });
        }
        Err(ProviderError::Ambiguous(format!("status {status}")))
    }
}

async fn body(mut response: Response) -> Result<Vec<u8>, ProviderError> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_ANSWER => {
                body.extend_from_slice(&chunk)
            }
            Ok(Some(_)) => {
                return Err(ProviderError::Ambiguous(
                    "the answer is too long".to_owned(),
                ));
            }
            Ok(None) => return Ok(body),
            Err(error) => return Err(ProviderError::Ambiguous(innermost(&error))),
        }
    }
}

/// `Retry-After` in seconds.
fn pause(response: &Response) -> Duration {
    let header = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok());
    let seconds = header.and_then(|value| value.trim().parse().ok());
    seconds
        .map_or(DEFAULT_PAUSE, Duration::from_secs)
        .min(MAX_PAUSE)
}

/// The innermost cause, which says what happened; the outer ones repeat the URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.is_timeout() {
        format!("no answer within {CALL_TIMEOUT:?}")
    } else {
        cause.to_string()
    }
}
