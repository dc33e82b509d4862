//! Invoices as the API shows them.

use chrono::{DateTime, NaiveDate, Utc};
use entity::email_delivery::{self, DeliveryState};
use entity::invoice::{self, InvoiceState, PaymentState};
use entity::{invoice_line, payment, reminder};
use schemars::JsonSchema;
use schemas::values::{Currency, Money};
use serde::Serialize;
use uuid::Uuid;

use crate::orders::{StageItem, text};
use crate::schema::{Decimal, States};

/// An issued invoice.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InvoiceSummary")]
pub(crate) struct InvoiceItem {
    pub(crate) id: Uuid,
    pub(crate) number: Option<String>,
    #[schemars(with = "States<InvoiceState>")]
    pub(crate) status: String,
    #[schemars(with = "States<PaymentState>")]
    pub(crate) payment: String,
    pub(crate) issue_date: Option<NaiveDate>,
    pub(crate) due_date: Option<NaiveDate>,
    pub(crate) issued_at: Option<DateTime<Utc>>,
    /// Without tax.
    pub(crate) net: Option<Money>,
    pub(crate) tax: Option<Money>,
    /// To be paid.
    pub(crate) total: Option<Money>,
    /// What was credited of it.
    pub(crate) credited: Option<Money>,
    /// What was paid.
    pub(crate) paid: Option<Money>,
    /// What is still to be paid.
    pub(crate) open: Option<Money>,
    /// Whether something is still to be paid after the due date, where the seller is.
    pub(crate) overdue: bool,
    pub(crate) trace_id: Option<String>,
    pub(crate) links: InvoiceLinks,
}

/// Where an invoice, its PDF and its order are.
#[derive(Serialize, JsonSchema)]
pub(crate) struct InvoiceLinks {
    #[serde(rename = "self")]
    pub(crate) own: String,
    pub(crate) pdf: String,
    pub(crate) order: Option<String>,
}

/// An invoice with its lines, how far it has come, and where its mails are.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Invoice")]
pub(crate) struct InvoiceDetails {
    #[serde(flatten)]
    pub(crate) invoice: InvoiceItem,
    #[serde(flatten)]
    pub(crate) parts: Parts,
    pub(crate) payments: Vec<PaymentItem>,
    pub(crate) credit_notes: Vec<CreditLink>,
    /// When it was reminded of, since it was not paid in time.
    pub(crate) reminders: Vec<ReminderItem>,
}

/// A reminder of an invoice.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Reminder")]
pub(crate) struct ReminderItem {
    /// How often with this one, from 1.
    level: i32,
    sent_on: NaiveDate,
    /// What was to be paid then.
    open: Option<Money>,
}

impl ReminderItem {
    pub(crate) fn of(reminder: &reminder::Model, currency: &str) -> Self {
        Self {
            level: reminder.level,
            sent_on: reminder.sent_on,
            open: money(reminder.open_minor, currency),
        }
    }
}

/// What is on a document and where it is.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Parts {
    pub(crate) lines: Vec<LineItem>,
    /// The steps of what is issued, in their order.
    pub(crate) stages: Vec<StageItem>,
    pub(crate) deliveries: Vec<DeliveryItem>,
    pub(crate) document: Option<DocumentItem>,
}

/// A credit note that corrects an invoice.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CreditNoteLink")]
pub(crate) struct CreditLink {
    id: Uuid,
    number: Option<String>,
    /// What is credited, tax included.
    total: Option<Money>,
}

impl CreditLink {
    pub(crate) fn of(note: &invoice::Model) -> Self {
        Self {
            id: note.id,
            number: note.number.clone(),
            total: money(note.total_minor, &note.currency),
        }
    }
}

/// What was paid and credited of an invoice, in minor units.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Settled {
    pub(crate) paid: i64,
    pub(crate) credited: i64,
}

/// A line of an invoice.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InvoiceLine")]
pub(crate) struct LineItem {
    pub(crate) position: i32,
    pub(crate) description: String,
    #[schemars(with = "Decimal")]
    pub(crate) quantity: String,
    pub(crate) unit: String,
    #[schemars(with = "Decimal")]
    pub(crate) unit_price: String,
    pub(crate) net: Option<Money>,
    /// The code of EN 16931: `S`, `Z`, `E`, `AE`, `K`, `G`, `O`.
    pub(crate) tax_category: String,
    #[schemars(with = "Decimal")]
    pub(crate) tax_rate: String,
    pub(crate) period: Option<PeriodItem>,
}

