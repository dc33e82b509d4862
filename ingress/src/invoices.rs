//! `GET /v1/invoices`, `GET /v1/invoices/{id}`, `GET /v1/invoices/{id}/pdf`.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use entity::email_delivery::{self, DeliveryState};
use entity::invoice::{self, InvoiceState, PaymentState};
use entity::{document, invoice_line, issuer, payment, stage};
use schemars::JsonSchema;
use schemas::values::{Currency, Money, TimeZone};
use sea_orm::{
    ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    Select,
};
use serde::Serialize;
use uuid::Uuid;
use warp::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG};
use warp::reply::Response;

use crate::call::Call;
use crate::error::ApiError;
use crate::export;
use crate::fields::Fields;
use crate::orders::{StageItem, stage_items, text};
use crate::page::{Page, PageRequest};
use crate::reply;
use crate::schema::{Decimal, States};

/// The steps of an issued invoice, in their order.
const STAGES: [&str; 2] = ["render", "deliver"];

/// An issued invoice.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InvoiceSummary")]
pub(crate) struct InvoiceItem {
    id: Uuid,
    number: Option<String>,
    #[schemars(with = "States<InvoiceState>")]
    status: String,
    #[schemars(with = "States<PaymentState>")]
    payment: String,
    issue_date: Option<NaiveDate>,
    due_date: Option<NaiveDate>,
    issued_at: Option<DateTime<Utc>>,
    /// Without tax.
    net: Option<Money>,
    tax: Option<Money>,
    /// To be paid.
    total: Option<Money>,
    /// What was paid.
    paid: Option<Money>,
    /// What is still to be paid.
    open: Option<Money>,
    /// Whether something is still to be paid after the due date, where the seller is.
    overdue: bool,
    trace_id: Option<String>,
    links: InvoiceLinks,
}

/// Where an invoice, its PDF and its order are.
#[derive(Serialize, JsonSchema)]
struct InvoiceLinks {
    #[serde(rename = "self")]
    own: String,
    pdf: String,
    order: Option<String>,
}

/// An invoice with its lines, how far it has come, and where its mails are.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Invoice")]
pub(crate) struct InvoiceDetails {
    #[serde(flatten)]
    invoice: InvoiceItem,
    lines: Vec<LineItem>,
    /// The steps of the issued invoice, in their order.
    stages: Vec<StageItem>,
    deliveries: Vec<DeliveryItem>,
    document: Option<DocumentItem>,
    payments: Vec<PaymentItem>,
}

/// A line of an invoice.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InvoiceLine")]
struct LineItem {
    position: i32,
    description: String,
    #[schemars(with = "Decimal")]
    quantity: String,
    unit: String,
    #[schemars(with = "Decimal")]
    unit_price: String,
    net: Option<Money>,
    /// The code of EN 16931: `S`, `Z`, `E`, `AE`, `K`, `G`, `O`.
    tax_category: String,
    #[schemars(with = "Decimal")]
    tax_rate: String,
    period: Option<PeriodItem>,
}

/// The time from `start` until before `end`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Period")]
struct PeriodItem {
    start: DateTime<Utc>,
    end: DateTime<Utc>,
}

/// A mail with the invoice.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Delivery")]
struct DeliveryItem {
    id: Uuid,
    recipient: String,
    #[schemars(with = "States<DeliveryState>")]
    status: String,
    attempts: i32,
    sent_at: Option<DateTime<Utc>>,
    last_error: Option<String>,
}

/// Money that was received, or given back.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Payment")]
struct PaymentItem {
    id: Uuid,
    amount: Option<Money>,
    received_on: NaiveDate,
    reference: String,
}

/// The PDF of an invoice.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Document")]
struct DocumentItem {
    sha256: String,
    pages: i32,
    template_version: String,
    renderer_version: String,
}

