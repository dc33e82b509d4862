//! `flow run`: everything in one process.

use std::path::PathBuf;

use ::ingress::credentials::Pepper;
use anyhow::Context;
use broker::BrokerUrl;
use schemas::topology::Pool;
use schemas::values::EmailAddress;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;
use workers::{MailUrl, RendererKind};

use crate::database;
use crate::seed::{self, Seeded};
use crate::settings::{
    BrokerArgs, DataFolder, Database, Http, PepperFile, REMINDER_DAYS, ReminderDays, Work, days,
    mail_address,
};
use crate::{ingress as ingress_command, shutdown};

/// Options of `flow run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    http: Http,
    /// The folder for what is embedded: database, queue, mails, the simulated provider's servers.
    #[arg(long, env = "DATA", default_value = "data")]
    data: PathBuf,
    /// Where the broker is. Unset: the embedded queue in the data folder.
    #[arg(long, env = "BROKER_URL", hide_env_values = true)]
    broker_url: Option<BrokerUrl>,
    /// Where the database is. Unset: SQLite in the data folder.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// The file with the pepper of the API keys. Unset: one in the data folder.
    #[arg(long, env = "PEPPER_FILE")]
    pepper_file: Option<PathBuf>,
    /// Where mail goes. Unset: a folder in the data folder.
    #[arg(long, env = "MAIL_URL", hide_env_values = true)]
    mail_url: Option<MailUrl>,
    /// The engine that makes PDFs: typst or wkhtmltopdf.
    #[arg(long, env = "RENDERER", default_value = "typst")]
    renderer: RendererKind,
    /// How many documents are rendered at once; unset, as many as there are cores.
    #[arg(long, env = "RENDERERS", value_parser = clap::value_parser!(u16).range(1..=64))]
    renderers: Option<u16>,
    /// Where the simulated provider listens. Unset: one is started.
    #[arg(long, env = "SIMULATED_PROVIDER_URL")]
    simulated_provider_url: Option<Url>,
    /// How many seconds something may stand still before the reconciler sends its step again.
    #[arg(long, env = "RECONCILE_AFTER", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..))]
    reconcile_after: u64,
    /// Where mails about tickets go for the support. Unset: tickets are seen in the lists alone.
    #[arg(long, env = "SUPPORT_EMAIL", value_parser = mail_address)]
    support_email: Option<EmailAddress>,
    /// How many days after the due date an invoice is reminded of, level by level: 3,14,28. Empty: never.
    #[arg(long, env = "REMINDER_DAYS", default_value = REMINDER_DAYS, value_parser = days)]
    reminder_days: ReminderDays,
    /// Multiplies the delays of the retry ladder. For tests and trials.
    #[arg(long, env = "RETRY_SCALE", default_value_t = 1.0, hide = true)]
    retry_scale: f64,
}

/// Everything in one process, ready to be started.
pub(crate) struct System {
    pub(crate) listener: TcpListener,
    pub(crate) http: Http,
    pub(crate) data: DataFolder,
    pub(crate) broker: BrokerArgs,
    pub(crate) database: Database,
    pub(crate) pepper: PepperFile,
    pub(crate) mail_url: MailUrl,
    pub(crate) renderer: RendererKind,
    pub(crate) renderers: Option<u16>,
    pub(crate) simulated_provider_url: Option<Url>,
    pub(crate) reconcile_after: u64,
    pub(crate) support_email: Option<EmailAddress>,
    pub(crate) reminder_days: ReminderDays,
}

