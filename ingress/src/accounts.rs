//! Accounts: synchronous, written to the database.

use chrono::Utc;
use entity::account::{self, AccountKind};
use schemas::values::{CountryCode, Currency, EmailAddress, Locale, Name, TimeZone, VatId};
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, Set};
use uuid::Uuid;

/// An account to be created.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// Business or person.
    pub kind: AccountKind,
    /// Legal name.
    pub name: Name,
    /// Where invoices are mailed.
    pub email: Option<EmailAddress>,
    /// Street and number, possibly several lines.
    pub street: String,
    /// Postal code.
    pub postal_code: String,
    /// Town.
    pub city: String,
    /// Country.
    pub country: CountryCode,
    /// VAT identification number.
    pub vat_id: Option<VatId>,
    /// The currency it is invoiced in.
    pub currency: Currency,
    /// The language of its documents and mails.
    pub locale: Locale,
    /// The zone that its billing periods are in.
    pub time_zone: TimeZone,
    /// Days from issue to due date.
    pub payment_terms_days: u16,
}

/// Creates an account and returns its id.
///
/// # Errors
/// When the database cannot be reached.
pub async fn create_account(db: &impl ConnectionTrait, new: NewAccount) -> Result<Uuid, DbErr> {
    let id = Uuid::now_v7();
    let row = account::ActiveModel {
        id: Set(id),
        kind: Set(new.kind),
        name: Set(new.name.into()),
        email: Set(new.email.map(Into::into)),
        street: Set(new.street),
        postal_code: Set(new.postal_code),
        city: Set(new.city),
        country: Set(new.country.into()),
        vat_id: Set(new.vat_id.map(Into::into)),
        currency: Set(new.currency.into()),
        locale: Set(new.locale.to_string()),
        time_zone: Set(new.time_zone.to_string()),
        payment_terms_days: Set(new.payment_terms_days.into()),
        active: Set(true),
        created_at: Set(Utc::now()),
    };
    account::Entity::insert(row)
        .exec_without_returning(db)
        .await?;
    Ok(id)
}
