//! The tables, one file each. No logic.

pub mod account;
pub mod api_key;
pub mod audit_entry;
pub mod discrepancy;
pub mod document;
pub mod email_delivery;
pub mod invoice;
pub mod invoice_line;
pub mod issuer;
pub mod number_series;
pub mod offering;
pub mod order;
pub mod order_event;
pub mod parked_message;
pub mod payment;
pub mod plan;
pub mod price;
pub mod provider_account;
pub mod publisher;
pub mod publisher_account;
pub mod resource;
pub mod setting;
pub mod stage;
pub mod tax_rate;
