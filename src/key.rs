//! `flow key`.

use anyhow::ensure;
use chrono::{DateTime, TimeDelta, Utc};
use ingress::credentials::{NewKey, Scope, create_key, list_keys, revoke_key};
use uuid::Uuid;
use workers::store::parked::audit;

use crate::settings::Database;

/// Options of `flow key`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    database: Database,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Creates a key for an account and prints it, for the only time.
    Create {
        /// The account it acts for.
        #[arg(long)]
        account: Uuid,
        /// What to call it.
        #[arg(long, default_value = "default")]
        name: String,
        /// What it may do; without any, everything.
        #[arg(long, value_delimiter = ',')]
        scopes: Vec<Scope>,
        /// After how many seconds it stops working.
        #[arg(long)]
        expires_in: Option<u32>,
    },
    /// Revokes a key. It stops working everywhere within seconds.
    Revoke {
        /// The key, or the part between the first and the second underscore.
        key: String,
        /// Who revokes it, for the audit trail.
        #[arg(long, env = "USER", default_value = "operator")]
        operator: String,
    },
    /// Lists the keys of an account.
    List {
        /// The account.
        #[arg(long)]
        account: Uuid,
    },
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let db = args.database.connect().await?;
    match args.action {
        Action::Create {
            account,
            name,
            scopes,
            expires_in,
        } => {
            let scopes = if scopes.is_empty() {
                Scope::ALL.to_vec()
            } else {
                scopes
            };
            let expires_at =
                expires_in.map(|seconds| Utc::now() + TimeDelta::seconds(seconds.into()));
            let new = NewKey {
                account_id: account,
                name: &name,
                scopes: &scopes,
                expires_at,
            };
            println!("{}", create_key(&db, new).await?);
        }
        Action::Revoke { key, operator } => {
            ensure!(
                revoke_key(&db, &key).await?,
                "there is no such key, or it is revoked already"
            );
            let id = key.split('_').nth(1).unwrap_or(&key);
            audit(&db, &operator, "api_key.revoke", id, None).await?;
            println!("revoked {id}");
        }
        Action::List { account } => {
            let time = |at: Option<DateTime<Utc>>| {
                at.map_or_else(
                    || "-".to_owned(),
                    |at| at.format("%Y-%m-%d %H:%M:%S").to_string(),
                )
            };
            println!(
                "{:<18}{:<20}{:<21}{:<21}SCOPES",
                "ID", "NAME", "EXPIRES", "REVOKED"
            );
            for key in list_keys(&db, account).await? {
                println!(
                    "{:<18}{:<20}{:<21}{:<21}{}",
                    key.id,
                    key.name,
                    time(key.expires_at),
                    time(key.revoked_at),
                    key.scopes
                );
            }
        }
    }
    Ok(())
}
