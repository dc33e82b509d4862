//! An invoice. Once issued nothing of it changes but that it is voided, credited or paid.

use sea_orm::entity::prelude::*;

/// What a document of sale is (UNCL 1001: 380, 381).
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum InvoiceKind {
    /// It says what is owed.
    #[sea_orm(string_value = "invoice")]
    Invoice,
    /// It takes an invoice back, or a part of it.
    #[sea_orm(string_value = "credit_note")]
    CreditNote,
}

/// Whether an invoice is issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum InvoiceState {
    /// Being put together.
    #[sea_orm(string_value = "draft")]
    Draft,
    /// Numbered and final.
    #[sea_orm(string_value = "issued")]
    Issued,
    /// Issued and taken back.
    #[sea_orm(string_value = "voided")]
    Voided,
    /// Issued and fully credited.
    #[sea_orm(string_value = "credited")]
    Credited,
}

/// Whether an invoice is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum PaymentState {
    /// Nothing is paid.
    #[sea_orm(string_value = "unpaid")]
    Unpaid,
    /// A part is paid.
    #[sea_orm(string_value = "partially_paid")]
    PartiallyPaid,
    /// All is paid.
    #[sea_orm(string_value = "paid")]
    Paid,
    /// Given up.
    #[sea_orm(string_value = "written_off")]
    WrittenOff,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "invoice")]
pub struct Model {
    /// The invoice.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Whether it is an invoice or a credit note.
    pub kind: InvoiceKind,
    /// The invoice that a credit note corrects.
    pub corrects: Option<Uuid>,
    /// Who owes.
    pub account_id: Uuid,
    /// The order it is for; an order has one invoice.
    pub order_id: Option<Uuid>,
    /// Who is owed.
    pub issuer_id: Uuid,
    /// Whether it is issued.
    pub state: InvoiceState,
    /// Whether it is paid.
    pub payment: PaymentState,
    /// The year of its number.
    pub year: Option<i32>,
    /// Its place in the series of that year.
    pub sequence: Option<i64>,
    /// Its number, as printed.
    pub number: Option<String>,
    /// ISO 4217 code.
    pub currency: String,
    /// Sum without tax, in minor units.
    pub net_minor: i64,
    /// Tax, in minor units.
    pub tax_minor: i64,
    /// What is to be paid, in minor units.
    pub total_minor: i64,
    /// When it was issued.
    pub issued_at: Option<DateTimeUtc>,
    /// The day it was issued, where the issuer is.
    pub issue_date: Option<Date>,
    /// The day it is due.
    pub due_date: Option<Date>,
    /// Everything that is printed on it, frozen, as JSON.
    pub content: String,
    /// The trace it was issued in, in hex.
    pub trace_id: Option<String>,
    /// When its document was first handed out over the API.
    pub fetched_at: Option<DateTimeUtc>,
    /// When it was drafted.
    pub created_at: DateTimeUtc,
}

/// Relations are joined where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
