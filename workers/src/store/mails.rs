//! Mails and how far they have come.

use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use entity::account_contact::{self, Field};
use entity::email_delivery::{self, DeliveryState};
use entity::ticket_message;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, ConnectionTrait, DatabaseConnection, DbErr,
    EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
};
use uuid::Uuid;

use super::{catalog, now_ms, parked, stages};

/// Why the mail with an invoice is sent: it is for somebody, or they get a copy.
pub(crate) const DELIVERY: &str = "delivery";
pub(crate) const COPY: &str = "copy";
/// The texts of mails to people.
pub(crate) const PERSON: &str = "person";
pub(crate) const INVITATION: &str = "invitation";

/// The states that only a person can change.
const HELD: [DeliveryState; 3] = [
    DeliveryState::Ambiguous,
    DeliveryState::Refused,
    DeliveryState::Undeliverable,
];

/// The id of the delivery of something to a recipient for a purpose; it happens once.
pub(crate) fn delivery_id(
    subject_id: Uuid,
    template: &str,
    purpose: &str,
    recipient: &str,
) -> Uuid {
    Uuid::new_v5(
        &subject_id,
        format!("{template}/{purpose}/{recipient}").as_bytes(),
    )
}

pub(crate) async fn find(
    db: &impl ConnectionTrait,
    id: Uuid,
) -> Result<Option<email_delivery::Model>, DbErr> {
    email_delivery::Entity::find_by_id(id).one(db).await
}

pub(crate) async fn of_document(
    db: &impl ConnectionTrait,
    document_id: Uuid,
) -> Result<Vec<email_delivery::Model>, DbErr> {
    email_delivery::Entity::find()
        .filter(email_delivery::Column::DocumentId.eq(document_id))
        .order_by_asc(email_delivery::Column::Recipient)
        .all(db)
        .await
}

/// Whom the invoices of an account go to, and why: the contacts; without one that they are for, the
/// address of the account, which may be empty.
pub(crate) async fn invoice_recipients(
    db: &impl ConnectionTrait,
    account_id: Uuid,
) -> Result<Vec<(String, &'static str)>, DbErr> {
    let contacts = account_contact::Entity::find()
        .filter(account_contact::Column::AccountId.eq(account_id))
        .order_by_asc(account_contact::Column::EmailKey)
        .all(db)
        .await?;
    let purpose = |field: Field| match field {
        Field::To => DELIVERY,
        Field::Cc => COPY,
    };
    let gets = |contact: &account_contact::Model| {
        contact
            .kinds
            .split_whitespace()
            .any(|kind| kind == "invoice")
    };
    let mut recipients: Vec<_> = contacts
        .into_iter()
        .filter(gets)
        .map(|contact| (contact.email, purpose(contact.field)))
        .collect();
    if !recipients.iter().any(|(_, purpose)| *purpose == DELIVERY) {
        let account = catalog::account(db, account_id).await?;
        let address = account.and_then(|account| account.email);
        recipients.insert(0, (address.unwrap_or_default(), DELIVERY));
    }
    Ok(recipients)
}

/// The mails that tell of an invoice, or of something that was said in a ticket.
pub(crate) async fn of_subject(
    db: &impl ConnectionTrait,
    subject_id: Uuid,
) -> Result<Vec<email_delivery::Model>, DbErr> {
    email_delivery::Entity::find()
        .filter(email_delivery::Column::SubjectId.eq(subject_id))
        .order_by_asc(email_delivery::Column::Recipient)
        .all(db)
        .await
}

/// A mail that tells of the same and is not sent yet: one that waits for a person if there is one.
pub(crate) async fn left(
    db: &impl ConnectionTrait,
    subject_id: Uuid,
) -> Result<Option<email_delivery::Model>, DbErr> {
    let mut left = of_subject(db, subject_id).await?;
    left.retain(|mail| ![DeliveryState::Sent, DeliveryState::Dropped].contains(&mail.state));
    let held = left.iter().position(is_held);
    Ok(match left.is_empty() {
        true => None,
        false => Some(left.swap_remove(held.unwrap_or_default())),
    })
}

/// Whether a mail waits for a person.
pub(crate) fn is_held(mail: &email_delivery::Model) -> bool {
    HELD.contains(&mail.state)
}

