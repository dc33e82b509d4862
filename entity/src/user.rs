//! A person who may act for accounts.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "user")]
pub struct Model {
    /// The person.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The mail address, as it was written.
    pub email: String,
    /// The mail address in lower case: one person each.
    pub email_key: String,
    /// What to call them.
    pub name: String,
    /// Language of mails: `en`, `de`, `fr`.
    pub locale: String,
    /// Argon2id, as a PHC string.
    pub password_hash: Option<String>,
    /// When it was proved that the address is theirs.
    pub email_confirmed_at: DateTimeUtc,
    /// The secret of the second factor, sealed.
    pub totp_secret: Option<String>,
    /// Since when the second factor is asked for. Nothing: its secret is not confirmed yet.
    pub totp_confirmed_at: Option<DateTimeUtc>,
    /// The last step whose code was used: none counts twice (RFC 6238 §5.2).
    pub totp_last_step: Option<i64>,
    /// How many log-ins failed since the last one that did not.
    pub failed_log_ins: i32,
    /// Whether they may log in.
    pub active: bool,
    /// When they were created.
    pub created_at: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
