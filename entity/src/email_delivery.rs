//! One mail to one recipient.

use sea_orm::entity::prelude::*;

/// How far a mail has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum DeliveryState {
    /// Waits to be sent.
    #[sea_orm(string_value = "queued")]
    Queued,
    /// Talking to the mail server; nothing is accepted yet.
    #[sea_orm(string_value = "sending")]
    Sending,
    /// The body is on its way: from here on only the answer tells whether it was accepted.
    #[sea_orm(string_value = "data_sent")]
    DataSent,
    /// The mail server accepted it.
    #[sea_orm(string_value = "sent")]
    Sent,
    /// The connection broke between body and answer. Held: sending again might send twice.
    #[sea_orm(string_value = "ambiguous")]
    Ambiguous,
    /// The mail server refused it for good.
    #[sea_orm(string_value = "refused")]
    Refused,
    /// There is no address to send it to.
    #[sea_orm(string_value = "undeliverable")]
    Undeliverable,
    /// A person decided that it is not sent.
    #[sea_orm(string_value = "dropped")]
    Dropped,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "email_delivery")]
pub struct Model {
    /// The delivery.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// What it tells of: an invoice, something that was said in a ticket, a link or an invitation.
    pub subject_id: Uuid,
    /// The order or ticket that it belongs to: the correlation id of its messages.
    pub story_id: Uuid,
    /// The document it carries.
    pub document_id: Option<Uuid>,
    /// Whose it is; the nil id for what concerns a person and no account.
    pub account_id: Uuid,
    /// The text: `invoice`, `ticket`, `person`, `invitation`.
    pub template: String,
    /// Why it is sent: `delivery`, or `copy` for whom it is not meant first; to whom a ticket's goes,
    /// `customer` or `support`; what a link is for.
    pub purpose: String,
    /// The address; empty if the account has none.
    pub recipient: String,
    /// The `Message-ID` of the mail; the same for every attempt.
    pub message_id: String,
    /// How far it has come.
    pub state: DeliveryState,
    /// How many attempts have begun.
    pub attempts: i32,
    /// Grows with every lease; a write of an older one is refused.
    pub fence: i64,
    /// Until when the holder of the lease may act, in milliseconds by the clock of the database.
    pub lease_until_ms: Option<i64>,
    /// The mail server's last answer.
    pub smtp_reply: Option<String>,
    /// What went wrong the last time.
    pub last_error: Option<String>,
    /// When the mail server accepted it.
    pub sent_at: Option<DateTimeUtc>,
    /// When it was planned.
    pub created_at: DateTimeUtc,
    /// When it last changed.
    pub updated_at: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