/// Lists the issued invoices of the account, as JSON or as CSV.
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    let mut query = call.query();
    let chosen = chosen(&mut query, call.account()?);
    if export::is_wanted(call.header("accept")?) {
        query.finish(Some(()))?;
        return export::csv(&call.state.db, chosen).await;
    }
    let page = PageRequest::read(&mut query);
    let page = query.finish(page)?;
    let mut rows = chosen;
    if let Some(condition) = page.condition(invoice::Column::CreatedAt, invoice::Column::Id) {
        rows = rows.filter(condition);
    }
    let rows = rows
        .order_by_desc(invoice::Column::CreatedAt)
        .order_by_desc(invoice::Column::Id)
        .limit(page.limit + 1)
        .all(&call.state.db)
        .await?;
    let paid = paid(&call.state.db, rows.iter().map(|row| row.id)).await?;
    let today = today(&call.state.db).await?;
    Ok(reply::ok(&Page::new(
        rows,
        page,
        |row| (row.created_at, row.id),
        |row| {
            let paid = paid.get(&row.id).copied().unwrap_or_default();
            item(row, paid, today)
        },
    )))
}

/// What was paid for each of these invoices, in minor units.
async fn paid(
    db: &DatabaseConnection,
    invoices: impl Iterator<Item = Uuid>,
) -> Result<HashMap<Uuid, i64>, DbErr> {
    let payments: Vec<(Uuid, i64)> = payment::Entity::find()
        .filter(payment::Column::InvoiceId.is_in(invoices))
        .select_only()
        .columns([payment::Column::InvoiceId, payment::Column::AmountMinor])
        .into_tuple()
        .all(db)
        .await?;
    let mut paid = HashMap::new();
    for (invoice, amount) in payments {
        *paid.entry(invoice).or_default() += amount;
    }
    Ok(paid)
}

/// The day it is where the seller is.
async fn today(db: &DatabaseConnection) -> Result<NaiveDate, DbErr> {
    let issuer = issuer::Entity::find().one(db).await?;
    let zone = issuer.and_then(|issuer| issuer.time_zone.parse::<TimeZone>().ok());
    let now = Utc::now();
    Ok(zone.map_or_else(
        || now.date_naive(),
        |TimeZone(zone)| now.with_timezone(&zone).date_naive(),
    ))
}

/// The issued invoices of an account that a query asks for.
fn chosen(query: &mut Fields, account_id: Uuid) -> Select<invoice::Entity> {
    use invoice::Column::{AccountId, IssueDate, OrderId, Payment, State};
    let status: Option<InvoiceState> = query.one_of("status");
    let payment: Option<PaymentState> = query.one_of("payment");
    let order_id = query.id("order_id");
    let (from, until) = (query.day("issued_from"), query.day("issued_until"));
    let mut chosen = invoice::Entity::find()
        .filter(AccountId.eq(account_id))
        .filter(State.ne(InvoiceState::Draft));
    if let Some(status) = status {
        chosen = chosen.filter(State.eq(status));
    }
    if let Some(payment) = payment {
        chosen = chosen.filter(Payment.eq(payment));
    }
    if let Some(order_id) = order_id {
        chosen = chosen.filter(OrderId.eq(order_id));
    }
    if let Some(from) = from {
        chosen = chosen.filter(IssueDate.gte(from));
    }
    if let Some(until) = until {
        chosen = chosen.filter(IssueDate.lte(until));
    }
    chosen
}

