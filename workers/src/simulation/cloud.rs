//! A provider in this process, with a ledger.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::gate::point;
use crate::provider::{CALL_TIMEOUT, CreateRequest, Listed, ProviderError, Server, ServerState};

/// What becomes of the next call to create a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloudFault {
    Unreachable,
    /// A 503, and nothing was created.
    BreaksBefore,
    /// A 500, and it was created.
    BreaksAfter,
    /// No answer within the time limit, and it was created.
    HangsAfter,
    RateLimited,
    Rejected,
    /// It is created, but is not ready at once.
    Slow,
    /// It is created and slow, and the next question about any server breaks.
    Mute,
}

/// A server that exists.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) id: String,
    pub(super) client_token: String,
    listed: bool,
    /// So often it is asked for before it is ready.
    pending: u32,
}

#[derive(Default)]
struct State {
    tokens: bool,
    servers: Vec<Made>,
    faults: VecDeque<CloudFault>,
    mute: u32,
    found_again: u64,
    same_token: u64,
}

/// The provider.
#[derive(Default)]
pub(crate) struct Cloud(Mutex<State>);

impl Cloud {
    /// With `tokens` it honours idempotency tokens and lists a new server late; without it lists at
    /// once, and creates what it is asked for.
    pub(super) fn new(tokens: bool) -> Self {
        Self(Mutex::new(State {
            tokens,
            ..State::default()
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn will_fail(&self, fault: CloudFault) {
        self.state().faults.push_back(fault);
    }

    pub(super) fn heals(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.mute = 0;
    }

    /// Time has passed: lists are up to date.
    pub(super) fn settles(&self) {
        self.state()
            .servers
            .iter_mut()
            .for_each(|server| server.listed = true);
    }

    /// Whether a call that was held up here for so many seconds may still arrive. Without tokens
    /// nothing at the provider tells it from another one: that it ends long before the lease does is
    /// all there is, and a worker that sleeps through both just before the call is the documented
    /// rest of the risk.
    pub(super) fn bears(&self, at: &str, seconds: u16) -> bool {
        self.state().tokens
            || !["find", "found", "create"].contains(&at)
            || u64::from(seconds) <= CALL_TIMEOUT.as_secs()
    }

    /// Every server, in the order of their creation.
    pub(super) fn ledger(&self) -> Vec<Made> {
        self.state().servers.clone()
    }

    /// How often it found what an earlier call had created: by question, by token.
    pub(super) fn repeats(&self) -> (u64, u64) {
        let state = self.state();
        (state.found_again, state.same_token)
    }

    pub(crate) async fn create(
        &self,
        request: &CreateRequest<'_>,
    ) -> Result<Server, ProviderError> {
        point("create").await;
        let (server, fault) = self.call(request)?;
        point("created").await;
        match fault {
            Some(CloudFault::BreaksAfter) => ambiguous("status 500"),
            Some(CloudFault::HangsAfter) => ambiguous("no answer within 10s"),
            _ => Ok(server),
        }
    }

    fn call(
        &self,
        request: &CreateRequest<'_>,
    ) -> Result<(Server, Option<CloudFault>), ProviderError> {
        let mut state = self.state();
        let fault = state.faults.pop_front();
        match fault {
            Some(CloudFault::Unreachable) => {
                return Err(ProviderError::Unreachable("refused".to_owned()));
            }
            Some(CloudFault::BreaksBefore) => return ambiguous("status 503"),
            Some(CloudFault::RateLimited) => {
                return Err(ProviderError::RateLimited(Duration::from_secs(5)));
            }
            Some(CloudFault::Rejected) => {
                return Err(ProviderError::Rejected {
                    code: "quota".to_owned(),
                    message: "no more servers for this account".to_owned(),
                });
            }
            Some(CloudFault::Mute) => state.mute += 1,
            _ => {}
        }
        let known = state
            .servers
            .iter()
            .find(|server| server.client_token == request.client_token)
            .filter(|_| state.tokens)
            .cloned();
        let made = match known {
            Some(known) => {
                state.same_token += 1;
                known
            }
            None => {
                let slow = matches!(fault, Some(CloudFault::Slow | CloudFault::Mute));
                let made = Made {
                    id: (state.servers.len() + 1001).to_string(),
                    client_token: request.client_token.to_owned(),
                    listed: !state.tokens,
                    pending: u32::from(slow),
                };
                state.servers.push(made.clone());
                made
            }
        };
        Ok((made.as_server(), fault))
    }

    pub(crate) async fn find(&self, client_token: &str) -> Result<Option<Server>, ProviderError> {
        point("find").await;
        let found = {
            let mut state = self.state();
            state.is_mute()?;
            let found = state
                .servers
                .iter()
                .find(|server| server.client_token == client_token && server.listed)
                .map(Made::as_server);
            state.found_again += u64::from(found.is_some());
            found
        };
        point("found").await;
        Ok(found)
    }

    pub(crate) async fn list(&self) -> Result<Vec<Listed>, ProviderError> {
        let state = self.state();
        let listed = state.servers.iter().filter(|server| server.listed);
        let listed = listed.map(|server| Listed {
            external_id: server.id.clone(),
            order_label: None,
        });
        Ok(listed.collect())
    }

    pub(crate) async fn delete(
        &self,
        external_id: &str,
    ) -> Result<Option<DateTime<Utc>>, ProviderError> {
        point("delete").await;
        let mut state = self.state();
        state.is_mute()?;
        state.servers.retain(|server| server.id != external_id);
        Ok(None)
    }

    pub(crate) async fn poll(&self, external_id: &str) -> Result<Server, ProviderError> {
        point("poll").await;
        let mut state = self.state();
        state.is_mute()?;
        let server = state
            .servers
            .iter_mut()
            .find(|server| server.id == external_id);
        let server = server.ok_or(ProviderError::Gone)?;
        server.pending = server.pending.saturating_sub(1);
        Ok(server.as_server())
    }
}

impl State {
    fn is_mute(&mut self) -> Result<(), ProviderError> {
        if self.mute == 0 {
            return Ok(());
        }
        self.mute -= 1;
        ambiguous("status 502")
    }
}

impl Made {
    fn as_server(&self) -> Server {
        Server {
            external_id: self.id.clone(),
            address: Some("203.0.113.1".to_owned()),
            state: match self.pending {
                0 => ServerState::Ready,
                _ => ServerState::Pending,
            },
        }
    }
}

fn ambiguous<T>(what: &str) -> Result<T, ProviderError> {
    Err(ProviderError::Ambiguous(what.to_owned()))
}
