//! `flow publisher`: partner systems that publish straight to RabbitMQ.

use anyhow::{Context, ensure};
use broker::{Admin, Broker};
use rand::Rng;
use schemas::Message;
use schemas::invoice::InvoiceRequest;
use schemas::order::{OrderCancel, OrderPlace};
use schemas::provision::ResourceTerminate;
use schemas::ticket::{TicketRaise, TicketReply};
use schemas::topology::answers;
use schemas::values::Code;
use url::Url;
use uuid::Uuid;
use workers::store::parked::audit;
use workers::store::publishers;

use crate::settings::{BrokerArgs, Database};

/// What partner systems may publish.
const KINDS: [&str; 6] = [
    OrderPlace::KIND,
    OrderCancel::KIND,
    ResourceTerminate::KIND,
    InvoiceRequest::KIND,
    TicketRaise::KIND,
    TicketReply::KIND,
];

/// Options of `flow publisher`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    database: Database,
    /// The management API of RabbitMQ: http://user:password@host:15672. Without it the lines for
    /// rabbitmqctl are printed, for somebody to run.
    #[arg(long, global = true, env = "BROKER_ADMIN_URL", hide_env_values = true)]
    admin_url: Option<Url>,
    /// Who decides, for the audit trail.
    #[arg(long, global = true, env = "USER", default_value = "operator")]
    operator: String,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Lets a partner system in: a broker user with the least rights, and a queue for its answers.
    /// Again with other accounts or kinds, it changes them, and the password.
    Create {
        /// Its name: the broker user, and the first word of its routing keys.
        name: Code,
        /// The accounts it acts for.
        #[arg(long, required = true, value_delimiter = ',')]
        accounts: Vec<Uuid>,
        /// The kinds of messages it may publish; without any, every public one.
        #[arg(long, value_delimiter = ',', value_parser = KINDS)]
        kinds: Vec<String>,
    },
    /// Lists partner systems with what they may do.
    List,
    /// Gives a partner system a new password. The old one is refused from then on; connections that
    /// are open stay open.
    Rotate {
        /// Its name.
        name: Code,
    },
    /// Shuts a partner system out: its connections are closed, and what it has published and nobody
    /// has read yet is refused.
    Revoke {
        /// Its name.
        name: Code,
    },
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let db = args.database.connect().await?;
    let broker = args.broker.broker_url.clone();
    let admin = args.admin_url.clone().map(Admin::new).transpose()?;
    let Args {
        action, operator, ..
    } = args;
    let open = async || Broker::open(&broker, "publisher", args.broker.retry_scale).await;
    match action {
        Action::Create {
            name,
            accounts,
            kinds,
        } => {
            let broker = open().await?;
            ensure!(
                name.as_str() != broker.own_user(),
                "{name} is the broker user of Customer Flow itself"
            );
            let kinds: Vec<&str> = match kinds.is_empty() {
                true => KINDS.to_vec(),
                false => kinds.iter().map(String::as_str).collect(),
            };
            let before = publishers::find(&db, name.as_str()).await?;
            // Somebody else's user must not lose its password and its rights to a partner system.
            if let (Some(admin), None) = (&admin, &before) {
                ensure!(
                    !admin.knows(name.as_str()).await?,
                    "RabbitMQ has a user {name} that is no publisher of ours; choose another name"
                );
            }
            let before = before.map_or_else(Vec::new, |known| known.accounts);
            // The row first: a broker user that no row knows would be refused, and wonder.
            publishers::allow(&db, name.as_str(), &kinds, &accounts, &operator).await?;
            broker
                .declare_answers(name.as_str(), &accounts, &before)
                .await?;
            let password = password();
            let access = broker.access(name.as_str())?;
            match admin {
                Some(admin) => admin.grant(&access, &password).await?,
                None => run_these(&access.rabbitmqctl(&password)),
            }
            introduce(name.as_str(), &password, &access.vhost);
        }
        Action::List => list(&db).await?,
        Action::Rotate { name } => {
            let known = publishers::find(&db, name.as_str()).await?;
            let known = known.with_context(|| format!("there is no publisher {name}"))?;
            ensure!(known.row.revoked_at.is_none(), "{name} is revoked");
            let password = password();
            match admin {
                Some(admin) => admin.set_password(name.as_str(), &password).await?,
                None => run_these(&[format!("rabbitmqctl change_password {name} '{password}'")]),
            }
            audit(&db, &operator, "publisher.rotate", name.as_str(), None).await?;
            show(&format!("password  {password}   (shown this once)"));
        }
        Action::Revoke { name } => {
            let known = publishers::find(&db, name.as_str()).await?;
            ensure!(known.is_some(), "there is no publisher {name}");
            // Again for one that is revoked: the rest may have failed then.
            publishers::revoke(&db, name.as_str(), &operator).await?;
            match admin {
                Some(admin) => admin.remove(name.as_str()).await?,
                None => run_these(&[format!("rabbitmqctl delete_user {name}")]),
            }
            open().await?.remove_answers(name.as_str()).await?;
            show(&format!("revoked {name}"));
        }
    }
    Ok(())
}

async fn list(db: &sea_orm::DatabaseConnection) -> anyhow::Result<()> {
    show(&format!(
        "{:<24}{:<22}{:<24}ACCOUNTS",
        "NAME", "REVOKED", "KINDS"
    ));
    for row in publishers::list(db).await? {
        let known = publishers::find(db, &row.name).await?;
        let accounts = known.map_or_else(Vec::new, |known| known.accounts);
        let accounts: Vec<_> = accounts.iter().map(Uuid::to_string).collect();
        let revoked = row.revoked_at.map_or_else(
            || "-".to_owned(),
            |at| at.format("%Y-%m-%d %H:%M:%S").to_string(),
        );
        let accounts = accounts.join(" ");
        show(&format!(
            "{:<24}{revoked:<22}{:<24}{accounts}",
            row.name, row.kinds
        ));
    }
    Ok(())
}

/// Half as long again as it need be, and without anything that a URL or a shell takes amiss.
fn password() -> String {
    let bytes: [u8; 24] = rand::rng().random();
    data_encoding::BASE64URL_NOPAD.encode(&bytes)
}

fn run_these(lines: &[String]) {
    show("Run this where RabbitMQ is:");
    for line in lines {
        show(&format!("  {line}"));
    }
    show("");
}

fn introduce(name: &str, password: &str, vhost: &str) {
    show(&format!("user        {name}"));
    show(&format!("password    {password}   (shown this once)"));
    show(&format!("vhost       {vhost}"));
    show(&format!(
        "publish to  orders, with routing key {name}.{} and user_id {name}",
        OrderPlace::KIND
    ));
    show(&format!("answers in  {}", answers(name, &[]).name));
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn show(line: &str) {
    println!("{line}");
}
