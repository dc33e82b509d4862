//! Cloud providers, behind one small contract.
//!
//! An adapter is one file and knows nothing of queues or tables. It never retries by itself: it
//! says what it knows, and the handler decides.

mod credential;
mod simulated;

use std::time::Duration;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

pub(crate) use credential::Credential;
#[cfg(test)]
pub(crate) use simulated::CALL_TIMEOUT;
pub(crate) use simulated::Simulated;

/// What to create.
#[derive(Debug, Clone)]
pub(crate) struct CreateRequest<'a> {
    /// The same for every attempt at one resource; it is passed on as token and as label.
    pub(crate) client_token: &'a str,
    pub(crate) name: &'a str,
    pub(crate) sku: &'a str,
    pub(crate) region: &'a str,
    /// The order, as label, so that what exists can be traced back.
    pub(crate) order_id: String,
}

/// A server as the provider tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) external_id: String,
    pub(crate) address: Option<String>,
    pub(crate) state: ServerState,
}

/// How far a server has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServerState {
    Pending,
    Ready,
    /// It exists, but will never be ready; why, in words for the customer.
    Failed(String),
}

/// Why a provider did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProviderError {
    /// It was not asked at all: there was no connection.
    #[error("cannot reach the provider: {0}")]
    Unreachable(String),
    /// It does not believe that it is us, or we cannot prove it; the sentence is fit for the customer. It did
    /// nothing.
    #[error("the provider does not know us: {0}")]
    Denied(&'static str),
    /// It asks for a pause.
    #[error("the provider asks for a pause of {0:?}")]
    RateLimited(Duration),
    /// It says no, and will say no again; code and sentence are fit for the customer.
    #[error("the provider refused: {message} ({code})")]
    Rejected { code: String, message: String },
    /// There is no such server.
    #[error("the server is gone at the provider")]
    Gone,
    /// It was asked and did not answer, or not with sense: whether it acted is unknown.
    #[error("no clear answer from the provider: {0}")]
    Ambiguous(String),
}

/// A server in the list of all that carry our label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) external_id: String,
    /// The order that it is labelled with.
    pub(crate) order_label: Option<String>,
}

/// What a meter of a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meter {
    /// What is counted: `traffic`.
    pub(crate) name: String,
    /// Of what: `GiB`.
    pub(crate) unit: String,
    /// How much since the server was created.
    pub(crate) counter: Decimal,
}

/// The adapters.
#[derive(Clone)]
pub(crate) enum Provider {
    Simulated(Simulated),
    #[cfg(test)]
    Fake(std::sync::Arc<crate::simulation::Cloud>),
}

impl Provider {
    /// Asks for a server. May be asked again with the same token.
    pub(crate) async fn create(
        &self,
        request: &CreateRequest<'_>,
    ) -> Result<Server, ProviderError> {
        match self {
            Self::Simulated(provider) => provider.create(request).await,
            #[cfg(test)]
            Self::Fake(provider) => provider.create(request).await,
        }
    }

    /// The server that an earlier call with this token created, if it did.
    pub(crate) async fn find(&self, client_token: &str) -> Result<Option<Server>, ProviderError> {
        match self {
            Self::Simulated(provider) => provider.find(client_token).await,
            #[cfg(test)]
            Self::Fake(provider) => provider.find(client_token).await,
        }
    }

    /// Every server that carries our label.
    pub(crate) async fn list(&self) -> Result<Vec<Listed>, ProviderError> {
        match self {
            Self::Simulated(provider) => provider.list().await,
            #[cfg(test)]
            Self::Fake(provider) => provider.list().await,
        }
    }

    /// Deletes a server with everything on it. Returns when that was, by the clock of the provider, if it
    /// says so. One that is gone is no error.
    pub(crate) async fn delete(
        &self,
        external_id: &str,
    ) -> Result<Option<DateTime<Utc>>, ProviderError> {
        match self {
            Self::Simulated(provider) => provider.delete(external_id).await,
            #[cfg(test)]
            Self::Fake(provider) => provider.delete(external_id).await,
        }
    }

    /// What the meters of a server say. [`ProviderError::Gone`] if there is none.
    pub(crate) async fn usage(&self, external_id: &str) -> Result<Vec<Meter>, ProviderError> {
        match self {
            Self::Simulated(provider) => provider.usage(external_id).await,
            #[cfg(test)]
            Self::Fake(_) => Ok(Vec::new()),
        }
    }

    /// How far a server has come. [`ProviderError::Gone`] if there is none.
    pub(crate) async fn poll(&self, external_id: &str) -> Result<Server, ProviderError> {
        match self {
            Self::Simulated(provider) => provider.poll(external_id).await,
            #[cfg(test)]
            Self::Fake(provider) => provider.poll(external_id).await,
        }
    }
}
