//! `flow signing-key`: the keys that sign access tokens.

use chrono::TimeDelta;
use ingress::oauth::{list_signing_keys, rotate_signing_key, withdraw_signing_key};
use workers::store::parked::audit;

use crate::oauth_client::time;
use crate::settings::{Database, PepperFile};

/// Options of `flow signing-key`.
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
    /// Lists the keys, newest first.
    List,
    /// Publishes a new key. It signs after a while in place of the present one, which stays published
    /// until its last token is expired.
    Rotate {
        /// How many seconds the new key is published before it signs: longer than whoever checks
        /// tokens keeps the keys. At least five, so that every ingress knows of it.
        #[arg(long, default_value_t = 900, value_parser = clap::value_parser!(u32).range(5..=604_800))]
        publish_for: u32,
    },
    /// Takes a key back that is known to others: no token that it has signed works any more, within
    /// seconds. Another key signs from then on.
    Withdraw {
        /// Its id, which may begin with a hyphen.
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let db = args.database.connect().await?;
    let operator = args.operator;
    match args.action {
        Action::List => {
            println!("{:<45}{:<8}{:<21}RETIRED", "ID", "ALG", "SIGNS FROM");
            for key in list_signing_keys(&db).await? {
                println!(
                    "{:<45}{:<8}{:<21}{}",
                    key.id,
                    key.algorithm,
                    time(Some(key.active_from)),
                    time(key.retired_at)
                );
            }
        }
        Action::Withdraw { kid } => {
            let pepper = args.pepper.open(&db).await?;
            withdraw_signing_key(&db, &pepper, &kid).await?;
            audit(&db, &operator, "signing_key.withdraw", &kid, None).await?;
            println!("withdrew {kid}");
        }
        Action::Rotate { publish_for } => {
            let pepper = args.pepper.open(&db).await?;
            let publish_for = TimeDelta::seconds(publish_for.into());
            let new = rotate_signing_key(&db, &pepper, publish_for).await?;
            audit(&db, &operator, "signing_key.rotate", &new.kid, None).await?;
            println!(
                "published {}, which signs from {} on",
                new.kid,
                time(Some(new.active_from))
            );
        }
    }
    Ok(())
}
