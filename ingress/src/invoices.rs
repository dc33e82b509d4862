//! `GET /v1/invoices`, `GET /v1/invoices/{id}`, `GET /v1/invoices/{id}/pdf`.

use std::collections::HashMap;

use chrono::{NaiveDate, Utc};
use entity::invoice::{self, InvoiceKind, InvoiceState, PaymentState};
use entity::{document, email_delivery, invoice_line, issuer, payment, reminder, stage};
use schemas::values::TimeZone;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    Select,
};
use uuid::Uuid;
use warp::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG};
use warp::reply::Response;

use crate::call::Call;
use crate::error::ApiError;
use crate::export;
use crate::fields::Fields;
use crate::invoice_items::{
    CreditLink, DocumentItem, InvoiceDetails, InvoiceItem, Parts, ReminderItem, Settled,
    delivery_item, item, line_item, payment_item,
};
use crate::orders::stage_items;
use crate::page::{Page, PageRequest};
use crate::reply;

/// The steps of an issued invoice, in their order.
const STAGES: [&str; 2] = ["render", "deliver"];

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
    let rows = page.of(chosen, invoice::Column::CreatedAt, invoice::Column::Id);
    let rows = rows.all(&call.state.db).await?;
    let items = items(&call.state.db, &rows).await?;
    Ok(reply::ok(&Page::new(
        rows,
        page,
        |row| (row.created_at, row.id),
        items,
    )))
}

/// What makes the items of these invoices: what was paid and credited of each, and the day it is.
pub(crate) async fn items(
    db: &DatabaseConnection,
    rows: &[invoice::Model],
) -> Result<impl Fn(invoice::Model) -> InvoiceItem + use<>, DbErr> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let mut settled: HashMap<Uuid, Settled> = HashMap::new();
    let payments: Vec<(Uuid, i64)> = payment::Entity::find()
        .filter(payment::Column::InvoiceId.is_in(ids.iter().copied()))
        .select_only()
        .columns([payment::Column::InvoiceId, payment::Column::AmountMinor])
        .into_tuple()
        .all(db)
        .await?;
    for (invoice, amount) in payments {
        settled.entry(invoice).or_default().paid += amount;
    }
    let credits: Vec<(Option<Uuid>, i64)> = invoice::Entity::find()
        .filter(invoice::Column::Corrects.is_in(ids))
        .filter(invoice::Column::State.ne(InvoiceState::Draft))
        .select_only()
        .columns([invoice::Column::Corrects, invoice::Column::TotalMinor])
        .into_tuple()
        .all(db)
        .await?;
    for (invoice, amount) in credits {
        settled
            .entry(invoice.unwrap_or_default())
            .or_default()
            .credited += amount;
    }
    let today = today(db).await?;
    Ok(move |row: invoice::Model| {
        let settled = settled.get(&row.id).copied().unwrap_or_default();
        item(row, settled, today)
    })
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
    use invoice::Column::{AccountId, IssueDate, Kind, OrderId, Payment, State};
    let status: Option<InvoiceState> = query.one_of("status");
    let payment: Option<PaymentState> = query.one_of("payment");
    let order_id = query.id("order_id");
    let (from, until) = (query.day("issued_from"), query.day("issued_until"));
    let mut chosen = invoice::Entity::find()
        .filter(AccountId.eq(account_id))
        .filter(Kind.eq(InvoiceKind::Invoice))
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
    let invoice = own(&call, InvoiceKind::Invoice).await?;
    Ok(reply::ok(&details(&call.state.db, invoice).await?))
}

/// An invoice with everything about it.
pub(crate) async fn details(
    db: &DatabaseConnection,
    invoice: invoice::Model,
) -> Result<InvoiceDetails, DbErr> {
    let payments = payment::Entity::find()
        .filter(payment::Column::InvoiceId.eq(invoice.id))
        .order_by_asc(payment::Column::RecordedAt)
        .all(db)
        .await?;
    let credit_notes = invoice::Entity::find()
        .filter(invoice::Column::Corrects.eq(invoice.id))
        .filter(invoice::Column::State.ne(InvoiceState::Draft))
        .order_by_asc(invoice::Column::Sequence)
        .all(db)
        .await?;
    let reminders = reminder::Entity::find()
        .filter(reminder::Column::InvoiceId.eq(invoice.id))
        .order_by_asc(reminder::Column::Level)
        .all(db)
        .await?;
    let reminded = |reminder| ReminderItem::of(reminder, &invoice.currency);
    let reminders = reminders.iter().map(reminded).collect();
    let parts = parts(db, &invoice).await?;
    let items = items(db, std::slice::from_ref(&invoice)).await?;
    Ok(InvoiceDetails {
        credit_notes: credit_notes.iter().map(CreditLink::of).collect(),
        payments: payments.into_iter().map(payment_item).collect(),
        reminders,
        parts,
        invoice: items(invoice),
    })
}

/// What an invoice and a credit note have alike.
pub(crate) async fn parts(
    db: &DatabaseConnection,
    invoice: &invoice::Model,
) -> Result<Parts, DbErr> {
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
        .filter(email_delivery::Column::SubjectId.eq(invoice.id))
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
    let line = |line| line_item(line, &invoice.currency);
    Ok(Parts {
        lines: lines.into_iter().map(line).collect(),
        stages: stage_items(&STAGES, &stages),
        deliveries: deliveries.into_iter().map(delivery_item).collect(),
        document: document.map(document_item),
    })
}

/// Downloads the PDF, byte for byte as it was mailed. Its hash is its `ETag`.
pub(crate) async fn pdf(call: Call) -> Result<Response, ApiError> {
    let invoice = own(&call, InvoiceKind::Invoice).await?;
    if invoice.state == InvoiceState::Voided {
        return Err(ApiError::conflict(
            "The invoice was withdrawn before it left the house.",
        ));
    }
    hand_out(&call.state.db, invoice).await
}

/// The PDF, after it is noted that it leaves the house.
pub(crate) async fn hand_out(
    db: &DatabaseConnection,
    invoice: invoice::Model,
) -> Result<Response, ApiError> {
    let document = document::Entity::find()
        .filter(document::Column::InvoiceId.eq(invoice.id))
        .one(db)
        .await?;
    let document = document.ok_or_else(|| {
        ApiError::not_ready(
            "The PDF of this invoice is being made. See the stage render of the invoice.",
        )
    })?;
    if invoice.fetched_at.is_none() {
        let noted = invoice::Entity::update_many()
            .col_expr(invoice::Column::FetchedAt, Expr::value(Utc::now()))
            .filter(invoice::Column::Id.eq(invoice.id))
            .filter(invoice::Column::State.ne(InvoiceState::Voided))
            .exec(db)
            .await?;
        if noted.rows_affected == 0 {
            return Err(ApiError::not_found("invoice"));
        }
    }
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

/// The invoice or credit note in the path, if it is the caller's and issued.
pub(crate) async fn own(call: &Call, kind: InvoiceKind) -> Result<invoice::Model, ApiError> {
    let what = match kind {
        InvoiceKind::Invoice => "invoice",
        InvoiceKind::CreditNote => "credit note",
    };
    invoice::Entity::find_by_id(call.id(what)?)
        .filter(invoice::Column::AccountId.eq(call.account()?))
        .filter(invoice::Column::Kind.eq(kind))
        .filter(invoice::Column::State.ne(InvoiceState::Draft))
        .one(&call.state.db)
        .await?
        .ok_or_else(|| ApiError::not_found(what))
}
