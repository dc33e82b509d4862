//! The HTTP API: a thin layer that checks a credential, parses a request, publishes a message and
//! answers once the broker has confirmed it. Reads come from the database.
//!
//! No database write lies on the way of an order: orders are accepted while the database is down,
//! if the credential is known.

mod accept;
mod accepted;
pub mod accounts;
mod api_keys;
mod audit;
mod audit_entries;
mod cache;
mod call;
pub mod credentials;
mod credit_notes;
mod dispatch;
mod docs;
mod endings;
mod error;
mod export;
mod fields;
mod health;
mod invoice_items;
mod invoices;
mod limits;
mod lookup;
pub mod oauth;
mod offerings;
mod openapi;
mod orders;
mod page;
mod people;
mod place_order;
mod proxy;
mod reply;
mod request_invoice;
mod requests;
mod resources;
mod route;
mod routes;
mod schema;
mod server;
mod staff_billing;
mod statements;
mod tickets;
mod wait;

pub use cache::CacheUrl;
pub use limits::RequestLimits;
pub use openapi::openapi;
pub use people::directory;

use std::sync::Arc;

use broker::Publisher;
use credentials::Pepper;
use entity::{order, request, ticket_event};
use ipnet::IpNet;
use lookup::Lookup;
use schemas::link::LinkKey;
use sea_orm::DatabaseConnection;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use url::Url;

/// What the API works with.
pub struct Settings {
    /// The database that is read.
    pub db: DatabaseConnection,
    /// Where accepted requests go.
    pub publisher: Publisher,
    /// What keys are hashed with.
    pub pepper: Pepper,
    /// What the ingresses share.
    pub cache: CacheUrl,
    /// How many requests a second there may be.
    pub limits: RequestLimits,
    /// How access tokens are issued and checked.
    pub oauth: oauth::OAuthSettings,
    /// The balancers in front: what they say about whom a request comes from is believed.
    pub proxies: Vec<IpNet>,
    /// The web pages of other origins that may call the API: `https://shop.example`.
    pub cors_origins: Vec<String>,
    /// Where people reach the API: https, or http on loopback.
    pub public_url: Option<Url>,
    /// Whether strangers may sign up.
    pub sign_up: bool,
}

pub(crate) struct State {
    db: DatabaseConnection,
    publisher: Publisher,
    keys: credentials::Keys,
    oauth: oauth::OAuth,
    pepper: Pepper,
    sessions: credentials::Sessions,
    cookies: credentials::Cookies,
    passwords: credentials::Passwords,
    second_factors: credentials::SecondFactors,
    links: LinkKey,
    /// The origin of the pages that people use, as browsers write it.
    origin: String,
    sign_up: bool,
    accepted: accepted::Accepted,
    limits: limits::Limits,
    cache: cache::Cache,
    /// What was ordered under an id.
    orders: lookup::Lookup,
    /// What was asked for or done to a ticket under an id.
    ticket_events: lookup::Lookup,
    /// What else was asked for under an id.
    requests: lookup::Lookup,
    /// A place for each GET that waits for a change.
    waiting: Semaphore,
}

/// Serves the API until shutdown, then lets running requests finish.
///
/// # Errors
/// When the URL of the cache cannot be used. A server that is away is no error.
pub async fn serve(
    listener: TcpListener,
    settings: Settings,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let Settings {
        db,
        publisher,
        pepper,
        cache,
        limits,
        oauth,
        proxies,
        cors_origins,
        public_url,
        sign_up,
    } = settings;
    let shared = cache::Cache::open(&cache)?;
    let public_url = match public_url {
        Some(url) => url,
        None => format!("http://{}", listener.local_addr()?).parse()?,
    };
    let origin = public_url.origin().ascii_serialization();
    let state = Arc::new(State {
        oauth: oauth::OAuth::new(&db, &pepper, &oauth, origin.clone())?,
        keys: credentials::Keys::new(db.clone(), pepper.clone()),
        sessions: credentials::Sessions::new(db.clone(), pepper.clone()),
        cookies: credentials::Cookies {
            secure: public_url.scheme() == "https",
        },
        passwords: credentials::Passwords::new(&pepper),
        second_factors: credentials::SecondFactors::new(&pepper),
        links: pepper.link_key(),
        origin,
        sign_up,
        pepper,
        accepted: accepted::Accepted::new(shared.clone()),
        limits: limits::Limits::new(limits, shared.clone()),
        cache: shared,
        orders: Lookup::start::<order::Entity>(
            &db,
            order::Column::Id,
            order::Column::RequestSha256,
        ),
        ticket_events: Lookup::start::<ticket_event::Entity>(
            &db,
            ticket_event::Column::Cause,
            ticket_event::Column::RequestSha256,
        ),
        requests: Lookup::start::<request::Entity>(
            &db,
            request::Column::Id,
            request::Column::RequestSha256,
        ),
        db,
        publisher: publisher.with_timeout(accept::CONFIRM_TIMEOUT),
        waiting: Semaphore::new(wait::MAX_WAITING),
    });
    let routes = dispatch::filter(state, routes::routes());
    let front = server::Front {
        proxies,
        cors_origins,
    };
    server::serve(listener, routes, front, shutdown).await;
    Ok(())
}