/// The `Message-ID`s of the mails that told one reader of these messages, in their order.
pub(crate) async fn thread(
    db: &impl ConnectionTrait,
    messages: &[ticket_message::Model],
    purpose: &str,
) -> Result<Vec<String>, DbErr> {
    let ids: Vec<Uuid> = messages.iter().map(|message| message.id).collect();
    let mails = email_delivery::Entity::find()
        .filter(email_delivery::Column::SubjectId.is_in(ids.clone()))
        .filter(email_delivery::Column::Purpose.eq(purpose))
        .all(db)
        .await?;
    let of = |id: &Uuid| mails.iter().find(|mail| mail.subject_id == *id);
    let thread = ids.iter().filter_map(of);
    Ok(thread.map(|mail| mail.message_id.clone()).collect())
}

/// Plans a mail. False if it is planned already.
pub(crate) async fn insert(
    db: &impl ConnectionTrait,
    delivery: email_delivery::Model,
) -> Result<bool, DbErr> {
    super::insert_once(db, email_delivery::ActiveModel::from(delivery).reset_all()).await
}

/// Takes the right to send a mail, for `lease` by the clock of the database. Nothing of it is at the
/// server yet. Returns the fence of the new holder, or nothing while another one holds it.
pub(crate) async fn claim(
    db: &impl ConnectionTrait,
    delivery: &email_delivery::Model,
    lease: Duration,
) -> Result<Option<i64>, DbErr> {
    use email_delivery::Column;
    let fence = delivery.fence + 1;
    let free = Condition::any()
        .add(Column::LeaseUntilMs.is_null())
        .add(Column::LeaseUntilMs.into_expr().lt(now_ms(db)));
    let claimed = email_delivery::Entity::update_many()
        .col_expr(Column::State, Expr::value(DeliveryState::Sending))
        .col_expr(Column::Attempts, Column::Attempts.into_expr().add(1))
        .col_expr(Column::Fence, Expr::value(fence))
        .col_expr(Column::LeaseUntilMs, until(db, lease))
        .col_expr(Column::UpdatedAt, Expr::value(Utc::now()))
        .filter(Column::Id.eq(delivery.id))
        .filter(Column::Fence.eq(delivery.fence))
        .filter(Column::State.is_in([DeliveryState::Queued, DeliveryState::Sending]))
        .filter(free)
        .exec(db)
        .await?;
    Ok((claimed.rows_affected > 0).then_some(fence))
}

fn until(db: &impl ConnectionTrait, lease: Duration) -> sea_orm::sea_query::SimpleExpr {
    now_ms(db).add(i64::try_from(lease.as_millis()).unwrap_or(i64::MAX))
}

/// How long the lease of a mail still lasts, by the clock of the database.
pub(crate) async fn lease_left(db: &impl ConnectionTrait, id: Uuid) -> Result<Duration, DbErr> {
    let left: Option<Option<i64>> = email_delivery::Entity::find_by_id(id)
        .select_only()
        .expr_as(
            email_delivery::Column::LeaseUntilMs
                .into_expr()
                .sub(now_ms(db)),
            "left",
        )
        .into_tuple()
        .one(db)
        .await?;
    Ok(Duration::from_millis(
        left.flatten()
            .and_then(|left| u64::try_from(left).ok())
            .unwrap_or(0),
    ))
}

/// Notes that the body is about to go out, and keeps the lease for `lease`. False: fenced out.
pub(crate) async fn data_sent(
    db: &impl ConnectionTrait,
    id: Uuid,
    fence: i64,
    lease: Duration,
) -> Result<bool, DbErr> {
    use email_delivery::Column;
    let noted = email_delivery::Entity::update_many()
        .col_expr(Column::State, Expr::value(DeliveryState::DataSent))
        .col_expr(Column::LeaseUntilMs, until(db, lease))
        .col_expr(Column::UpdatedAt, Expr::value(Utc::now()))
        .filter(Column::Id.eq(id))
        .filter(Column::Fence.eq(fence))
        .filter(Column::State.eq(DeliveryState::Sending))
        .exec(db)
        .await?;
    Ok(noted.rows_affected > 0)
}