/// The time from `start` until before `end`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Period")]
pub(crate) struct PeriodItem {
    pub(crate) start: DateTime<Utc>,
    pub(crate) end: DateTime<Utc>,
}

/// A mail with the invoice.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Delivery")]
pub(crate) struct DeliveryItem {
    pub(crate) id: Uuid,
    pub(crate) recipient: String,
    #[schemars(with = "States<DeliveryState>")]
    pub(crate) status: String,
    pub(crate) attempts: i32,
    pub(crate) sent_at: Option<DateTime<Utc>>,
    pub(crate) last_error: Option<String>,
}

/// Money that was received, or given back.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Payment")]
pub(crate) struct PaymentItem {
    pub(crate) id: Uuid,
    pub(crate) amount: Option<Money>,
    pub(crate) received_on: NaiveDate,
    pub(crate) reference: String,
}

/// The PDF of an invoice.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Document")]
pub(crate) struct DocumentItem {
    pub(crate) sha256: String,
    pub(crate) pages: i32,
    pub(crate) template_version: String,
    pub(crate) renderer_version: String,
}

/// An amount in minor units of a currency.
pub(crate) fn money(minor: i64, currency: &str) -> Option<Money> {
    Some(Money::new(minor, currency.parse::<Currency>().ok()?))
}

pub(crate) fn item(invoice: invoice::Model, settled: Settled, today: NaiveDate) -> InvoiceItem {
    let Settled { paid, credited } = settled;
    let amount = |minor| money(minor, &invoice.currency);
    let open = match invoice.state {
        InvoiceState::Voided | InvoiceState::Credited => 0,
        InvoiceState::Draft | InvoiceState::Issued => {
            (invoice.total_minor - credited - paid).max(0)
        }
    };
    InvoiceItem {
        credited: amount(credited),
        paid: amount(paid),
        open: amount(open),
        overdue: is_overdue(open, invoice.due_date, today),
        id: invoice.id,
        net: amount(invoice.net_minor),
        tax: amount(invoice.tax_minor),
        total: amount(invoice.total_minor),
        number: invoice.number,
        status: text(&invoice.state),
        payment: text(&invoice.payment),
        issue_date: invoice.issue_date,
        due_date: invoice.due_date,
        issued_at: invoice.issued_at,
        trace_id: invoice.trace_id,
        links: InvoiceLinks {
            own: format!("/v1/invoices/{}", invoice.id),
            pdf: format!("/v1/invoices/{}/pdf", invoice.id),
            order: invoice.order_id.map(|id| format!("/v1/orders/{id}")),
        },
    }
}

/// It is not on the day itself.
fn is_overdue(open_minor: i64, due: Option<NaiveDate>, today: NaiveDate) -> bool {
    open_minor > 0 && due.is_some_and(|due| due < today)
}

pub(crate) fn line_item(line: invoice_line::Model, currency: &str) -> LineItem {
    let period = line.period_start.zip(line.period_end);
    LineItem {
        position: line.position,
        description: line.description,
        quantity: line.quantity,
        unit: line.unit,
        unit_price: line.unit_price,
        net: money(line.net_minor, currency),
        tax_category: line.tax_category,
        tax_rate: line.tax_rate,
        period: period.map(|(start, end)| PeriodItem { start, end }),
    }
}

pub(crate) fn payment_item(payment: payment::Model) -> PaymentItem {
    PaymentItem {
        id: payment.id,
        amount: money(payment.amount_minor, &payment.currency),
        received_on: payment.received_on,
        reference: payment.reference,
    }
}

pub(crate) fn delivery_item(delivery: email_delivery::Model) -> DeliveryItem {
    DeliveryItem {
        id: delivery.id,
        recipient: delivery.recipient,
        status: text(&delivery.state),
        attempts: delivery.attempts,
        sent_at: delivery.sent_at,
        last_error: delivery.last_error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invoice_is_overdue_from_the_day_after() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let due = Some(day("2026-12-31"));
        for (open, due, today, expected) in [
            (1, due, "2026-12-31", false),
            (1, due, "2027-01-01", true),
            (0, due, "2027-01-01", false),
            (1, None, "2027-01-01", false),
        ] {
            assert_eq!(
                is_overdue(open, due, day(today)),
                expected,
                "{open} {today}"
            );
        }
    }
}
