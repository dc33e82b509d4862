//! `flow key`.

use anyhow::ensure;
use chrono::{DateTime, TimeDelta, Utc};
use ingress::credentials::{NewKey, Scope, create_key, list_keys, revoke_key, shown_id};
use ipnet::IpNet;
use uuid::Uuid;
use workers::store::parked::audit;

use crate::settings::{Database, PepperFile};

/// Options of `flow key`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    pepper: PepperFile,
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
        /// What it may do; without any, everything within the account.
        #[arg(long, value_delimiter = ',')]
        scopes: Vec<Scope>,
        /// After how many seconds it stops working.
        #[arg(long)]
        expires_in: Option<u32>,
        /// From which networks it may be used: 192.0.2.0/24. Without any, from everywhere.
        #[arg(long, value_delimiter = ',')]
        networks: Vec<IpNet>,
        /// Who creates it, for the audit trail.
        #[arg(long, env = "USER", default_value = "operator")]
        operator: String,
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
            networks,
            operator,
        } => {
            let scopes = if scopes.is_empty() {
                Scope::of_customers()
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
                networks: &networks,
                created_by: &operator,
            };
            let pepper = args.pepper.open(&db).await?;
            let key = create_key(&db, &pepper, new).await?;
            audit(&db, &operator, "api_key.create", shown_id(&key), None).await?;
            println!("{key}");
        }
        Action::Revoke { key, operator } => {
            ensure!(
                revoke_key(&db, &key).await?,
                "there is no such key, or it is revoked already"
            );
            let id = shown_id(&key);
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
                "{:<18}{:<20}{:<21}{:<21}{:<21}SCOPES",
                "ID", "NAME", "EXPIRES", "REVOKED", "LAST USED"
            );
            for key in list_keys(&db, account).await? {
                println!(
                    "{:<18}{:<20}{:<21}{:<21}{:<21}{}",
                    key.id,
                    key.name,
                    time(key.expires_at),
                    time(key.revoked_at),
                    time(key.last_used_at),
                    key.scopes
                );
            }
        }
    }
    Ok(())
}
