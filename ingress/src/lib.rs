//! The HTTP API: a thin layer that checks a credential, parses a request, publishes a message and
//! answers once the broker has confirmed it. Reads come from the database.
//!
//! No database write lies on the way of an order: orders are accepted while the database is down,
//! if the credential is known.

mod accepted;
pub mod accounts;
pub mod credentials;
mod error;
mod fields;
mod health;
mod invoices;
mod lookup;
mod offerings;
mod orders;
mod page;
mod reply;
mod resources;
mod routes;
mod server;

use std::sync::Arc;

use broker::Publisher;
use sea_orm::DatabaseConnection;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the API works with.
pub struct Settings {
    /// The database that is read.
    pub db: DatabaseConnection,
    /// Where accepted requests go.
    pub publisher: Publisher,
}

pub(crate) struct State {
    db: DatabaseConnection,
    publisher: Publisher,
    keys: credentials::Keys,
    accepted: accepted::Accepted,
    lookup: lookup::Lookup,
}

/// Serves the API until shutdown, then lets running requests finish.
pub async fn serve(listener: TcpListener, settings: Settings, shutdown: CancellationToken) {
    let Settings { db, publisher } = settings;
    let state = Arc::new(State {
        keys: credentials::Keys::new(db.clone()),
        accepted: accepted::Accepted::new(),
        lookup: lookup::Lookup::start(db.clone()),
        db,
        publisher: publisher.with_timeout(orders::CONFIRM_TIMEOUT),
    });
    server::serve(listener, routes::routes(state), shutdown).await;
}
