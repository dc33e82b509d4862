//! What a link in a mail proves, once. The secret in the link follows from the row and a key that is
//! not in the database.

use sea_orm::entity::prelude::*;

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Purpose {
    /// To confirm the address of a new person.
    #[sea_orm(string_value = "confirm")]
    Confirm,
    /// To set a new password.
    #[sea_orm(string_value = "reset")]
    Reset,
    /// None: it tells somebody with that address that they have signed up already.
    #[sea_orm(string_value = "known")]
    Known,
    /// None: it tells somebody that their password was changed.
    #[sea_orm(string_value = "password_changed")]
    PasswordChanged,
    /// None: it tells somebody that their second factor was changed.
    #[sea_orm(string_value = "second_factor_changed")]
    SecondFactorChanged,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "one_time_token")]
pub struct Model {
    /// The token, which is no secret.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// What it is for.
    pub purpose: Purpose,
    /// Where the mail goes.
    pub email: String,
    /// The address in lower case.
    pub email_key: String,
    /// The person, if there is one already.
    pub user_id: Option<Uuid>,
    /// The language of the mail.
    pub locale: String,
    /// What was asked for with it, as JSON.
    pub content: Option<String>,
    /// Until when it can be used.
    pub expires_at: DateTimeUtc,
    /// When it was used, or another one took its place.
    pub used_at: Option<DateTimeUtc>,
    /// When it was asked for.
    pub created_at: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
