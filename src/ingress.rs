//! `flow ingress`.

use anyhow::Context;
use tokio::net::TcpListener;

use crate::settings::{BrokerArgs, Database, Http, PepperFile};
use crate::shutdown;

/// Options of `flow ingress`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    http: Http,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    pepper: PepperFile,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal()?;
    let broker = args.broker.open("ingress").await?;
    let db = args.database.connect().await?;
    let listener = listen(&args.http.listen).await?;
    tracing::info!("listening on http://{}", listener.local_addr()?);
    let pepper = args.pepper.open(&db).await?;
    let settings = args.http.settings(db, broker.publisher(), pepper);
    ingress::serve(listener, settings, shutdown).await
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