/// What became of a mail, or of an attempt to send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended<'a> {
    pub(crate) state: DeliveryState,
    pub(crate) smtp_reply: Option<&'a str>,
    pub(crate) error: Option<&'a str>,
    pub(crate) sent_at: Option<DateTime<Utc>>,
}

/// Writes what became of a mail and gives the lease back. False: fenced out.
pub(crate) async fn end(
    db: &impl ConnectionTrait,
    id: Uuid,
    fence: i64,
    ended: Ended<'_>,
) -> Result<bool, DbErr> {
    use email_delivery::Column;
    let written = email_delivery::Entity::update_many()
        .col_expr(Column::State, Expr::value(ended.state))
        .col_expr(Column::SmtpReply, Expr::value(ended.smtp_reply))
        .col_expr(Column::LastError, Expr::value(ended.error))
        .col_expr(Column::SentAt, Expr::value(ended.sent_at))
        .col_expr(Column::LeaseUntilMs, Expr::value(None::<i64>))
        .col_expr(Column::UpdatedAt, Expr::value(Utc::now()))
        .filter(Column::Id.eq(id))
        .filter(Column::Fence.eq(fence))
        .filter(Column::State.ne(DeliveryState::Sent))
        .exec(db)
        .await?;
    Ok(written.rows_affected > 0)
}

/// Mails in a state, oldest first; without one, those that wait for a person.
///
/// # Errors
/// When the database cannot be reached.
pub async fn list(
    db: &impl ConnectionTrait,
    state: Option<DeliveryState>,
    limit: u64,
) -> Result<Vec<email_delivery::Model>, DbErr> {
    use email_delivery::Column;
    let states = state.map_or_else(|| HELD.to_vec(), |state| vec![state]);
    email_delivery::Entity::find()
        .filter(Column::State.is_in(states))
        .order_by_asc(Column::UpdatedAt)
        .order_by_asc(Column::Id)
        .limit(limit)
        .all(db)
        .await
}

/// What an operator decides about a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is sent again, under the same `Message-ID`. The reconciler sees to it.
    Resend,
    /// It is not sent.
    Drop,
}

/// Writes a decision down, with who and why. False if the mail does not wait for one.
///
/// A mail without an address takes the one that its account has now.
///
/// # Errors
/// When there is still no address to send it to, or the database cannot be reached.
pub async fn decide(
    db: &DatabaseConnection,
    id: Uuid,
    decision: Decision,
    operator: &str,
    note: Option<&str>,
) -> anyhow::Result<bool> {
    use email_delivery::Column;
    let transaction = super::begin(db).await?;
    let Some(mail) = find(&transaction, id).await? else {
        return Ok(false);
    };
    let mut recipient = mail.recipient;
    if decision == Decision::Resend && recipient.is_empty() {
        let account = catalog::account(&transaction, mail.account_id).await?;
        recipient = account
            .and_then(|account| account.email)
            .context("the account has no mail address to send invoices to")?;
    }
    let (state, action) = match decision {
        Decision::Resend => (DeliveryState::Queued, "mail.resend"),
        Decision::Drop => (DeliveryState::Dropped, "mail.drop"),
    };
    let decided = email_delivery::Entity::update_many()
        .col_expr(Column::State, Expr::value(state))
        .col_expr(Column::Recipient, Expr::value(recipient))
        .col_expr(Column::LeaseUntilMs, Expr::value(None::<i64>))
        .col_expr(Column::Fence, Column::Fence.into_expr().add(1))
        .col_expr(Column::UpdatedAt, Expr::value(Utc::now()))
        .filter(Column::Id.eq(id))
        .filter(Column::State.is_in(HELD))
        .exec(&transaction)
        .await?;
    if decided.rows_affected == 0 {
        return Ok(false);
    }
    let subject = mail.subject_id;
    match decision {
        Decision::Resend => {
            stages::to_be_sent_again(&transaction, subject, stages::DELIVER).await?;
        }
        Decision::Drop => {
            let error = "it was decided that this mail is not sent";
            stages::failed(&transaction, subject, stages::DELIVER, error).await?;
        }
    }
    parked::audit(&transaction, operator, action, &id.to_string(), note).await?;
    transaction.commit().await?;
    Ok(true)
}
