//! The tables, one file each, and how a write begins. No logic.

pub mod account;
pub mod account_contact;
pub mod api_key;
pub mod attachment;
pub mod audit_entry;
pub mod billed_period;
pub mod discrepancy;
pub mod document;
pub mod email_delivery;
pub mod foreign_client;
pub mod foreign_issuer;
pub mod invitation;
pub mod invoice;
pub mod invoice_line;
pub mod issuer;
pub mod membership;
pub mod meter;
pub mod number_series;
pub mod oauth_client;
pub mod offering;
pub mod one_time_token;
pub mod order;
pub mod order_event;
pub mod parked_message;
pub mod payment;
pub mod plan;
pub mod price;
pub mod provider_account;
pub mod publisher;
pub mod publisher_account;
pub mod recovery_code;
pub mod reminder;
pub mod request;
pub mod resource;
pub mod session;
pub mod setting;
pub mod signing_key;
pub mod stage;
pub mod tax_rate;
pub mod ticket;
pub mod ticket_attachment;
pub mod ticket_event;
pub mod ticket_message;
pub mod usage_record;
pub mod user;

use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};

/// Begins a transaction that is going to write.
///
/// # Errors
/// When the database cannot be reached.
pub async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    // SQLite: take the write lock at once. A transaction that begins by reading cannot wait for it.
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    db.begin_with_options(options).await
}
