//! `flow oauth-client`.

use anyhow::ensure;
use chrono::{DateTime, TimeDelta, Utc};
use ingress::credentials::Scope;
use ingress::oauth::{NewClient, create_client, list_clients, revoke_client};
use ipnet::IpNet;
use uuid::Uuid;
use workers::store::parked::audit;

use crate::settings::{Database, PepperFile};

/// Options of `flow oauth-client`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    pepper: PepperFile,
    /// Who decides, for the audit trail.
    #[arg(long, global = true, env = "USER", default_value = "operator")]
    operator: String,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Creates a client for an account and prints its id and its secret, for the only time.
    Create {
        /// The account it acts for.
        #[arg(long)]
        account: Uuid,
        /// What to call it.
        #[arg(long, default_value = "default")]
        name: String,
        /// What its tokens may allow; without any, everything within the account.
        #[arg(long, value_delimiter = ',')]
        scopes: Vec<Scope>,
        /// After how many seconds it stops working.
        #[arg(long)]
        expires_in: Option<u32>,
        /// From which networks it may be used: 192.0.2.0/24. Without any, from everywhere.
        #[arg(long, value_delimiter = ',')]
        networks: Vec<IpNet>,
    },
    /// Revokes a client. It and its tokens stop working everywhere within seconds.
    Revoke {
        /// Its id.
        id: Uuid,
    },
    /// Lists the clients of an account.
    List {
        /// The account.
        #[arg(long)]
        account: Uuid,
    },
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let db = args.database.connect().await?;
    let operator = args.operator;
    match args.action {
        Action::Create {
            account,
            name,
            mut scopes,
            expires_in,
            networks,
        } => {
            if scopes.is_empty() {
                scopes = Scope::of_customers();
            }
            let expires_at =
                expires_in.map(|seconds| Utc::now() + TimeDelta::seconds(seconds.into()));
            let new = NewClient {
                account_id: account,
                name: &name,
                scopes: &scopes,
                expires_at,
                networks: &networks,
                created_by: &operator,
            };
            let pepper = args.pepper.open(&db).await?;
            let (id, secret) = create_client(&db, &pepper, new).await?;
            let subject = id.to_string();
            audit(&db, &operator, "oauth_client.create", &subject, None).await?;
            println!("client id      {id}\nclient secret  {secret}");
        }
        Action::Revoke { id } => {
            ensure!(
                revoke_client(&db, id).await?,
                "there is no such client, or it is revoked already"
            );
            let subject = id.to_string();
            audit(&db, &operator, "oauth_client.revoke", &subject, None).await?;
            println!("revoked {id}");
        }
        Action::List { account } => {
            println!(
                "{:<38}{:<20}{:<21}{:<21}{:<21}SCOPES",
                "ID", "NAME", "EXPIRES", "REVOKED", "LAST USED"
            );
            for client in list_clients(&db, account).await? {
                println!(
                    "{:<38}{:<20}{:<21}{:<21}{:<21}{}",
                    client.id,
                    client.name,
                    time(client.expires_at),
                    time(client.revoked_at),
                    time(client.last_used_at),
                    client.scopes
                );
            }
        }
    }
    Ok(())
}

/// A time as it is listed.
pub(crate) fn time(at: Option<DateTime<Utc>>) -> String {
    at.map_or_else(
        || "-".to_owned(),
        |at| at.format("%Y-%m-%d %H:%M:%S").to_string(),
    )
}
