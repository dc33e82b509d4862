//! `flow mail`: mails that wait for a person.

use anyhow::ensure;
use entity::email_delivery::{self, DeliveryState};
use sea_orm::{ActiveEnum, Iterable};
use serde_json::json;
use uuid::Uuid;
use workers::store::mails::{self, Decision};

use crate::settings::Database;

/// Options of `flow mail`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    database: Database,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Lists mails that are held, oldest first, with the reason.
    List {
        /// In another state: queued, sending, data_sent, sent, dropped, …
        #[arg(long, value_parser = state)]
        state: Option<DeliveryState>,
        /// As JSON, a line each.
        #[arg(long)]
        json: bool,
    },
    /// Sends held mails again, under the same Message-ID. An ambiguous one may arrive twice. The
    /// reconciler does it.
    Resend {
        #[command(flatten)]
        chosen: Chosen,
    },
    /// Decides that held mails are not sent.
    Drop {
        #[command(flatten)]
        chosen: Chosen,
    },
}

#[derive(Debug, clap::Args)]
struct Chosen {
    /// The ids in the list.
    #[arg(required = true)]
    ids: Vec<Uuid>,
    /// Who decides, for the audit trail.
    #[arg(long, env = "USER", default_value = "operator")]
    operator: String,
    /// Why, for the audit trail.
    #[arg(long)]
    note: Option<String>,
}

fn state(text: &str) -> Result<DeliveryState, String> {
    DeliveryState::try_from_value(&text.to_owned()).map_err(|_| {
        let names: Vec<_> = DeliveryState::iter().map(|s| s.to_value()).collect();
        format!("must be one of {}", names.join(", "))
    })
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let db = args.database.connect().await?;
    let (chosen, decision) = match args.action {
        Action::List { state, json } => {
            for mail in mails::list(&db, state, 1000).await? {
                println!("{}", shown(&mail, json));
            }
            return Ok(());
        }
        Action::Resend { chosen } => (chosen, Decision::Resend),
        Action::Drop { chosen } => (chosen, Decision::Drop),
    };
    let mut decided = 0;
    for id in &chosen.ids {
        let note = chosen.note.as_deref();
        if mails::decide(&db, *id, decision, &chosen.operator, note).await? {
            decided += 1;
        } else {
            println!("{id} does not wait for a decision");
        }
    }
    println!(
        "{decided} mails are {}",
        match decision {
            Decision::Resend => "sent again",
            Decision::Drop => "dropped",
        }
    );
    ensure!(decided == chosen.ids.len(), "not every mail was held");
    Ok(())
}

fn shown(mail: &email_delivery::Model, json: bool) -> String {
    let reason = mail.last_error.as_deref().unwrap_or_default();
    if json {
        return json!({
            "id": mail.id,
            "template": mail.template,
            "subject_id": mail.subject_id,
            "account_id": mail.account_id,
            "recipient": mail.recipient,
            "message_id": mail.message_id,
            "state": mail.state.to_value(),
            "attempts": mail.attempts,
            "reason": reason,
            "updated_at": mail.updated_at,
        })
        .to_string();
    }
    let at = mail.updated_at.format("%Y-%m-%d %H:%M:%S");
    format!(
        "{}  {:<14}{at}  {}  {reason}",
        mail.id,
        mail.state.to_value(),
        mail.recipient
    )
}
