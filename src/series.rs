//! `flow series`.

use anyhow::ensure;
use workers::store::invoices::audit;

use crate::settings::Database;

/// Options of `flow series`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    database: Database,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Proves that every series of numbers of invoices and credit notes is without gap and in the order of time. Exit
    /// code 1 if one is not.
    Audit {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let db = args.database.connect().await?;
    let Action::Audit { json } = args.action;
    let series = audit(&db).await?;
    let mut faults = 0;
    for audited in &series {
        faults += audited.faults.len();
        if json {
            let line = serde_json::json!({
                "issuer_id": audited.issuer_id,
                "kind": audited.kind,
                "year": audited.year,
                "last_number": audited.last_number,
                "invoices": audited.invoices,
                "faults": audited.faults,
            });
            println!("{line}");
        } else {
            println!(
                "issuer {} {} {}: {} {}, numbers 1 to {}, {}",
                audited.issuer_id,
                audited.kind,
                audited.year,
                audited.invoices,
                if audited.kind == "invoice" {
                    "invoices"
                } else {
                    "credit notes"
                },
                audited.last_number,
                if audited.faults.is_empty() {
                    "no gap"
                } else {
                    "FAULTY"
                }
            );
            for fault in &audited.faults {
                println!("  {fault}");
            }
        }
    }
    ensure!(faults == 0, "{faults} faults in the number series");
    Ok(())
}
