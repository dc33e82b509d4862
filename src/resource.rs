//! `flow resource`.

use anyhow::ensure;
use sea_orm::ActiveEnum;
use serde_json::json;
use workers::store::discrepancies;

use crate::settings::Database;

/// Options of `flow resource`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    database: Database,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Shows what the reconciler found to differ at the providers: orphans (a server with our label
    /// that is no resource) and ghosts (an active resource that is gone there). Exit code 1 if
    /// there is any. Nothing is repaired by itself.
    Audit {
        /// As JSON, a line each.
        #[arg(long)]
        json: bool,
    },
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let db = args.database.connect().await?;
    let Action::Audit { json } = args.action;
    let found = discrepancies::open(&db).await?;
    for row in &found {
        let kind = row.kind.to_value();
        if json {
            let line = json!({
                "kind": kind,
                "provider": row.provider,
                "external_id": row.external_id,
                "order_label": row.order_label,
                "resource_id": row.resource_id,
                "first_seen_at": row.first_seen_at,
                "last_seen_at": row.last_seen_at,
            });
            println!("{line}");
        } else {
            let whose = match (&row.order_label, row.resource_id) {
                (_, Some(id)) => format!("resource {id}"),
                (Some(order), None) => format!("labelled with order {order}"),
                (None, None) => "without a label of an order".to_owned(),
            };
            let since = row.first_seen_at.format("%Y-%m-%d %H:%M:%S");
            println!(
                "{kind:<8}{:<14}{:<24}{whose}, since {since}",
                row.provider, row.external_id
            );
        }
    }
    ensure!(found.is_empty(), "{} differences", found.len());
    Ok(())
}
