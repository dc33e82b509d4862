//! `flow ingress`.

use anyhow::Context;
use tokio::net::TcpListener;

use crate::settings::{BrokerArgs, Database};
use crate::shutdown;

/// Options of `flow ingress`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The address to listen on.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8080")]
    listen: String,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    database: Database,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal()?;
    let broker = args.broker.open("ingress").await?;
    let db = args.database.connect().await?;
    let listener = listen(&args.listen).await?;
    tracing::info!("listening on http://{}", listener.local_addr()?);
    let settings = ingress::Settings {
        db,
        publisher: broker.publisher(),
    };
    ingress::serve(listener, settings, shutdown).await;
    Ok(())
}

/// Binds an address.
///
/// # Errors
/// When it is in use, with what to do about it.
pub(crate) async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address}; choose another address with --listen"))
}
