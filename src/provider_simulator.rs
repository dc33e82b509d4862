//! `flow provider-simulator`.

use std::path::PathBuf;

use crate::{ingress, shutdown};

/// Options of `flow provider-simulator`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: String,
    /// The file that remembers every server; without one they are forgotten.
    #[arg(long)]
    ledger: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal()?;
    let listener = ingress::listen(&args.listen).await?;
    tracing::info!(
        "the simulated provider listens on http://{}",
        listener.local_addr()?
    );
    simulator::provider::serve(listener, args.ledger, shutdown).await
}
