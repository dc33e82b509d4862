//! `flow provider`: our accounts at cloud providers.

use std::io::Read;

use anyhow::{Context, ensure};
use uuid::Uuid;
use workers::store::provider_accounts;

use crate::oauth_client::time;
use crate::settings::{Database, PepperFile};

/// The longest credential.
const LONGEST: u64 = 8192;

/// Options of `flow provider`.
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
    /// Lists our accounts, and since when each has its credential.
    List,
    /// Stores what is proved with at the provider, such as a token of its API, which is read from the
    /// standard input. Workers use it within seconds.
    SetCredential {
        /// The account, by its id or by its provider if there is only one.
        account: String,
    },
    /// Removes what is proved with: the provider is called without it.
    RemoveCredential {
        /// The account, by its id or by its provider if there is only one.
        account: String,
    },
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let db = args.database.connect().await?;
    let accounts = provider_accounts::list(&db).await?;
    let find = |name: &str| -> anyhow::Result<Uuid> {
        let mut named = accounts
            .iter()
            .filter(|account| account.id.to_string() == name || account.provider == name);
        let found = named.next();
        let found =
            found.with_context(|| format!("there is no account {name}; see flow provider list"))?;
        ensure!(
            named.next().is_none(),
            "there are several accounts at {name}: say the id, see flow provider list"
        );
        Ok(found.id)
    };
    let (name, credential) = match args.action {
        Action::List => {
            println!(
                "{:<38}{:<16}{:<9}{:<21}NAME",
                "ID", "PROVIDER", "ACTIVE", "CREDENTIAL SINCE"
            );
            for account in &accounts {
                println!(
                    "{:<38}{:<16}{:<9}{:<21}{}",
                    account.id,
                    account.provider,
                    if account.active { "yes" } else { "no" },
                    time(account.credential_set_at),
                    account.name
                );
            }
            return Ok(());
        }
        Action::SetCredential { account } => (account, Some(read()?)),
        Action::RemoveCredential { account } => (account, None),
    };
    let (id, pepper) = (find(&name)?, args.pepper.open(&db).await?);
    let (key, credential) = (pepper.provider_key(), credential.as_deref());
    let set = provider_accounts::set_credential(&db, &key, id, credential, &args.operator);
    ensure!(set.await?, "the account {id} is gone");
    match credential {
        Some(_) => println!("The credential of {id} is stored."),
        None => println!("The credential of {id} is removed."),
    }
    Ok(())
}

/// A credential from the standard input: on the command line others would see it.
fn read() -> anyhow::Result<String> {
    let mut text = String::new();
    let read = std::io::stdin().take(LONGEST + 1).read_to_string(&mut text);
    read.context("read the credential from the standard input")?;
    let credential = text.trim();
    let visible = credential.bytes().all(|byte| byte.is_ascii_graphic());
    ensure!(
        !credential.is_empty() && visible && credential.len() as u64 <= LONGEST,
        "a credential is 1 to {LONGEST} visible ASCII characters, on the standard input"
    );
    Ok(credential.to_owned())
}