/// Shows one invoice.
pub(crate) async fn get(call: Call) -> Result<Response, ApiError> {
    let (invoice, db) = (own(&call).await?, &call.state.db);
    let lines = invoice_line::Entity::find()
        .filter(invoice_line::Column::InvoiceId.eq(invoice.id))
        .order_by_asc(invoice_line::Column::Position)
        .all(db)
        .await?;
    let stages = stage::Entity::find()
        .filter(stage::Column::SubjectId.eq(invoice.id))
        .all(db)
        .await?;
    let deliveries = email_delivery::Entity::find()
        .filter(email_delivery::Column::InvoiceId.eq(invoice.id))
        .order_by_asc(email_delivery::Column::CreatedAt)
        .all(db)
        .await?;
    let document = document::Entity::find()
        .filter(document::Column::InvoiceId.eq(invoice.id))
        .select_only()
        .columns([
            document::Column::Sha256,
            document::Column::TemplateVersion,
            document::Column::RendererVersion,
        ])
        .column(document::Column::Pages)
        .into_tuple::<(String, String, String, i32)>()
        .one(db)
        .await?;
    let document_item = |(sha256, template_version, renderer_version, pages)| DocumentItem {
        sha256,
        pages,
        template_version,
        renderer_version,
    };
    let payments = payment::Entity::find()
        .filter(payment::Column::InvoiceId.eq(invoice.id))
        .order_by_asc(payment::Column::RecordedAt)
        .all(db)
        .await?;
    let paid = payments.iter().map(|payment| payment.amount_minor).sum();
    let today = today(db).await?;
    let currency = invoice.currency.clone();
    let line = |line| line_item(line, &currency);
    Ok(reply::ok(&InvoiceDetails {
        lines: lines.into_iter().map(line).collect(),
        stages: stage_items(&STAGES, &stages),
        deliveries: deliveries.into_iter().map(delivery_item).collect(),
        document: document.map(document_item),
        payments: payments.into_iter().map(payment_item).collect(),
        invoice: item(invoice, paid, today),
    }))
}

/// Downloads the PDF, byte for byte as it was mailed. Its hash is its `ETag`.
pub(crate) async fn pdf(call: Call) -> Result<Response, ApiError> {
    let invoice = own(&call).await?;
    let document = document::Entity::find()
        .filter(document::Column::InvoiceId.eq(invoice.id))
        .one(&call.state.db)
        .await?;
    let document = document.ok_or_else(|| {
        ApiError::not_ready(
            "The PDF of this invoice is being made. See the stage render of the invoice.",
        )
    })?;
    let name = invoice.number.as_deref().unwrap_or("invoice");
    let plain = |c: char| match c.is_ascii_alphanumeric() || "-.".contains(c) {
        true => c,
        false => '_',
    };
    let name: String = name.chars().map(plain).collect();
    let mut response = Response::new(document.bytes.into());
    let disposition = format!("attachment; filename=\"{name}.pdf\"");
    reply::set(&mut response, CONTENT_TYPE, "application/pdf");
    reply::set(&mut response, CONTENT_DISPOSITION, &disposition);
    reply::set(&mut response, ETAG, &format!("\"{}\"", document.sha256));
    reply::set(&mut response, CACHE_CONTROL, "private, no-cache");
    Ok(response)
}

/// The invoice in the path, if it is the caller's and issued.
async fn own(call: &Call) -> Result<invoice::Model, ApiError> {
    invoice::Entity::find_by_id(call.id("invoice")?)
        .filter(invoice::Column::AccountId.eq(call.account()?))
        .filter(invoice::Column::State.ne(InvoiceState::Draft))
        .one(&call.state.db)
        .await?
        .ok_or_else(|| ApiError::not_found("invoice"))
}

/// An amount in minor units of a currency.
pub(crate) fn money(minor: i64, currency: &str) -> Option<Money> {
    Some(Money::new(minor, currency.parse::<Currency>().ok()?))
}

fn item(invoice: invoice::Model, paid: i64, today: NaiveDate) -> InvoiceItem {
    let amount = |minor| money(minor, &invoice.currency);
    let open = match invoice.state {
        InvoiceState::Voided | InvoiceState::Credited => 0,
        InvoiceState::Draft | InvoiceState::Issued => invoice.total_minor - paid,
    };
    InvoiceItem {
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

fn line_item(line: invoice_line::Model, currency: &str) -> LineItem {
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

fn payment_item(payment: payment::Model) -> PaymentItem {
    PaymentItem {
        id: payment.id,
        amount: money(payment.amount_minor, &payment.currency),
        received_on: payment.received_on,
        reference: payment.reference,
    }
}

fn delivery_item(delivery: email_delivery::Model) -> DeliveryItem {
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
