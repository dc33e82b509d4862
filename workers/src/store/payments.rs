//! Payments: recorded once, never more than is owed.

use anyhow::Context;
use chrono::{NaiveDate, Utc};
use entity::invoice::{self, InvoiceKind, InvoiceState, PaymentState};
use entity::payment;
use rust_decimal::Decimal;
use schemas::values::{Currency, Money, TimeZone};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait,
    QueryFilter, QueryOrder, QuerySelect, Set,
};
use uuid::Uuid;

use super::begin;
use super::parked::audit;

/// A payment to be recorded.
#[derive(Debug, Clone)]
pub struct NewPayment<'a> {
    /// The number of the invoice.
    pub invoice: &'a str,
    /// In the currency of the invoice; negative to take another one back.
    pub amount: Decimal,
    /// The day the money was there.
    pub received_on: NaiveDate,
    /// What the bank calls it. The same reference again is the same payment.
    pub reference: &'a str,
    /// Why, for the audit trail.
    pub note: Option<&'a str>,
    /// Who records it.
    pub operator: &'a str,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// The payment.
    pub id: Uuid,
    /// False: it was there already.
    pub new: bool,
    /// What is still to be paid.
    pub open: Money,
}

/// Records a payment. Once: the same reference again changes nothing.
///
/// # Errors
/// When there is no such invoice, the amount does not fit the currency or the invoice, or the
/// reference belongs to another payment.
pub async fn record(db: &DatabaseConnection, new: NewPayment<'_>) -> anyhow::Result<Recorded> {
    let transaction = begin(db).await?;
    let invoice = invoice::Entity::find()
        .filter(invoice::Column::Number.eq(new.invoice))
        .lock_exclusive()
        .one(&transaction)
        .await?;
    let invoice = invoice.with_context(|| format!("there is no invoice {}", new.invoice))?;
    let booked = book(&transaction, &invoice, &new).await?;
    let recorded = booked.map_err(|reason| anyhow::anyhow!(reason))?;
    transaction.commit().await?;
    Ok(recorded)
}

/// Records a payment for an invoice that is locked. The inner error says why it cannot be, in words for
/// whoever records it.
pub(crate) async fn book(
    transaction: &DatabaseTransaction,
    invoice: &invoice::Model,
    new: &NewPayment<'_>,
) -> anyhow::Result<Result<Recorded, String>> {
    if invoice.kind != InvoiceKind::Invoice || invoice.state == InvoiceState::Draft {
        return Ok(Err(format!(
            "{} is no invoice that can be paid",
            new.invoice
        )));
    }
    if invoice.state == InvoiceState::Voided {
        let reason = format!("{} is voided: there is nothing to pay", new.invoice);
        return Ok(Err(reason));
    }
    let currency: Currency = invoice.currency.parse()?;
    let amount = Money::round(new.amount, currency)?;
    if amount.decimal() != new.amount || amount.minor == 0 {
        let reason = format!("{} is no amount of money in {currency}", new.amount);
        return Ok(Err(reason));
    }
    let balance = Balance::of(transaction, invoice).await?;
    let known = payment::Entity::find()
        .filter(payment::Column::InvoiceId.eq(invoice.id))
        .filter(payment::Column::Reference.eq(new.reference))
        .one(transaction)
        .await?;
    if let Some(known) = known {
        if known.amount_minor != amount.minor || known.received_on != new.received_on {
            return Ok(Err(format!(
                "{} was recorded before, as {} on {}; take it back with another reference and a \
                 negative amount",
                new.reference,
                Money::new(known.amount_minor, currency),
                known.received_on
            )));
        }
        return Ok(Ok(Recorded {
            id: known.id,
            new: false,
            open: Money::new(balance.open(), currency),
        }));
    }
    let then = balance.paid.checked_add(amount.minor);
    let then = then.context("too much money")?;
    // What was paid before it was credited may be given back, bit by bit.
    if then < 0 || (amount.minor > 0 && then > balance.owed()) {
        return Ok(Err(format!(
            "{} of {} is paid: {amount} is too much",
            Money::new(balance.paid, currency),
            Money::new(balance.owed(), currency)
        )));
    }
    let id = Uuid::now_v7();
    let row = payment::ActiveModel {
        id: Set(id),
        invoice_id: Set(invoice.id),
        account_id: Set(invoice.account_id),
        currency: Set(invoice.currency.clone()),
        amount_minor: Set(amount.minor),
        received_on: Set(new.received_on),
        reference: Set(new.reference.to_owned()),
        note: Set(new.note.map(str::to_owned)),
        recorded_by: Set(new.operator.to_owned()),
        recorded_at: Set(Utc::now()),
    };
    payment::Entity::insert(row)
        .exec_without_returning(transaction)
        .await?;
    let balance = Balance {
        paid: then,
        ..balance
    };
    balance.show(transaction, invoice.id).await?;
    let note = format!("{amount}, {}", new.reference);
    let subject = invoice.id.to_string();
    let action = "payment.record";
    audit(transaction, new.operator, action, &subject, Some(&note)).await?;
    Ok(Ok(Recorded {
        id,
        new: true,
        open: Money::new(balance.open(), currency),
    }))
}

