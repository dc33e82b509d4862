//! A mail server (RFC 5321) that takes every mail, or does not, and keeps what it took.
//!
//! A second listener controls it over HTTP: `GET /control/mails` lists what was accepted,
//! `GET /control/mails/count` only counts it,
//! `PUT /control/faults` sets what goes wrong ([`Fault`]).

mod session;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use warp::Filter;

use crate::ledger::Ledger;

/// How the mail server is set up.
pub struct Settings {
    /// Where accepted mails are kept, one `.eml` file each, with the ledger `mails.jsonl`. Nothing:
    /// only counted.
    pub folder: Option<PathBuf>,
    /// Whether mails are offered encryption, and by which certificate.
    pub tls: Option<Tls>,
    /// User and password without which no mail is taken.
    pub auth: Option<(String, String)>,
}

/// Encryption of the mail server.
pub struct Tls {
    /// The certificate and its key.
    pub config: Arc<rustls::ServerConfig>,
    /// Whether the connection is encrypted from its beginning, rather than after `STARTTLS`.
    pub implicit: bool,
}

/// What goes wrong once, at the first mail that comes so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Where: `connect`, `mail`, `rcpt`, `data`, `middle` (of the body; the connection is closed) or
    /// `body` (behind the last line).
    pub at: String,
    /// What is answered there, with its code: `451 4.3.0 try again later`. Nothing: the connection
    /// is closed without an answer.
    #[serde(default)]
    pub reply: Option<String>,
    /// Whether the mail counts as accepted all the same; only for `body`.
    #[serde(default)]
    pub keep: bool,
    /// How many milliseconds the answer takes.
    #[serde(default)]
    pub delay_ms: u64,
}

/// A mail that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The sender of the envelope.
    pub from: String,
    /// The recipients of the envelope.
    pub to: Vec<String>,
    /// The header `Message-ID`.
    pub message_id: String,
    /// How many bytes it has.
    pub size: usize,
    /// The file it is kept in.
    pub file: Option<PathBuf>,
    /// Whether it came encrypted.
    pub encrypted: bool,
    /// When.
    pub at: DateTime<Utc>,
}

pub(crate) struct State {
    settings: Settings,
    ledger: Ledger<Accepted>,
    faults: Mutex<VecDeque<Fault>>,
}

impl State {
    /// Takes the fault for this place, if there is one.
    fn fault(&self, at: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let index = faults.iter().position(|fault| fault.at == at)?;
        faults.remove(index)
    }
}

/// Serves mail on `smtp` and control on `control` until shutdown.
///
/// # Errors
/// When the folder cannot be used.
pub async fn serve(
    smtp: TcpListener,
    control: TcpListener,
    settings: Settings,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let ledger = settings
        .folder
        .as_ref()
        .map(|folder| folder.join("mails.jsonl"));
    let state = Arc::new(State {
        ledger: Ledger::open(ledger.as_deref())?,
        settings,
        faults: Mutex::default(),
    });
    tokio::spawn(crate::http::serve(
        control,
        routes(state.clone()),
        shutdown.clone(),
    ));
    let acceptor = state
        .settings
        .tls
        .as_ref()
        .map(|tls| TlsAcceptor::from(tls.config.clone()));
    loop {
        let accepted = tokio::select! {
            accepted = smtp.accept() => accepted,
            () = shutdown.cancelled() => return Ok(()),
        };
        let Ok((stream, _)) = accepted else { continue };
        stream.set_nodelay(true).ok();
        let (state, acceptor) = (state.clone(), acceptor.clone());
        tokio::spawn(async move {
            if let Err(error) = session::run(stream, acceptor, &state).await {
                tracing::debug!("a mail client left: {error:#}");
            }
        });
    }
}

fn routes(
    state: Arc<State>,
) -> impl Filter<Extract = (impl warp::Reply,), Error = Infallible> + Clone + Send + Sync + 'static
{
    let state = warp::any().map(move || state.clone());
    let mails = warp::path!("control" / "mails")
        .and(warp::get())
        .and(state.clone())
        .map(|state: Arc<State>| warp::reply::json(&json!({ "mails": state.ledger.entries() })));
    let count = warp::path!("control" / "mails" / "count")
        .and(warp::get())
        .and(state.clone())
        .map(|state: Arc<State>| {
            let (count, last) = state.ledger.last();
            warp::reply::json(&json!({ "count": count, "last": last.map(|mail| mail.at) }))
        });
    let faults = warp::path!("control" / "faults")
        .and(warp::put())
        .and(warp::body::json())
        .and(state)
        .map(|faults: VecDeque<Fault>, state: Arc<State>| {
            *state.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
            warp::reply::json(&json!({}))
        });
    mails.or(count).or(faults).recover(async |_| {
        let body =
            warp::reply::json(&json!({ "error": "GET /control/mails or PUT /control/faults" }));
        Ok::<_, Infallible>(warp::reply::with_status(
            body,
            warp::http::StatusCode::BAD_REQUEST,
        ))
    })
}
