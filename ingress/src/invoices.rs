//! `GET /v1/invoices`, `GET /v1/invoices/{id}`, `GET /v1/invoices/{id}/pdf`.

use std::sync::Arc;

use entity::{document, email_delivery, invoice, invoice_line, stage};
use schemas::values::{Currency, Money};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde_json::{Value, json};
use uuid::Uuid;
use warp::http::{HeaderValue, StatusCode};
use warp::reply::Response;

use crate::State;
use crate::credentials::{Caller, Scope};
use crate::error::ApiError;
use crate::orders::text;
use crate::page::{Page, PageQuery};
use crate::reply;

/// Lists the issued invoices of the account.
pub(crate) async fn list(
    caller: Caller,
    query: PageQuery,
    state: Arc<State>,
) -> Result<Response, ApiError> {
    caller.require(Scope::InvoicesRead)?;
    let page = query.parse()?;
    let mut rows = invoice::Entity::find()
        .filter(invoice::Column::AccountId.eq(caller.account_id))
        .filter(invoice::Column::State.ne(invoice::InvoiceState::Draft));
    if let Some(condition) = page.condition(invoice::Column::CreatedAt, invoice::Column::Id) {
        rows = rows.filter(condition);
    }
    let rows = rows
        .order_by_desc(invoice::Column::CreatedAt)
        .order_by_desc(invoice::Column::Id)
        .limit(page.limit + 1)
        .all(&state.db)
        .await?;
    Ok(reply::ok(&Page::new(
        rows,
        page,
        |row| (row.created_at, row.id),
        |row| item(&row),
    )))
}

/// Shows one invoice: its lines, how far it has come, and where its mail is.
pub(crate) async fn get(id: Uuid, caller: Caller, state: Arc<State>) -> Result<Response, ApiError> {
    caller.require(Scope::InvoicesRead)?;
    let invoice = own(id, &caller, &state).await?;
    let lines = invoice_line::Entity::find()
        .filter(invoice_line::Column::InvoiceId.eq(id))
        .order_by_asc(invoice_line::Column::Position)
        .all(&state.db)
        .await?;
    let stages = stage::Entity::find()
        .filter(stage::Column::SubjectId.eq(id))
        .all(&state.db)
        .await?;
    let stage = |name: &str| {
        let row = stages.iter().find(|row| row.name == name);
        json!({
            "name": name,
            "state": row.map_or_else(|| "pending".to_owned(), |row| text(&row.state)),
            "attempts": row.map_or(0, |row| row.attempts),
            "next_attempt_at": row.and_then(|row| row.next_attempt_at),
            "last_error": row.and_then(|row| row.last_error.clone()),
        })
    };
    let deliveries = email_delivery::Entity::find()
        .filter(email_delivery::Column::InvoiceId.eq(id))
        .order_by_asc(email_delivery::Column::CreatedAt)
        .all(&state.db)
        .await?;
    let document = document::Entity::find()
        .filter(document::Column::InvoiceId.eq(id))
        .select_only()
        .columns([
            document::Column::Sha256,
            document::Column::TemplateVersion,
            document::Column::RendererVersion,
        ])
        .column(document::Column::Pages)
        .into_tuple::<(String, String, String, i32)>()
        .one(&state.db)
        .await?;
    let currency = invoice.currency.clone();
    let mut body = item(&invoice);
    body["lines"] = lines
        .iter()
        .map(|line| line_item(line, &currency))
        .collect();
    body["stages"] = [stage("render"), stage("deliver")].into_iter().collect();
    body["deliveries"] = deliveries.iter().map(delivery_item).collect();
    body["document"] = document.map_or(Value::Null, |(sha256, template, renderer, pages)| {
        json!({ "sha256": sha256, "pages": pages, "template_version": template, "renderer_version": renderer })
    });
    Ok(reply::ok(&body))
}

/// Downloads the PDF, byte for byte as it was mailed. Its hash is its `ETag`.
pub(crate) async fn pdf(
    id: Uuid,
    caller: Caller,
    known: Option<String>,
    state: Arc<State>,
) -> Result<Response, ApiError> {
    caller.require(Scope::InvoicesRead)?;
    let invoice = own(id, &caller, &state).await?;
    let document = document::Entity::find()
        .filter(document::Column::InvoiceId.eq(id))
        .one(&state.db)
        .await?;
    let document = document.ok_or_else(|| {
        ApiError::not_ready(
            "The PDF of this invoice is being made. See the stage render of the invoice.",
        )
    })?;
    let etag = format!("\"{}\"", document.sha256);
    let unchanged = known.is_some_and(|known| {
        known
            .split(',')
            .any(|tag| [etag.as_str(), "*"].contains(&tag.trim()))
    });
    let mut response = Response::default();
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        let name = invoice.number.as_deref().unwrap_or("invoice");
        let name: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "-.".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        let headers = response.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/pdf"));
        insert(
            headers,
            "content-disposition",
            &format!("attachment; filename=\"{name}.pdf\""),
        );
        *response.body_mut() = document.bytes.into();
    }
    let headers = response.headers_mut();
    insert(headers, "etag", &etag);
    headers.insert(
        "cache-control",
        HeaderValue::from_static("private, no-cache"),
    );
    Ok(response)
}

fn insert(headers: &mut warp::http::HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The invoice, if it is the caller's and issued.
async fn own(id: Uuid, caller: &Caller, state: &State) -> Result<invoice::Model, ApiError> {
    invoice::Entity::find_by_id(id)
        .filter(invoice::Column::AccountId.eq(caller.account_id))
        .filter(invoice::Column::State.ne(invoice::InvoiceState::Draft))
        .one(&state.db)
        .await?
        .ok_or_else(|| ApiError::not_found("invoice"))
}

fn money(minor: i64, currency: &str) -> Value {
    match currency.parse::<Currency>() {
        Ok(currency) => json!(Money::new(minor, currency)),
        Err(_) => Value::Null,
    }
}

fn item(invoice: &invoice::Model) -> Value {
    let amount = |minor| money(minor, &invoice.currency);
    json!({
        "id": invoice.id,
        "number": invoice.number,
        "status": text(&invoice.state),
        "payment": text(&invoice.payment),
        "issue_date": invoice.issue_date,
        "due_date": invoice.due_date,
        "issued_at": invoice.issued_at,
        "net": amount(invoice.net_minor),
        "tax": amount(invoice.tax_minor),
        "total": amount(invoice.total_minor),
        "trace_id": invoice.trace_id,
        "links": {
            "self": format!("/v1/invoices/{}", invoice.id),
            "pdf": format!("/v1/invoices/{}/pdf", invoice.id),
            "order": invoice.order_id.map(|id| format!("/v1/orders/{id}")),
        },
    })
}

fn line_item(line: &invoice_line::Model, currency: &str) -> Value {
    json!({
        "position": line.position,
        "description": line.description,
        "quantity": line.quantity,
        "unit": line.unit,
        "unit_price": line.unit_price,
        "net": money(line.net_minor, currency),
        "tax_category": line.tax_category,
        "tax_rate": line.tax_rate,
        "period": line.period_start.zip(line.period_end).map(|(start, end)| json!({ "start": start, "end": end })),
    })
}

fn delivery_item(delivery: &email_delivery::Model) -> Value {
    json!({
        "id": delivery.id,
        "recipient": delivery.recipient,
        "status": text(&delivery.state),
        "attempts": delivery.attempts,
        "sent_at": delivery.sent_at,
        "last_error": delivery.last_error,
    })
}