/// A system that is starting: what it created at its first start, and the address of its API.
pub(crate) struct Started {
    pub(crate) api: Url,
    pub(crate) seeded: Option<Seeded>,
    pub(crate) db: sea_orm::DatabaseConnection,
    pub(crate) pepper: Pepper,
    /// Ends with the shutdown, or with the first error.
    pub(crate) running: tokio::task::JoinHandle<anyhow::Result<()>>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal()?;
    let data = DataFolder(args.data);
    let system = System {
        listener: ingress_command::listen(&args.http.listen).await?,
        http: args.http,
        broker: BrokerArgs {
            broker_url: args.broker_url.unwrap_or_else(|| data.broker_url()),
            retry_scale: args.retry_scale,
        },
        database: Database {
            database_url: args.database_url.unwrap_or_else(|| data.database_url()),
        },
        pepper: PepperFile {
            pepper_file: args.pepper_file.unwrap_or_else(|| data.pepper()),
        },
        mail_url: args
            .mail_url
            .unwrap_or_else(|| MailUrl::Folder(data.mail())),
        renderer: args.renderer,
        renderers: args.renderers,
        simulated_provider_url: args.simulated_provider_url,
        reconcile_after: args.reconcile_after,
        support_email: args.support_email,
        reminder_days: args.reminder_days,
        data,
    };
    let started = system.start(shutdown).await?;
    greet(&started);
    started.running.await?
}

#[expect(clippy::print_stdout, reason = "what a stranger needs to begin")]
fn greet(started: &Started) {
    let api = started.api.as_str().trim_end_matches('/');
    println!("Customer Flow is running: {api}");
    match &started.seeded {
        Some(Seeded {
            account_id,
            api_key,
        }) => {
            println!(
                "\nThis was the first start: there is an example issuer, a catalogue and an account."
            );
            println!("  account  {account_id}");
            println!("  API key  {api_key}   (shown this once)");
            println!("\nTry it:");
            println!("  curl -i {api}/v1/orders \\");
            println!("    -H 'Authorization: Bearer {api_key}' \\");
            println!(
                "    -H 'Idempotency-Key: my-first-order' -H 'Content-Type: application/json' \\"
            );
            println!(
                "    -d '{{\"offering\":\"cloud-server\",\"plan\":\"s\",\"region\":\"eu-central\",\"name\":\"web-1\"}}'"
            );
        }
        None => println!("For another API key: flow key create --account <id>"),
    }
}

impl System {
    /// Migrates, creates the example at the first start, and starts every part.
    pub(crate) async fn start(self, shutdown: CancellationToken) -> anyhow::Result<Started> {
        let broker = self.broker.open("flow").await?;
        broker.apply_topology().await?;
        let db = self.database.connect().await?;
        database::migrate(&db).await?;
        let pepper = self.pepper.open(&db).await?;
        let seeded = seed::seed(&db, &pepper).await?;

        let provider = match self.simulated_provider_url {
            Some(url) => url,
            None => {
                let listener = TcpListener::bind("127.0.0.1:0")
                    .await
                    .context("listen for the provider")?;
                let url = format!("http://{}", listener.local_addr()?).parse()?;
                let ledger = self.data.ledger();
                tokio::spawn(simulator::provider::serve(
                    listener,
                    Some(ledger),
                    shutdown.clone(),
                ));
                url
            }
        };
        let api: Url = format!("http://{}", self.listener.local_addr()?).parse()?;
        let work = Work {
            mail_url: self.mail_url,
            renderer: self.renderer,
            renderers: self.renderers,
            simulated_provider_url: provider,
            simulated_provider_2_url: None,
            reconcile_after: self.reconcile_after,
            support_email: self.support_email,
            reminder_days: self.reminder_days,
            public_url: self.http.public_url.clone().unwrap_or_else(|| api.clone()),
            trusted_publishers: Vec::new(),
        };
        let settings = work.settings(db.clone(), &broker, Some(&pepper));
        let publisher = settings.publisher.clone();
        let http = self.http.settings(db.clone(), publisher, pepper.clone());
        let running = tokio::spawn(async move {
            let serving = ingress::serve(self.listener, http, shutdown.clone());
            let working = workers::run(&Pool::ALL, settings, shutdown.clone());
            let (worked, served) = tokio::join!(
                async {
                    let worked = working.await;
                    // Nothing is accepted that nobody works on.
                    shutdown.cancel();
                    worked
                },
                serving
            );
            worked.and(served)
        });
        Ok(Started {
            api,
            seeded,
            db,
            pepper,
            running,
        })
    }
}
