//! `flow demo`: one real order, from POST to mail.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use url::Url;
use workers::{MailUrl, RendererKind};

use crate::run::System;
use crate::seed;
use crate::settings::{BrokerArgs, DataFolder, Database, Http, PepperFile, ReminderDays};

/// How long an order may take before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The stages of an order and what they do, in words.
const STAGES: [(&str, &str); 5] = [
    ("place", "check and price the order"),
    ("provision", "create the server at the cloud provider"),
    ("issue", "issue the invoice"),
    ("render", "render the PDF"),
    ("deliver", "send the mail"),
];

/// Options of `flow demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder to work in.
    #[arg(long, default_value = "flow-demo")]
    data: PathBuf,
    /// The engine that makes PDFs: typst or wkhtmltopdf.
    #[arg(long, env = "RENDERER", default_value = "typst")]
    renderer: RendererKind,
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let data = DataFolder(args.data.clone());
    let system = System {
        listener: TcpListener::bind("127.0.0.1:0").await.context("listen")?,
        http: Http::default(),
        broker: BrokerArgs {
            broker_url: data.broker_url(),
            retry_scale: 1.0,
        },
        database: Database {
            database_url: data.database_url(),
        },
        pepper: PepperFile {
            pepper_file: data.pepper(),
        },
        mail_url: MailUrl::Folder(data.mail()),
        renderer: args.renderer,
        renderers: None,
        reconcile_after: 60,
        support_email: None,
        reminder_days: ReminderDays(Vec::new()),
        simulated_provider_url: None,
        data,
    };
    println!("Starting everything in {} …", args.data.display());
    let started = system.start(shutdown.clone()).await?;
    let api_key = match started.seeded {
        Some(seeded) => seeded.api_key,
        None => seed::another_key(&started.db, &started.pepper).await?,
    };
    let story = Story::new(started.api, &api_key)?;
    // The engine is ready once its first document was rendered; the order shall not wait for that.
    let mut running = started.running;
    let outcome = tokio::select! {
        outcome = story.tell(&args.data) => outcome,
        ended = &mut running => ended?.and_then(|()| bail!("the system stopped")),
    };
    shutdown.cancel();
    if !running.is_finished() {
        running.await??;
    }
    outcome
}

/// The client's side of the demo.
struct Story {
    http: reqwest::Client,
    api: Url,
    authorization: String,
}

