//! `GET /v1/statements`: what was invoiced and paid, day by day, with the balance after each.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use chrono::NaiveDate;
use entity::invoice::{self, InvoiceKind, InvoiceState};
use entity::payment;
use schemars::JsonSchema;
use schemas::values::Money;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};
use serde::Serialize;
use uuid::Uuid;
use warp::reply::Response;

use crate::call::Call;
use crate::error::ApiError;
use crate::invoice_items::money;
use crate::reply;

/// A statement for each currency that the account was invoiced in, on one page.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Statements {
    items: Vec<Statement>,
    /// Always null.
    next: Option<String>,
}

/// What was invoiced and paid in one currency.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Statement {
    account_id: Uuid,
    currency: String,
    /// What was owed before the first entry.
    opening: Option<Money>,
    /// Oldest first.
    entries: Vec<Entry>,
    /// What is owed after the last entry.
    closing: Option<Money>,
}

/// An invoice or a payment.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "StatementEntry")]
struct Entry {
    day: NaiveDate,
    /// `invoice`, `credit_note` or `payment`.
    kind: &'static str,
    /// The number of the invoice or credit note, or what the bank calls the payment.
    reference: String,
    /// What it adds to what is owed: negative for a payment and a credit note.
    amount: Option<Money>,
    /// What is owed after it.
    balance: Option<Money>,
    links: EntryLinks,
}

/// Where the invoice or credit note of an entry is.
#[derive(Serialize, JsonSchema)]
struct EntryLinks {
    invoice: String,
}

/// Something that changes what is owed. On the same day an invoice comes before its payment.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Move {
    day: NaiveDate,
    /// Its place among those of the day.
    place: u8,
    kind: &'static str,
    reference: String,
    address: String,
    minor: i64,
}

/// Shows the statements of the account, from one day until another.
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    let (db, account_id) = (&call.state.db, call.account()?);
    let mut query = call.query();
    let (from, until) = (query.day("from"), query.day("until"));
    query.finish(Some(()))?;
    // Without what is printed on them, which is most of an invoice.
    let invoices = invoice::Entity::find()
        .filter(invoice::Column::AccountId.eq(account_id))
        .filter(invoice::Column::State.is_in([InvoiceState::Issued, InvoiceState::Credited]))
        .select_only()
        .columns([
            invoice::Column::Id,
            invoice::Column::Number,
            invoice::Column::IssueDate,
            invoice::Column::Currency,
            invoice::Column::TotalMinor,
        ])
        .column(invoice::Column::Kind)
        .into_tuple::<(
            Uuid,
            Option<String>,
            Option<NaiveDate>,
            String,
            i64,
            InvoiceKind,
        )>()
        .all(db)
        .await?;
    let payments = payment::Entity::find()
        .filter(payment::Column::AccountId.eq(account_id))
        .all(db)
        .await?;
    let mut moves: BTreeMap<String, Vec<Move>> = BTreeMap::new();
    for (id, number, day, currency, minor, kind) in invoices {
        let (place, kind, sign, address) = match kind {
            InvoiceKind::Invoice => (0, "invoice", 1, format!("/v1/invoices/{id}")),
            InvoiceKind::CreditNote => (1, "credit_note", -1, format!("/v1/credit-notes/{id}")),
        };
        moves.entry(currency).or_default().push(Move {
            day: day.unwrap_or_default(),
            place,
            kind,
            reference: number.unwrap_or_default(),
            address,
            minor: sign * minor,
        });
    }
    for payment in payments {
        moves.entry(payment.currency).or_default().push(Move {
            day: payment.received_on,
            place: 2,
            kind: "payment",
            reference: payment.reference,
            address: format!("/v1/invoices/{}", payment.invoice_id),
            minor: -payment.amount_minor,
        });
    }
    let from = from.unwrap_or(NaiveDate::MIN);
    let until = until.unwrap_or(NaiveDate::MAX);
    let statement = |(currency, moves)| statement(account_id, currency, moves, from..=until);
    Ok(reply::ok(&Statements {
        items: moves.into_iter().map(statement).collect(),
        next: None,
    }))
}

fn statement(
    account_id: Uuid,
    currency: String,
    mut moves: Vec<Move>,
    days: RangeInclusive<NaiveDate>,
) -> Statement {
    moves.sort();
    let amount = |minor| money(minor, &currency);
    let before = moves.iter().take_while(|next| next.day < *days.start());
    let opening: i64 = before.map(|earlier| earlier.minor).sum();
    let mut balance = opening;
    let mut entries = Vec::new();
    for next in moves {
        if !days.contains(&next.day) {
            continue;
        }
        balance += next.minor;
        entries.push(Entry {
            day: next.day,
            kind: next.kind,
            reference: next.reference,
            amount: amount(next.minor),
            balance: amount(balance),
            links: EntryLinks {
                invoice: next.address,
            },
        });
    }
    Statement {
        account_id,
        opening: amount(opening),
        closing: amount(balance),
        entries,
        currency,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_opens_with_what_was_owed_before() {
        let day = |day: u32| NaiveDate::from_ymd_opt(2026, 11, day).unwrap();
        let one = |date: u32, kind, minor| Move {
            day: day(date),
            place: u8::from(kind == "payment"),
            kind,
            reference: format!("{kind} {date}"),
            address: String::new(),
            minor,
        };
        let moves = || {
            vec![
                one(20, "payment", -50),
                one(1, "invoice", 100),
                one(10, "payment", -100),
                one(10, "invoice", 70),
                one(30, "invoice", 5),
            ]
        };
        let read = |from, until| {
            let statement = statement(
                Uuid::nil(),
                "EUR".to_owned(),
                moves(),
                day(from)..=day(until),
            );
            let minor = |money: Option<Money>| money.unwrap().minor;
            let entries = statement.entries.into_iter();
            let balances: Vec<_> = entries.map(|entry| minor(entry.balance)).collect();
            (minor(statement.opening), balances, minor(statement.closing))
        };
        assert_eq!(read(1, 30), (0, vec![100, 170, 70, 20, 25], 25));
        assert_eq!(read(10, 20), (100, vec![170, 70, 20], 20));
        assert_eq!(read(11, 19), (70, vec![], 70));
    }
}
