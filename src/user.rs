//! `flow user`.

use std::str::FromStr;

use anyhow::Context;
use data_encoding::BASE32_NOPAD;
use entity::membership::Role;
use ingress::credentials::Passwords;
use ingress::directory::{self, NewUser};
use rand::TryRngCore;
use rand::rngs::OsRng;
use schemas::values::{EmailAddress, Locale, Name};
use sea_orm::{ActiveEnum, DatabaseConnection, Iterable};
use uuid::Uuid;
use workers::store::parked::audit;

use crate::settings::{Database, PepperFile};

/// Options of `flow user`.
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
    /// Creates somebody who acts for an account, and prints a password for them, for the only time.
    /// Somebody who is there already acts for the account too, with the password that they have.
    Create(Create),
    /// Lists people and which accounts they act for.
    List {
        /// Only those of this account.
        #[arg(long)]
        account: Option<Uuid>,
    },
    /// Takes the second factor of somebody who has lost it, and logs them out everywhere.
    ResetSecondFactor {
        /// Their address.
        #[arg(long)]
        email: EmailAddress,
        /// Who does it, for the audit trail.
        #[arg(long, env = "USER", default_value = "operator")]
        operator: String,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// The account that they act for.
    #[arg(long)]
    account: Uuid,
    /// Their address, which is known to be theirs.
    #[arg(long)]
    email: EmailAddress,
    /// What to call them.
    #[arg(long)]
    name: Name,
    /// What they may do: owner, billing, technical, read-only.
    #[arg(long, default_value = "owner", value_parser = role)]
    role: Role,
    /// Language of mails to them: en, de, fr.
    #[arg(long, default_value = "en")]
    locale: Locale,
    /// Who creates them, for the audit trail.
    #[arg(long, env = "USER", default_value = "operator")]
    operator: String,
}

fn role(text: &str) -> Result<Role, String> {
    let names: Vec<_> = Role::iter().map(|role| role.to_value()).collect();
    Role::try_from_value(&text.to_owned())
        .map_err(|_| format!("must be one of {}", names.join(", ")))
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let db = args.database.connect().await?;
    match args.action {
        Action::Create(new) => {
            let pepper = args.pepper.open(&db).await?;
            match create(&db, &Passwords::new(&pepper), new).await? {
                Some(password) => println!("{password}"),
                None => println!("they act for the account too, with the password that they have"),
            }
        }
        Action::List { account } => {
            println!(
                "{:<38}{:<34}{:<15}{:<15}ACCOUNTS",
                "ID", "EMAIL", "SECOND FACTOR", "FAILED LOG-INS"
            );
            for (user, members) in directory::list_users(&db, account).await? {
                let accounts = members.iter();
                let accounts = accounts.map(|m| format!("{} {}", m.role.to_value(), m.account_id));
                let accounts: Vec<_> = accounts.collect();
                println!(
                    "{:<38}{:<34}{:<15}{:<15}{}",
                    user.id,
                    user.email,
                    if user.totp_confirmed_at.is_some() {
                        "yes"
                    } else {
                        "no"
                    },
                    user.failed_log_ins,
                    accounts.join(", ")
                );
            }
        }
        Action::ResetSecondFactor { email, operator } => {
            let transaction = entity::begin(&db).await?;
            let user = directory::find_user(&transaction, &email).await?;
            let user = user.context("there is nobody with this address")?;
            let removed = directory::reset_second_factor(&transaction, user.id).await?;
            let (id, action) = (user.id.to_string(), "user.second_factor_reset");
            audit(&transaction, &operator, action, &id, None).await?;
            transaction.commit().await?;
            println!(
                "{}",
                match removed {
                    true => "they log in with the password alone",
                    false => "they have no second factor",
                }
            );
        }
    }
    Ok(())
}

/// Creates somebody, or lets somebody act for one account more. Returns the password of who is new.
async fn create(
    db: &DatabaseConnection,
    passwords: &Passwords,
    new: Create,
) -> anyhow::Result<Option<String>> {
    let mut bytes = [0; 15];
    OsRng.try_fill_bytes(&mut bytes)?;
    let password = BASE32_NOPAD.encode(&bytes).to_lowercase();
    let chosen = FromStr::from_str(&password).context("make a password")?;
    let password_hash = passwords.hash(chosen).await?;
    let transaction = entity::begin(db).await?;
    let known = directory::find_user(&transaction, &new.email).await?;
    let (user, password) = match known {
        Some(user) => (user, None),
        None => {
            let user = NewUser {
                email: new.email,
                name: new.name,
                locale: new.locale,
                password_hash,
            };
            let user = directory::create_user(&transaction, user).await?;
            (user, Some(password))
        }
    };
    directory::add_member(&transaction, new.account, user.id, new.role)
        .await
        .context("there is no such account, or they act for it already")?;
    let id = user.id.to_string();
    audit(&transaction, &new.operator, "user.create", &id, None).await?;
    transaction.commit().await?;
    Ok(password)
}