impl Story {
    fn new(api: Url, api_key: &str) -> anyhow::Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "a client of our own API")]
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .build()?;
        Ok(Self {
            http,
            api,
            authorization: format!("Bearer {api_key}"),
        })
    }

    #[expect(clippy::print_stdout, reason = "the story is told to a reader")]
    async fn tell(&self, folder: &Path) -> anyhow::Result<()> {
        let request = json!({
            "offering": "cloud-server", "plan": "s", "quantity": 1, "region": "eu-central", "name": "web-1",
        });
        println!("POST {}v1/orders {request}\n", self.api);
        let began = Instant::now();
        let answer = self
            .http
            .post(self.api.join("v1/orders")?)
            .header("authorization", &self.authorization)
            .header("idempotency-key", uuid::Uuid::new_v4().to_string())
            .json(&request)
            .send()
            .await?;
        let status = answer.status();
        let accepted: Value = answer.json().await?;
        ensure!(
            status == reqwest::StatusCode::ACCEPTED,
            "the order was not accepted: {accepted}"
        );
        let order_path = accepted["links"]["self"]
            .as_str()
            .context("no link to the order")?
            .to_owned();
        let (order, took) = self.watch(&order_path, began).await?;

        let invoice = self
            .get(
                order["links"]["invoice"]
                    .as_str()
                    .context("no link to the invoice")?,
            )
            .await?;
        let number = invoice["number"]
            .as_str()
            .context("the invoice has no number")?;
        let pdf = self.download(&invoice, folder, number).await?;
        let mail = mail_file(folder, &invoice)?;
        println!("\ninvoice   {number}");
        println!("total     {}", money(&invoice["total"]));
        println!("PDF       {}", pdf.display());
        println!("mail      {}", mail.display());
        println!("trace     {}", order["trace_id"].as_str().unwrap_or("none"));
        println!("from POST to mail in {} ms", took.as_millis());
        Ok(())
    }

    /// Shows each stage as it happens; returns the order when its mail is sent, and how long it took.
    async fn watch(&self, path: &str, began: Instant) -> anyhow::Result<(Value, Duration)> {
        let mut progress = Progress::new();
        loop {
            let order = self.get(path).await?;
            for stage in order["stages"].as_array().into_iter().flatten() {
                let (name, state) = (stage["name"].as_str(), stage["state"].as_str());
                if let (Some(name), Some(state)) = (name, state) {
                    progress.show(name, state, stage["last_error"].as_str(), began.elapsed());
                }
            }
            if progress.finished() {
                return Ok((order, began.elapsed()));
            }
            if let Some(problem) = order["problem"]["detail"].as_str() {
                bail!("the order is {}: {problem}", order["status"]);
            }
            ensure!(
                began.elapsed() < PATIENCE,
                "the order took longer than {PATIENCE:?}: {order}"
            );
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let call = self
            .http
            .get(self.api.join(path)?)
            .header("authorization", &self.authorization);
        Ok(call.send().await?.error_for_status()?.json().await?)
    }

    async fn download(
        &self,
        invoice: &Value,
        folder: &Path,
        number: &str,
    ) -> anyhow::Result<PathBuf> {
        let link = invoice["links"]["pdf"]
            .as_str()
            .context("no link to the PDF")?;
        let call = self
            .http
            .get(self.api.join(link)?)
            .header("authorization", &self.authorization);
        let bytes = call.send().await?.error_for_status()?.bytes().await?;
        let path = folder.join(format!("{number}.pdf"));
        std::fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

/// The stages, as bars on a terminal and as lines elsewhere.
struct Progress {
    bars: Option<HashMap<&'static str, ProgressBar>>,
    states: HashMap<String, String>,
    _all: MultiProgress,
}

impl Progress {
    fn new() -> Self {
        let all = MultiProgress::new();
        let bars = std::io::stderr().is_terminal().then(|| {
            let waiting = ProgressStyle::with_template("  {prefix:10} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = |(name, text): (&'static str, &'static str)| {
                let bar = all.add(ProgressBar::new_spinner().with_style(waiting.clone()));
                bar.set_prefix(name);
                bar.set_message(text);
                (name, bar)
            };
            STAGES.map(bar).into()
        });
        Self {
            bars,
            states: HashMap::new(),
            _all: all,
        }
    }

    #[expect(
        clippy::print_stdout,
        reason = "plain lines where there is no terminal"
    )]
    fn show(&mut self, name: &str, state: &str, error: Option<&str>, after: Duration) {
        if self.states.get(name).is_some_and(|known| known == state) {
            return;
        }
        self.states.insert(name.to_owned(), state.to_owned());
        let Some((known, text)) = STAGES.iter().find(|(known, _)| *known == name) else {
            return;
        };
        let millis = after.as_millis();
        let error = error.map(|error| format!(": {error}")).unwrap_or_default();
        match &self.bars {
            None if state == "pending" => {}
            None => println!("  {name:10} {state:9} {text} ({millis} ms){error}"),
            Some(bars) => {
                let Some(bar) = bars.get(known) else { return };
                match state {
                    "done" => bar.finish_with_message(format!("✓ {text} ({millis} ms)")),
                    "pending" => {}
                    _ => bar.set_message(format!("… {text}: {state}{error}")),
                }
            }
        }
    }

    fn finished(&self) -> bool {
        STAGES
            .iter()
            .all(|(name, _)| self.states.get(*name).is_some_and(|state| state == "done"))
    }
}

/// The file of the mail that carried the invoice.
fn mail_file(folder: &Path, invoice: &Value) -> anyhow::Result<PathBuf> {
    let delivery = invoice["deliveries"][0]["id"]
        .as_str()
        .context("the invoice was not delivered")?;
    let mails = std::fs::read_dir(folder.join("mail")).context("read the mail folder")?;
    mails
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(delivery))
        })
        .context("the mail is not in its folder")
}

fn money(money: &Value) -> String {
    serde_json::from_value::<schemas::values::Money>(money.clone())
        .map_or_else(|_| money.to_string(), |money| money.to_string())
}
