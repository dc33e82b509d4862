//! `GET /v1/invoices`, `GET /v1/invoices/{id}`, `GET /v1/invoices/{id}/pdf`.

use chrono::{DateTime, NaiveDate, Utc};
use entity::email_delivery::{self, DeliveryState};
use entity::invoice::{self, InvoiceState, PaymentState};
use entity::{document, invoice_line, stage};
use schemars::JsonSchema;
use schemas::values::{Currency, Money};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};
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
    Ok(reply::ok(&Page::new(
        rows,
        page,
        |row| (row.created_at, row.id),
        item,
    )))
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
    let currency = invoice.currency.clone();
    let line = |line| line_item(line, &currency);
    Ok(reply::ok(&InvoiceDetails {
        lines: lines.into_iter().map(line).collect(),
        stages: stage_items(&STAGES, &stages),
        deliveries: deliveries.into_iter().map(delivery_item).collect(),
        document: document.map(document_item),
        invoice: item(invoice),
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

fn item(invoice: invoice::Model) -> InvoiceItem {
    let amount = |minor| money(minor, &invoice.currency);
    InvoiceItem {
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
