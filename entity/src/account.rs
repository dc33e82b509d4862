//! A customer organisation or person: who orders and is invoiced.

use sea_orm::entity::prelude::*;

/// What kind of customer an account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum AccountKind {
    /// A taxable business.
    #[sea_orm(string_value = "business")]
    Business,
    /// A private person.
    #[sea_orm(string_value = "person")]
    Person,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "account")]
pub struct Model {
    /// The account.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Business or person, which decides the tax.
    pub kind: AccountKind,
    /// Legal name.
    pub name: String,
    /// Where invoices are mailed. Nothing: invoices cannot be delivered, and say so.
    pub email: Option<String>,
    /// Address: street and number, possibly several lines.
    pub street: String,
    /// Address: postal code.
    pub postal_code: String,
    /// Address: town.
    pub city: String,
    /// Address: ISO 3166-1 alpha-2.
    pub country: String,
    /// VAT identification number.
    pub vat_id: Option<String>,
    /// ISO 4217 code of the currency it is invoiced in.
    pub currency: String,
    /// Language of its documents and mails: `en`, `de`, `fr`.
    pub locale: String,
    /// IANA name of the zone that its billing periods are in.
    pub time_zone: String,
    /// Days from issue to due date.
    pub payment_terms_days: i32,
    /// Grows with every change.
    pub version: i32,
    /// Whether its credentials work.
    pub active: bool,
    /// When it was created.
    pub created_at: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
