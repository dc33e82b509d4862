//! `flow ticket`: the support's side of tickets.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use chrono::Utc;
use entity::{ticket, ticket_message};
use schemas::ticket::{HandlingRequest, Priority, TicketStatus, ticket_number};
use schemas::values::{EmailAddress, InvalidValue, Name, Text};
use serde_json::json;
use uuid::Uuid;
use workers::store::tickets::{self, attachments};

use crate::settings::{Database, mail_address};

/// Options of `flow ticket`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    database: Database,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Lists tickets that are not over, those that are due first first.
    List {
        /// In these states instead: open, in_progress, waiting_customer, waiting_support, resolved, closed.
        #[arg(long, value_delimiter = ',', value_parser = parsed::<TicketStatus>)]
        status: Vec<TicketStatus>,
        /// As JSON, a line each.
        #[arg(long)]
        json: bool,
    },
    /// Shows a ticket with everything that was said, notes too.
    Show {
        /// The ticket.
        id: Uuid,
    },
    /// Saves a file that belongs to a ticket.
    Attachment {
        /// The file, as flow ticket show says it.
        id: Uuid,
        /// Where it is saved; nothing may be there yet.
        #[arg(long)]
        to: PathBuf,
    },
    /// Answers, notes, assigns, or sets status and priority, all at once. The reconciler sends the mail.
    Handle {
        /// The ticket.
        id: Uuid,
        /// What is said to the customer.
        #[arg(long, value_parser = parsed::<Text>)]
        answer: Option<Text>,
        /// What only the support reads.
        #[arg(long, value_parser = parsed::<Text>)]
        note: Option<Text>,
        /// Where it stands from now on.
        #[arg(long, value_parser = parsed::<TicketStatus>)]
        status: Option<TicketStatus>,
        /// How urgent it is from now on: low, normal, high, urgent.
        #[arg(long, value_parser = parsed::<Priority>)]
        priority: Option<Priority>,
        /// Who sees to it from now on.
        #[arg(long, value_parser = parsed::<Name>)]
        assignee: Option<Name>,
        /// Who does this; the customer reads it.
        #[arg(long, env = "USER", default_value = "operator")]
        operator: String,
        /// Where mails about tickets go for the support.
        #[arg(long, env = "SUPPORT_EMAIL", value_parser = mail_address)]
        support_email: Option<EmailAddress>,
    },
}

fn parsed<T: std::str::FromStr<Err = InvalidValue>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|InvalidValue(reason)| reason)
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let db = args.database.connect().await?;
    match args.action {
        Action::List { status, json } => {
            let over = |status: &TicketStatus| *status == TicketStatus::Closed;
            let statuses = match status.is_empty() {
                true => TicketStatus::ALL
                    .iter()
                    .copied()
                    .filter(|s| !over(s))
                    .collect(),
                false => status,
            };
            for ticket in tickets::list(&db, &statuses, 1000).await? {
                println!("{}", shown(&ticket, json));
            }
        }
        Action::Show { id } => {
            let found = tickets::show(&db, id).await?;
            let (ticket, talk) = found.with_context(|| format!("there is no ticket {id}"))?;
            println!("{}", shown(&ticket, false));
            for said in talk {
                println!("\n{}", paragraph(&said));
                for file in attachments::of_message(&db, said.id).await? {
                    println!("[{}, {} bytes: {}]", file.name, file.size, file.id);
                }
            }
        }
        Action::Attachment { id, to } => {
            let found = attachments::find(&db, id).await?;
            let file = found.with_context(|| format!("there is no attachment {id}"))?;
            let shown = to.display();
            let mut saved = std::fs::File::create_new(&to)
                .with_context(|| format!("cannot create {shown}: is there something already?"))?;
            saved
                .write_all(&file.bytes)
                .with_context(|| format!("cannot write {shown}"))?;
            println!("{} is saved as {shown}", file.name);
        }
        Action::Handle {
            id,
            answer,
            note,
            status,
            priority,
            assignee,
            operator,
            support_email,
        } => {
            let request = HandlingRequest {
                answer,
                note,
                status,
                priority,
                assignee,
                ..HandlingRequest::default()
            };
            ensure!(
                request != HandlingRequest::default(),
                "say what is to be done: --answer, --note, --status, --priority or --assignee"
            );
            let support = support_email.as_ref().map(EmailAddress::as_str);
            let status = tickets::handle(&db, id, &operator, &request, support).await?;
            println!("{} is {status}", ticket_number(id));
        }
    }
    Ok(())
}

fn shown(ticket: &ticket::Model, json: bool) -> String {
    let number = ticket_number(ticket.id);
    if json {
        return json!({
            "id": ticket.id,
            "number": number,
            "account_id": ticket.account_id,
            "status": ticket.status,
            "priority": ticket.priority,
            "category": ticket.category,
            "subject": ticket.subject,
            "assignee": ticket.assignee,
            "order_id": ticket.order_id,
            "resource_id": ticket.resource_id,
            "invoice_id": ticket.invoice_id,
            "stage": ticket.stage,
            "trace_id": ticket.trace_id,
            "answer_due_at": ticket.answer_due_at,
            "answered_at": ticket.answered_at,
            "resolution_due_at": ticket.resolution_due_at,
            "created_at": ticket.created_at,
        })
        .to_string();
    }
    let due = match ticket.answered_at {
        None => ticket.answer_due_at,
        Some(_) => ticket.resolution_due_at,
    };
    let late = match ticket.resolved_at.is_none() && due < Utc::now() {
        true => " late",
        false => "",
    };
    format!(
        "{}  {number}  {:<17}{:<8}due {}{late}  {}",
        ticket.id,
        ticket.status,
        ticket.priority,
        due.format("%Y-%m-%d %H:%M"),
        ticket.subject
    )
}

fn paragraph(said: &ticket_message::Model) -> String {
    let at = said.created_at.format("%Y-%m-%d %H:%M");
    let internal = if said.internal { " (note)" } else { "" };
    format!("{at} {}{internal}:\n{}", said.author_name, said.body)
}
