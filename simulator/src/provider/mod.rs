//! A cloud provider that behaves like the real ones, well and badly.
//!
//! | route | what |
//! |---|---|
//! | `GET /v1/server-types` | types with prices as decimal strings |
//! | `POST /v1/servers` | create: 202 with the server and an action to poll; header `Idempotency-Token` |
//! | `GET /v1/servers?label=k=v&name=n&client_token=t` | list |
//! | `GET`, `DELETE /v1/servers/{id}` | one server |
//! | `GET /v1/servers/{id}/usage` | traffic so far |
//! | `GET /v1/actions/{id}` | `running`, `success` or `error` |
//! | `GET`, `PUT /control/faults` | the switches: [`Faults`] |
//! | `GET /control/ledger` | what really happened: [`Entry`] |

mod routes;
mod state;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use state::State;
pub use state::{CreateFault, Entry, Faults};

/// Serves the provider until shutdown. Servers are remembered in the ledger, if it has a path.
///
/// # Errors
/// When the ledger cannot be opened.
pub async fn serve(
    listener: TcpListener,
    ledger: Option<PathBuf>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let state = Arc::new(State::open(ledger.as_deref())?);
    crate::http::serve(listener, routes::routes(state), shutdown).await;
    Ok(())
}
