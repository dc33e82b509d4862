//! The stories, one file a theme.

mod accounts;
mod attacks;
mod contacts;
mod contract;
mod crash;
mod credentials;
mod document;
mod embedded;
mod first_steps;
mod frozen;
mod hostile;
mod http;
mod invoice;
mod limits;
mod mail;
mod members;
mod operations;
mod order;
mod partner;
mod payment;
mod people;
mod provisioning;
mod reconciling;
mod second_factor;
mod secrets;
mod sessions;
mod ticket;
mod trace;

use crate::support::suite::Suite;

pub(crate) fn register(suite: &mut Suite) {
    accounts::register(suite);
    attacks::register(suite);
    contacts::register(suite);
    contract::register(suite);
    crash::register(suite);
    credentials::register(suite);
    document::register(suite);
    embedded::register(suite);
    first_steps::register(suite);
    frozen::register(suite);
    hostile::register(suite);
    http::register(suite);
    invoice::register(suite);
    limits::register(suite);
    mail::register(suite);
    members::register(suite);
    operations::register(suite);
    order::register(suite);
    partner::register(suite);
    payment::register(suite);
    people::register(suite);
    provisioning::register(suite);
    reconciling::register(suite);
    second_factor::register(suite);
    secrets::register(suite);
    sessions::register(suite);
    ticket::register(suite);
    trace::register(suite);
}
