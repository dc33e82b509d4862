//! `flow topology`.

use crate::settings::BrokerArgs;

/// Options of `flow topology`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    broker: BrokerArgs,
}

#[derive(Debug, Clone, Copy, clap::Subcommand)]
enum Action {
    /// Declares every exchange, queue and binding. Doing it again changes nothing.
    Apply,
    /// Checks that everything is there.
    Check,
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let broker = args.broker.open("topology").await?;
    let exchanges = schemas::topology::exchanges().len();
    let queues = schemas::topology::queues().len();
    match args.action {
        Action::Apply => {
            broker.apply_topology().await?;
            println!(
                "declared {exchanges} exchanges and {queues} queues on {}",
                args.broker.broker_url
            );
        }
        Action::Check => {
            broker.check_topology().await?;
            println!(
                "{exchanges} exchanges and {queues} queues are there on {}",
                args.broker.broker_url
            );
        }
    }
    Ok(())
}
