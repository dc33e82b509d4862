//! The servers, the switches and the ledger.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ledger::Ledger;

/// What goes wrong, until it is switched off again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Every answer is delayed by so many milliseconds.
    pub latency_ms: u64,
    /// A new server needs so many milliseconds until its action succeeds.
    pub provision_ms: u64,
    /// A new server shows up in lists only after so many milliseconds.
    pub list_lag_ms: u64,
    /// Idempotency tokens are not looked at, as at clouds that have none.
    pub ignore_tokens: bool,
    /// Every call is answered with 503: the provider is down.
    pub down: bool,
    /// The token that calls must carry; others are answered with 401.
    pub token: Option<String>,
    /// What becomes of the next calls to create, one each, in this order.
    pub create: VecDeque<CreateFault>,
    /// What becomes of the next calls to delete, one each, in this order.
    pub delete: VecDeque<CreateFault>,
}

/// What becomes of one call to create a server, or to delete one (`created` is then `deleted`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
pub enum CreateFault {
    /// It is answered with this status.
    Status {
        /// The status, 400 to 599.
        status: u16,
        /// `Retry-After`, in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
        /// Whether the server is created all the same.
        #[serde(default)]
        after_effect: bool,
    },
    /// It is not answered for a long time.
    Hang {
        /// Whether the server is created all the same.
        #[serde(default)]
        after_effect: bool,
    },
    /// The server is created, but its action fails.
    ActionFails,
    /// The server is created, and the answer is cut in the middle.
    Truncated,
}

/// What really happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// `create` or `delete`.
    pub what: String,
    /// The server.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its type.
    pub server_type: String,
    /// Its region.
    pub region: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The idempotency token of the call.
    pub client_token: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
}

/// What a caller asks for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateServer {
    pub(super) name: String,
    pub(super) server_type: String,
    pub(super) region: String,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) created: Entry,
    /// When its action ends. Nothing for a server of an earlier process.
    ready_at: Option<Instant>,
    listed_at: Option<Instant>,
    fails: bool,
}

/// The servers by id, and which of them a token created.
#[derive(Default)]
pub(super) struct Servers {
    pub(super) by_id: BTreeMap<u64, Server>,
    by_token: HashMap<String, u64>,
    /// When those that are gone were deleted.
    pub(super) deleted: HashMap<u64, DateTime<Utc>>,
    last_id: u64,
}

pub(super) struct State {
    servers: Mutex<Servers>,
    faults: Mutex<Faults>,
    pub(super) ledger: Ledger<Entry>,
}

impl State {
    pub(super) fn open(ledger: Option<&Path>) -> anyhow::Result<Self> {
        let ledger: Ledger<Entry> = Ledger::open(ledger)?;
        let mut servers = Servers {
            last_id: 1000,
            ..Servers::default()
        };
        for created in ledger.entries() {
            match created.what.as_str() {
                "create" => servers.add(Server {
                    created,
                    ready_at: None,
                    listed_at: None,
                    fails: false,
                }),
                _ => {
                    servers.by_id.remove(&created.id);
                    servers.deleted.insert(created.id, created.at);
                }
            }
        }
        Ok(Self {
            servers: Mutex::new(servers),
            faults: Mutex::default(),
            ledger,
        })
    }

    pub(super) fn servers(&self) -> MutexGuard<'_, Servers> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates a server, or finds the one that this token created before.
    pub(super) fn create(
        &self,
        request: CreateServer,
        token: Option<String>,
        fails: bool,
    ) -> anyhow::Result<Server> {
        let faults = self.faults().clone();
        let mut servers = self.servers();
        if let Some(token) = token.as_deref().filter(|_| !faults.ignore_tokens) {
            let known = servers
                .by_token
                .get(token)
                .and_then(|id| servers.by_id.get(id));
            if let Some(server) = known {
                return Ok(server.clone());
            }
        }
        let created = Entry {
            what: "create".to_owned(),
            id: servers.last_id + 1,
            name: request.name,
            server_type: request.server_type,
            region: request.region,
            labels: request.labels,
            client_token: token,
            at: Utc::now(),
        };
        self.ledger.append(created.clone())?;
        let after = |millis| Some(Instant::now() + Duration::from_millis(millis));
        let server = Server {
            created,
            ready_at: after(faults.provision_ms),
            listed_at: after(faults.list_lag_ms),
            fails,
        };
        servers.add(server.clone());
        Ok(server)
    }

    /// Deletes a server. Returns when that was; nothing if there is none.
    pub(super) fn delete(&self, id: u64) -> anyhow::Result<Option<DateTime<Utc>>> {
        let mut servers = self.servers();
        let Some(server) = servers.by_id.remove(&id) else {
            return Ok(None);
        };
        let at = Utc::now();
        servers.deleted.insert(id, at);
        self.ledger.append(Entry {
            what: "delete".to_owned(),
            at,
            ..server.created
        })?;
        Ok(Some(at))
    }
}

impl Servers {
    fn add(&mut self, server: Server) {
        let created = &server.created;
        self.last_id = self.last_id.max(created.id);
        if let Some(token) = &created.client_token {
            self.by_token.insert(token.clone(), created.id);
        }
        self.by_id.insert(created.id, server);
    }
}

impl Server {
    fn ready(&self) -> bool {
        self.ready_at.is_none_or(|at| at <= Instant::now())
    }

    pub(super) fn listed(&self) -> bool {
        self.listed_at.is_none_or(|at| at <= Instant::now())
    }

    /// The status of the action that created it.
    pub(super) fn action_status(&self) -> &'static str {
        match (self.ready(), self.fails) {
            (false, _) => "running",
            (true, false) => "success",
            (true, true) => "error",
        }
    }

    pub(super) fn status(&self) -> &'static str {
        match self.action_status() {
            "running" => "initializing",
            "success" => "running",
            _ => "failed",
        }
    }
}
