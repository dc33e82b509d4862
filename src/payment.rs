//! `flow payment`.

use anyhow::Context;
use chrono::NaiveDate;
use rust_decimal::Decimal;
use schemas::values::{Currency, Money, Name};
use serde_json::json;
use workers::store::payments::{self, NewPayment};

use crate::settings::Database;

/// Options of `flow payment`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    database: Database,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Records money that was received for an invoice. The same reference again is the same payment.
    Record {
        /// The number of the invoice.
        invoice: String,
        /// How much, in the currency of the invoice: 17.73. Negative to take a payment back.
        #[arg(long, allow_negative_numbers = true)]
        amount: Decimal,
        /// What the bank calls it.
        #[arg(long)]
        reference: Name,
        /// The day the money was there: 2026-12-31. Unset: today, where the issuer is.
        #[arg(long)]
        received: Option<NaiveDate>,
        /// Why, for the audit trail.
        #[arg(long)]
        note: Option<Name>,
        /// Who records it, for the audit trail.
        #[arg(long, env = "USER", default_value = "operator")]
        operator: String,
    },
    /// Lists the invoices that are not paid in time, the oldest first.
    Overdue {
        /// As of this day: 2026-12-31. Unset: today, where the issuer is.
        #[arg(long)]
        on: Option<NaiveDate>,
        /// As JSON, a line each.
        #[arg(long)]
        json: bool,
    },
    /// Lists the payments for an invoice, and what is open.
    List {
        /// The number of the invoice.
        invoice: String,
        /// As JSON, a line each.
        #[arg(long)]
        json: bool,
    },
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let db = args.database.connect().await?;
    match args.action {
        Action::Record {
            invoice,
            amount,
            reference,
            received,
            note,
            operator,
        } => {
            let new = NewPayment {
                invoice: &invoice,
                amount,
                received_on: match received {
                    Some(day) => day,
                    None => payments::today(&db).await?,
                },
                reference: reference.as_str(),
                note: note.as_ref().map(Name::as_str),
                operator: &operator,
            };
            let recorded = payments::record(&db, new).await?;
            let word = if recorded.new {
                "recorded"
            } else {
                "known already"
            };
            println!("{word}; {} of {invoice} is open", recorded.open);
        }
        Action::Overdue { on, json } => {
            let day = match on {
                Some(day) => day,
                None => payments::today(&db).await?,
            };
            for row in payments::overdue(&db, day).await? {
                if json {
                    let line = json!({
                        "number": row.number,
                        "account_id": row.account_id,
                        "due_date": row.due_date,
                        "open": row.open,
                    });
                    println!("{line}");
                } else {
                    let (days, open) = ((day - row.due_date).num_days(), row.open.to_string());
                    println!(
                        "{:<18}{open:>16}  due {}, {days} days ago  account {}",
                        row.number, row.due_date, row.account_id
                    );
                }
            }
        }
        Action::List { invoice, json } => {
            let (invoice, payments) = payments::list(&db, &invoice).await?;
            let currency: Currency = invoice.currency.parse().context("read the currency")?;
            let money = |minor| Money::new(minor, currency);
            for row in &payments {
                if json {
                    let line = json!({
                        "amount": money(row.amount_minor),
                        "received_on": row.received_on,
                        "reference": row.reference,
                        "note": row.note,
                        "recorded_by": row.recorded_by,
                        "recorded_at": row.recorded_at,
                    });
                    println!("{line}");
                } else {
                    let amount = money(row.amount_minor).to_string();
                    println!("{}  {amount:>16}  {}", row.received_on, row.reference);
                }
            }
            if !json {
                let balance = payments::Balance::of(&db, &invoice).await?;
                println!("{} is open", money(balance.open()));
            }
        }
    }
    Ok(())
}
