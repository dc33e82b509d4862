//! `flow dead`: parked messages.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context, ensure};
use chrono::Utc;
use entity::parked_message::{self, ParkedState};
use sea_orm::{ActiveEnum, DatabaseConnection};
use serde_json::{Value, json};
use uuid::Uuid;
use workers::store::parked::{self, Decider, Decision, Filter};

use crate::settings::Database;

/// Options of `flow dead`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    database: Database,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Lists parked messages, oldest first.
    List {
        #[command(flatten)]
        which: Which,
        /// In another state: parked, replaying, replayed, discarded.
        #[arg(long, value_parser = state)]
        state: Option<ParkedState>,
        /// As JSON, a line each.
        #[arg(long)]
        json: bool,
    },
    /// Shows one parked message with its headers and payload.
    Show {
        /// The id in the list.
        id: Uuid,
    },
    /// Sends messages back to the queues that gave them up. The parker does it.
    Replay {
        #[command(flatten)]
        chosen: Chosen,
    },
    /// Decides that nothing more is done about messages. They stay in the table.
    Discard {
        #[command(flatten)]
        chosen: Chosen,
    },
}

#[derive(Debug, Clone, clap::Args)]
struct Which {
    /// Only of this queue.
    #[arg(long)]
    queue: Option<String>,
    /// Only parked for this reason.
    #[arg(long)]
    reason: Option<String>,
    /// Only of this account.
    #[arg(long)]
    account: Option<Uuid>,
    /// Only parked longer ago than this: 90s, 2h, 7days.
    #[arg(long, value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
    /// Only parked within this time: 90s, 2h, 7days.
    #[arg(long, value_parser = humantime::parse_duration)]
    newer_than: Option<Duration>,
}

#[derive(Debug, Clone, clap::Args)]
struct Chosen {
    /// The ids in the list; or all that a filter chooses.
    ids: Vec<Uuid>,
    /// Every parked message that the filters choose.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    which: Which,
    /// How many messages go back in a second.
    #[arg(long, default_value = "20")]
    rate: NonZeroU32,
    /// Who decides, for the audit trail.
    #[arg(long, env = "USER", default_value = "operator")]
    operator: String,
    /// Why, for the audit trail.
    #[arg(long)]
    note: Option<String>,
}

fn state(text: &str) -> Result<ParkedState, String> {
    ParkedState::try_from_value(&text.to_owned())
        .map_err(|_| "must be parked, replaying, replayed or discarded".to_owned())
}

impl Which {
    fn filter(&self, state: Option<ParkedState>) -> Filter {
        Filter {
            queue: self.queue.clone(),
            reason: self.reason.clone(),
            account_id: self.account,
            before: self.older_than.map(|age| Utc::now() - age),
            since: self.newer_than.map(|age| Utc::now() - age),
            state,
        }
    }
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let db = args.database.connect().await?;
    match args.action {
        Action::List { which, state, json } => {
            let rows = parked::list(&db, &which.filter(state), 1000).await?;
            if !json {
                println!(
                    "{:<38}{:<20}{:<20}{:<22}PARKED AT",
                    "ID", "QUEUE", "REASON", "TYPE"
                );
            }
            for row in rows {
                if json {
                    println!("{}", item(&row));
                } else {
                    let at = row.parked_at.format("%Y-%m-%d %H:%M:%S");
                    println!(
                        "{:<38}{:<20}{:<20}{:<22}{at}",
                        row.id.to_string(),
                        row.queue,
                        row.reason,
                        row.kind
                    );
                }
            }
        }
        Action::Show { id } => {
            let row = parked::find(&db, id)
                .await?
                .with_context(|| format!("there is no parked message {id}"))?;
            let mut shown = item(&row);
            shown["headers"] = serde_json::from_str(&row.headers).unwrap_or(Value::Null);
            shown["body"] = match serde_json::from_slice::<Value>(&row.body) {
                Ok(body) => body,
                Err(_) => String::from_utf8_lossy(&row.body).into(),
            };
            println!("{}", serde_json::to_string_pretty(&shown)?);
        }
        Action::Replay { chosen } => {
            let count = decide(&db, &chosen, Decision::Replay).await?;
            println!("{count} messages go back to their queues");
        }
        Action::Discard { chosen } => {
            let count = decide(&db, &chosen, Decision::Discard).await?;
            println!("{count} messages are discarded");
        }
    }
    Ok(())
}

async fn decide(
    db: &DatabaseConnection,
    chosen: &Chosen,
    decision: Decision,
) -> anyhow::Result<usize> {
    ensure!(
        chosen.all == chosen.ids.is_empty(),
        "give ids, or --all with filters"
    );
    let ids = match chosen.all {
        false => chosen.ids.clone(),
        true => {
            let rows = parked::list(db, &chosen.which.filter(None), 100_000).await?;
            rows.into_iter().map(|row| row.id).collect()
        }
    };
    let decider = Decider {
        operator: &chosen.operator,
        note: chosen.note.as_deref(),
        rate: chosen.rate,
    };
    let not_waiting = parked::decide(db, &ids, decision, decider).await?;
    let names: Vec<_> = not_waiting.iter().map(Uuid::to_string).collect();
    ensure!(
        names.is_empty() || chosen.all,
        "these messages do not wait for a decision: {}",
        names.join(", ")
    );
    Ok(ids.len() - not_waiting.len())
}

fn item(row: &parked_message::Model) -> Value {
    json!({
        "id": row.id,
        "queue": row.queue,
        "reason": row.reason,
        "error": row.error,
        "attempts": row.attempts,
        "type": row.kind,
        "message_id": row.message_id,
        "correlation_id": row.correlation_id,
        "account_id": row.account_id,
        "publisher": row.publisher,
        "exchange": row.origin_exchange,
        "routing_key": row.origin_routing_key,
        "version": row.version,
        "trace_id": row.trace_id,
        "state": row.state.to_value(),
        "decided_by": row.decided_by,
        "decided_at": row.decided_at,
        "note": row.note,
        "parked_at": row.parked_at,
    })
}
