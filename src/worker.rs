//! `flow worker`.

use schemas::topology::Pool;

use crate::settings::{BrokerArgs, Database, PepperFile, Work};
use crate::shutdown;

/// Options of `flow worker`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The pools to run: order, provider, invoice, document, email, ticket, parker, reconciler.
    #[arg(required = true)]
    pools: Vec<Pool>,
    /// How many messages of a pool are handled at once.
    #[arg(long, env = "CONCURRENCY", value_parser = clap::value_parser!(u16).range(1..=512))]
    concurrency: Option<u16>,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    work: Work,
    #[command(flatten)]
    pepper: PepperFile,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal()?;
    let names: Vec<_> = args.pools.iter().map(|pool| pool.as_str()).collect();
    let broker = args
        .broker
        .open(&format!("worker {}", names.join(",")))
        .await?;
    let db = args.database.connect().await?;
    // Links in mails follow from it always, credentials at providers only if there are any.
    let pepper = match args.pools.contains(&Pool::Email) {
        true => Some(args.pepper.open(&db).await?),
        false => args.pepper.open_if_there(&db).await?,
    };
    let mut settings = args.work.settings(db, &broker, pepper.as_ref());
    settings.concurrency = args.concurrency;
    workers::run(&args.pools, settings, shutdown).await
}
