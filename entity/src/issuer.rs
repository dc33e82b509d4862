//! A legal entity that issues invoices: the seller.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "issuer")]
pub struct Model {
    /// The issuer.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Legal name.
    pub name: String,
    /// Address: street and number.
    pub street: String,
    /// Address: postal code.
    pub postal_code: String,
    /// Address: town.
    pub city: String,
    /// Address: ISO 3166-1 alpha-2.
    pub country: String,
    /// VAT identification number.
    pub vat_id: Option<String>,
    /// Register and number, as it must be printed.
    pub registration: String,
    /// Sender of mails, and contact.
    pub email: String,
    /// Contact.
    pub phone: String,
    /// Contact.
    pub website: String,
    /// Bank.
    pub bank_name: String,
    /// Account to pay to.
    pub iban: String,
    /// Bank identifier.
    pub bic: String,
    /// IANA name of the zone its days are in.
    pub time_zone: String,
    /// What its invoice numbers begin with: `INV-`.
    pub invoice_prefix: String,
    /// What the numbers of its credit notes begin with: `CN-`.
    pub credit_note_prefix: String,
    /// Whether it charges no VAT at all (small business).
    pub tax_exempt: bool,
    /// Logo as PNG.
    pub logo_png: Option<Vec<u8>>,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
