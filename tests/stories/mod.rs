//! The stories, one file a theme.

mod accounts;
mod attacks;
mod contract;
mod crash;
mod credentials;
mod document;
mod embedded;
mod first_steps;
mod foreign_issuer;
mod frozen;
mod hostile;
mod http;
mod invoice;
mod issuer_keys;
mod limits;
mod mail;
mod oauth;
mod oauth_forgeries;
mod oauth_keys;
mod operations;
mod order;
mod partner;
mod payment;
mod provisioning;
mod reconciling;
mod secrets;
mod ticket;
mod token_endpoint;
mod trace;

use crate::support::suite::Suite;

pub(crate) fn register(suite: &mut Suite) {
    accounts::register(suite);
    attacks::register(suite);
    contract::register(suite);
    crash::register(suite);
    credentials::register(suite);
    document::register(suite);
    embedded::register(suite);
    first_steps::register(suite);
    foreign_issuer::register(suite);
    frozen::register(suite);
    hostile::register(suite);
    http::register(suite);
    invoice::register(suite);
    issuer_keys::register(suite);
    limits::register(suite);
    mail::register(suite);
    oauth::register(suite);
    oauth_forgeries::register(suite);
    oauth_keys::register(suite);
    operations::register(suite);
    order::register(suite);
    partner::register(suite);
    payment::register(suite);
    provisioning::register(suite);
    reconciling::register(suite);
    secrets::register(suite);
    ticket::register(suite);
    token_endpoint::register(suite);
    trace::register(suite);
}