/// What was invoiced, credited and paid of one invoice, in minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// What was invoiced.
    pub total: i64,
    /// What was credited of it.
    pub credited: i64,
    /// What was paid.
    pub paid: i64,
}

impl Balance {
    /// Of this invoice.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn of(db: &impl ConnectionTrait, invoice: &invoice::Model) -> Result<Self, DbErr> {
        let notes = super::invoices::credit_notes(db, invoice.id).await?;
        Ok(Self {
            total: invoice.total_minor,
            credited: notes.iter().map(|note| note.total_minor).sum(),
            paid: paid(db, invoice.id).await?,
        })
    }

    /// What is to be paid in all.
    pub fn owed(self) -> i64 {
        self.total - self.credited
    }

    /// What is still to be paid.
    pub fn open(self) -> i64 {
        (self.owed() - self.paid).max(0)
    }

    fn state(self) -> PaymentState {
        match self.paid {
            0 => PaymentState::Unpaid,
            paid if paid >= self.owed() => PaymentState::Paid,
            _ => PaymentState::PartiallyPaid,
        }
    }

    /// Writes down whether the invoice is paid.
    pub(crate) async fn show(self, db: &impl ConnectionTrait, id: Uuid) -> Result<(), DbErr> {
        invoice::Entity::update_many()
            .col_expr(invoice::Column::Payment, Expr::value(self.state()))
            .filter(invoice::Column::Id.eq(id))
            .exec(db)
            .await
            .map(drop)
    }
}

/// The payments for an invoice, by its number, oldest first.
///
/// # Errors
/// When there is no such invoice.
pub async fn list(
    db: &impl ConnectionTrait,
    number: &str,
) -> anyhow::Result<(invoice::Model, Vec<payment::Model>)> {
    let invoice = invoice::Entity::find()
        .filter(invoice::Column::Number.eq(number))
        .one(db)
        .await?;
    let invoice = invoice.with_context(|| format!("there is no invoice {number}"))?;
    let payments = payment::Entity::find()
        .filter(payment::Column::InvoiceId.eq(invoice.id))
        .order_by_asc(payment::Column::RecordedAt)
        .all(db)
        .await?;
    Ok((invoice, payments))
}

/// An invoice that is not paid in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    /// Its number.
    pub number: String,
    /// Who owes.
    pub account_id: Uuid,
    /// The day it was due.
    pub due_date: NaiveDate,
    /// What is still to be paid.
    pub open: Money,
}

/// Every invoice that something is owed for after its due date, the oldest first.
///
/// # Errors
/// When the database cannot be reached, or holds a currency that there is not.
pub async fn overdue(db: &impl ConnectionTrait, today: NaiveDate) -> anyhow::Result<Vec<Overdue>> {
    let invoices = invoice::Entity::find()
        .filter(invoice::Column::Kind.eq(InvoiceKind::Invoice))
        .filter(invoice::Column::State.eq(InvoiceState::Issued))
        .filter(invoice::Column::Payment.is_in([PaymentState::Unpaid, PaymentState::PartiallyPaid]))
        .filter(invoice::Column::DueDate.lt(today))
        .order_by_asc(invoice::Column::DueDate)
        .order_by_asc(invoice::Column::Sequence)
        .all(db)
        .await?;
    let mut overdue = Vec::new();
    for invoice in invoices {
        let currency: Currency = invoice.currency.parse()?;
        overdue.push(Overdue {
            open: Money::new(Balance::of(db, &invoice).await?.open(), currency),
            number: invoice.number.unwrap_or_default(),
            account_id: invoice.account_id,
            due_date: invoice.due_date.unwrap_or(today),
        });
    }
    Ok(overdue)
}

/// The day it is where the issuer is: from then on something is overdue.
///
/// # Errors
/// When the database cannot be reached, or there is no issuer.
pub async fn today(db: &impl ConnectionTrait) -> anyhow::Result<NaiveDate> {
    let issuer = super::invoices::issuer(db).await?;
    let issuer = issuer.context("there is no issuer; see flow seed")?;
    let TimeZone(zone) = issuer.time_zone.parse()?;
    Ok(Utc::now().with_timezone(&zone).date_naive())
}

async fn paid(db: &impl ConnectionTrait, invoice_id: Uuid) -> Result<i64, DbErr> {
    let amounts: Vec<i64> = payment::Entity::find()
        .filter(payment::Column::InvoiceId.eq(invoice_id))
        .select_only()
        .column(payment::Column::AmountMinor)
        .into_tuple()
        .all(db)
        .await?;
    Ok(amounts.iter().sum())
}
