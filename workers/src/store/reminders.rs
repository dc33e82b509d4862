//! Reminders: which are due, and planned once each.

use anyhow::Context;
use chrono::{Days, NaiveDate, Utc};
use entity::email_delivery::{self, DeliveryState};
use entity::invoice::{self, InvoiceKind, InvoiceState, PaymentState};
use entity::reminder;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait,
    QueryFilter, QueryOrder, QuerySelect, QueryTrait,
};
use uuid::Uuid;

use super::payments::{self, Balance};
use super::{begin, documents, invoices, mails, stages};

/// The template of its mails.
pub(crate) const TEMPLATE: &str = "reminder";
/// How many one look plans of each level.
const AT_ONCE: u64 = 100;

pub(crate) async fn find(
    db: &impl ConnectionTrait,
    id: Uuid,
) -> Result<Option<reminder::Model>, DbErr> {
    reminder::Entity::find_by_id(id).one(db).await
}

/// Plans the reminders that are due: of level n once so many days after the due date as the n-th number
/// says. Returns how many. May run many times at once.
///
/// # Errors
/// When the database cannot be reached.
pub(crate) async fn look(db: &DatabaseConnection, days: &[u32]) -> anyhow::Result<u64> {
    let mut planned = 0;
    if days.is_empty() || invoices::issuer(db).await?.is_none() {
        return Ok(0);
    }
    let today = payments::today(db).await?;
    // The highest level first: who was never reminded for long is reminded once, not of each level.
    for (index, days) in days.iter().enumerate().rev() {
        let level = i32::try_from(index + 1)?;
        let before = today.checked_sub_days(Days::new((*days).into()));
        let before = before.context("the day is out of range")?;
        for invoice in due(db, level, before).await? {
            planned += u64::from(plan(db, &invoice, level, today).await?);
        }
    }
    Ok(planned)
}

/// Invoices that were due before a day, with something to pay, and not reminded of at this level or a
/// higher one.
async fn due(
    db: &impl ConnectionTrait,
    level: i32,
    before: NaiveDate,
) -> Result<Vec<invoice::Model>, DbErr> {
    use invoice::Column;
    let reminded = reminder::Entity::find()
        .filter(reminder::Column::Level.gte(level))
        .select_only()
        .column(reminder::Column::InvoiceId)
        .into_query();
    invoice::Entity::find()
        .filter(Column::Kind.eq(InvoiceKind::Invoice))
        .filter(Column::State.eq(InvoiceState::Issued))
        .filter(Column::Payment.is_in([PaymentState::Unpaid, PaymentState::PartiallyPaid]))
        .filter(Column::DueDate.lt(before))
        .filter(Column::Id.not_in_subquery(reminded))
        .order_by_asc(Column::DueDate)
        .limit(AT_ONCE)
        .all(db)
        .await
}

/// Plans a reminder and its mails. False if there is nothing to remind of, or somebody was faster.
async fn plan(
    db: &DatabaseConnection,
    invoice: &invoice::Model,
    level: i32,
    today: NaiveDate,
) -> anyhow::Result<bool> {
    let document = documents::find(db, documents::invoice_document_id(invoice.id)).await?;
    // One that nobody could get is a matter of its own: it waits for a person.
    let Some(document) = document else {
        return Ok(false);
    };
    let issuer = invoices::issuer(db).await?.context("there is no issuer")?;
    let transaction = begin(db).await?;
    // Under the lock of the invoice: a payment that comes at the same time counts.
    let locked = invoices::lock(&transaction, invoice.id).await?;
    let locked = locked.context("the invoice is gone")?;
    let open = Balance::of(&transaction, &locked).await?.open();
    if open == 0 || locked.state != InvoiceState::Issued {
        return Ok(false);
    }
    let id = Uuid::new_v5(&invoice.id, format!("reminder/{level}").as_bytes());
    let row = reminder::Model {
        id,
        invoice_id: invoice.id,
        level,
        open_minor: open,
        sent_on: today,
    };
    if !super::insert_once(&transaction, reminder::ActiveModel::from(row).reset_all()).await? {
        return Ok(false);
    }
    let domain = issuer.email.rsplit_once('@');
    let domain = domain.map_or("customer-flow.invalid", |(_, domain)| domain);
    let now = Utc::now();
    for (recipient, purpose) in mails::invoice_recipients(&transaction, invoice.account_id).await? {
        let delivery_id = mails::delivery_id(id, TEMPLATE, purpose, &recipient);
        let delivery = email_delivery::Model {
            id: delivery_id,
            subject_id: id,
            story_id: invoice.order_id.unwrap_or(invoice.id),
            document_id: Some(document.id),
            account_id: invoice.account_id,
            template: TEMPLATE.to_owned(),
            purpose: purpose.to_owned(),
            recipient,
            message_id: format!("<{delivery_id}@{domain}>"),
            state: DeliveryState::Queued,
            attempts: 0,
            fence: 0,
            lease_until_ms: None,
            smtp_reply: None,
            last_error: None,
            sent_at: None,
            created_at: now,
            updated_at: now,
        };
        mails::insert(&transaction, delivery).await?;
    }
    stages::to_be_sent_again(&transaction, id, stages::DELIVER).await?;
    transaction.commit().await?;
    Ok(true)
}
