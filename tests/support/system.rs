//! A whole system in one of the worlds, driven from outside.

use std::path::{Path, PathBuf};

use sea_orm::DatabaseConnection;
use serde_json::Value;
use tempfile::TempDir;

use super::client::{Answer, Client};
use super::database::TestDatabase;
use super::neighbours::{Mail, Provider};
use super::process::{Process, flow, printed, told};
use super::suite::{Need, Servers};
use super::vhost::Vhost;
use super::wait::eventually;

/// Every retry is this much faster than in life: 5 s become 100 ms.
pub(crate) const RETRY_SCALE: &str = "0.02";

/// A combination of transport and database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum World {
    /// The embedded queue and SQLite: one process, typst.
    Embedded,
    /// RabbitMQ and PostgreSQL: a process for the ingress and one for each pool, wkhtmltopdf.
    Distributed,
    /// The embedded queue and PostgreSQL.
    EmbeddedPostgres,
    /// RabbitMQ and SQLite: one process.
    RabbitSqlite,
}

/// The two worlds that between them have both transports and both databases.
pub(crate) const BOTH: [World; 2] = [World::Embedded, World::Distributed];
/// Every combination.
pub(crate) const ALL: [World; 4] = [
    World::Embedded,
    World::Distributed,
    World::EmbeddedPostgres,
    World::RabbitSqlite,
];

impl World {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded+sqlite",
            Self::Distributed => "rabbitmq+postgres",
            Self::EmbeddedPostgres => "embedded+postgres",
            Self::RabbitSqlite => "rabbitmq+sqlite",
        }
    }

    pub(crate) fn needs(self) -> &'static [Need] {
        match self {
            Self::Embedded => &[],
            Self::Distributed => &[Need::RabbitMq, Need::Postgres, Need::Wkhtmltopdf],
            Self::EmbeddedPostgres => &[Need::Postgres],
            Self::RabbitSqlite => &[Need::RabbitMq],
        }
    }

    fn rabbit(self) -> bool {
        matches!(self, Self::Distributed | Self::RabbitSqlite)
    }

    fn postgres(self) -> bool {
        matches!(self, Self::Distributed | Self::EmbeddedPostgres)
    }
}

/// What a story wants to be different.
#[derive(Default)]
pub(crate) struct Setup {
    /// More environment for every process.
    pub(crate) environment: Vec<(String, String)>,
    /// Arguments of the mail server.
    pub(crate) mail: Vec<String>,
    /// Query of the mail URL, and credentials in front of the host: `user:password@`.
    pub(crate) mail_url: Option<(String, String)>,
    /// The broker is reached through a proxy on this port.
    pub(crate) broker_port: Option<u16>,
    /// How much faster retries are than in life, if not [`RETRY_SCALE`].
    pub(crate) retry_scale: Option<&'static str>,
    /// Processes are not started.
    pub(crate) idle: bool,
    /// The servers, if not those that the environment names.
    pub(crate) servers: Option<Servers>,
}

/// The parts of a distributed system, a process each.
pub(crate) const PARTS: [(&str, &[&str]); 8] = [
    ("order", &["worker", "order"]),
    ("provider", &["worker", "provider"]),
    ("invoice", &["worker", "invoice"]),
    ("document", &["worker", "document"]),
    ("email", &["worker", "email"]),
    ("ticket", &["worker", "ticket"]),
    ("parker", &["worker", "parker", "reconciler"]),
    ("ingress", &["ingress", "--listen", "127.0.0.1:0"]),
];
/// The parts of a system in one process.
const ONE: [(&str, &[&str]); 1] = [("run", &["run", "--listen", "127.0.0.1:0"])];

/// A running system with its neighbours.
pub(crate) struct System {
    pub(crate) world: World,
    pub(crate) client: Client,
    pub(crate) account_id: String,
    pub(crate) provider: Provider,
    pub(crate) mail: Mail,
    pub(crate) processes: Vec<(&'static str, Process)>,
    pub(crate) vhost: Option<Vhost>,
    pub(crate) database: TestDatabase,
    environment: Vec<(String, String)>,
    folder: TempDir,
}

impl System {
    /// Starts everything with the example data.
    pub(crate) async fn start(world: World) -> Self {
        Self::start_with(world, Setup::default()).await
    }

    /// Starts everything, a little differently.
    pub(crate) async fn start_with(world: World, setup: Setup) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("flow-story-")
            .tempdir()
            .unwrap();
        let path = folder.path().to_owned();
        let provider = Provider::start(&path).await;
        let mail_arguments: Vec<_> = setup.mail.iter().map(String::as_str).collect();
        let mail = Mail::start(&path, &mail_arguments).await;
        let servers = setup.servers.unwrap_or_else(Servers::of_environment);
        let database = match world.postgres() {
            true => TestDatabase::postgres(&servers).await,
            false => TestDatabase::sqlite(&path),
        };
        let vhost = if world.rabbit() {
            Some(Vhost::create_on(&servers).await)
        } else {
            None
        };
        let broker = match (&vhost, setup.broker_port) {
            (Some(vhost), Some(port)) => vhost.url_through(port),
            (Some(vhost), None) => vhost.url(),
            (None, _) => format!("embedded:{}", path.join("queue.db").display()),
        };
        let (credentials, query) = setup.mail_url.unwrap_or_default();
        let scheme = if setup
            .mail
            .iter()
            .any(|argument| argument == "--implicit-tls")
        {
            "smtps"
        } else {
            "smtp"
        };
        let renderer = if world == World::Distributed {
            "wkhtmltopdf"
        } else {
            "typst"
        };
        let mut environment: Vec<(String, String)> = [
            ("BROKER_URL", broker),
            ("DATABASE_URL", database.url().to_owned()),
            (
                "MAIL_URL",
                format!("{scheme}://{credentials}{}{query}", mail.address),
            ),
            ("RENDERER", renderer.to_owned()),
            ("SIMULATED_PROVIDER_URL", provider.url().to_owned()),
            (
                "RETRY_SCALE",
                setup.retry_scale.unwrap_or(RETRY_SCALE).to_owned(),
            ),
            ("DATA", path.join("data").display().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        environment.extend(setup.environment);

        flow(&path, &["topology", "apply"], &environment).await;
        flow(&path, &["migrate"], &environment).await;
        let seeded = flow(&path, &["seed"], &environment).await;
        let line = |label: &str| {
            seeded
                .lines()
                .find_map(|line| line.strip_prefix(label))
                .expect("seed prints it")
                .trim()
                .to_owned()
        };
        let (account_id, key) = (line("account"), line("api key"));
        let mut system = Self {
            world,
            client: Client::new("http://127.0.0.1:9", &key),
            account_id,
            provider,
            mail,
            processes: Vec::new(),
            vhost,
            database,
            environment,
            folder,
        };
        if !setup.idle {
            system.start_all().await;
        }
        system
    }

    /// Starts every part and waits until the API answers.
    pub(crate) async fn start_all(&mut self) {
        let parts: &[(&'static str, &[&str])] = if self.world == World::Distributed {
            &PARTS
        } else {
            &ONE
        };
        for (name, _) in parts {
            self.start_part(name);
        }
        self.find_api().await;
    }

    /// Starts one part.
    pub(crate) fn start_part(&mut self, name: &'static str) {
        let (_, arguments) = PARTS
            .iter()
            .chain(&ONE)
            .find(|(known, _)| *known == name)
            .expect("a part");
        let process = Process::start(name, self.folder.path(), arguments, &self.environment);
        self.processes.push((name, process));
    }

    /// The process of a part; the one process if there is only that.
    pub(crate) fn part(&mut self, name: &str) -> &mut Process {
        let index = self
            .processes
            .iter()
            .position(|(known, _)| *known == name)
            .unwrap_or(0);
        &mut self.processes[index].1
    }

    /// kill -9 of a part, and starts it again.
    pub(crate) async fn kill_and_restart(&mut self, name: &str) {
        let name = self.kill(name).await;
        self.restart(name).await;
    }

    /// kill -9 of a part. Returns its name, to start it again.
    pub(crate) async fn kill(&mut self, name: &str) -> &'static str {
        let index = self
            .processes
            .iter()
            .position(|(known, _)| *known == name)
            .unwrap_or(0);
        let (name, mut process) = self.processes.remove(index);
        process.kill().await;
        name
    }

    /// Starts a part again, and finds the API if it has moved with it.
    pub(crate) async fn restart(&mut self, name: &'static str) {
        self.start_part(name);
        if ["ingress", "run"].contains(&name) {
            self.find_api().await;
        }
    }

    /// SIGTERM to every part; each must end well.
    pub(crate) async fn stop_all(&mut self) {
        for (name, mut process) in self.processes.drain(..) {
            let status = process.terminate().await;
            assert!(
                status.success(),
                "{name} ended with {status}: {}",
                process.output()
            );
        }
    }

    /// Learns where the API listens and waits until it is ready.
    pub(crate) async fn find_api(&mut self) {
        let alone = self.processes.iter().any(|(name, _)| *name == "ingress");
        let marker = if alone {
            "listening on http://"
        } else {
            "running: http://"
        };
        let process = self.part("ingress");
        let base = format!(
            "http://{}",
            process.address(marker).await.trim_end_matches('/')
        );
        self.client = Client::new(&base, self.client.key());
        let client = self.client.clone();
        eventually("the API to be ready", async || {
            let request = client
                .request(reqwest::Method::GET, "/readyz")
                .send()
                .await
                .ok()?;
            request.status().is_success().then_some(())
        })
        .await;
    }

    /// Lets every process that is started from now on reach PostgreSQL through a proxy on `port`.
    pub(crate) fn reach_database_through(&mut self, port: u16) {
        let mut url: reqwest::Url = self.database.url().parse().unwrap();
        url.set_port(Some(port)).unwrap();
        self.set_environment("DATABASE_URL", url.as_str());
    }

    /// Sets a variable for every process that is started from now on.
    pub(crate) fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Takes a variable from every process that is started from now on.
    pub(crate) fn unset_environment(&mut self, name: &str) {
        self.environment.retain(|(known, _)| known != name);
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The file of the embedded queue.
    pub(crate) fn queue_file(&self) -> PathBuf {
        self.folder.path().join("queue.db")
    }

    /// The environment of its processes.
    pub(crate) fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// Runs `flow` with its environment and returns what it prints.
    pub(crate) async fn flow(&self, arguments: &[&str]) -> String {
        flow(self.folder.path(), arguments, &self.environment).await
    }

    /// Runs `flow` with its environment and returns what it prints, whatever it ends with.
    pub(crate) async fn printed(&self, arguments: &[&str]) -> String {
        printed(self.folder.path(), arguments, &self.environment).await
    }

    /// Runs `flow` with its environment and a text on the standard input, and returns what it prints.
    pub(crate) async fn told(&self, arguments: &[&str], input: &str) -> String {
        told(self.folder.path(), arguments, &self.environment, input).await
    }

    /// A connection to its database.
    pub(crate) async fn db(&self) -> DatabaseConnection {
        self.database.connect().await
    }

    /// Creates an account with these options and a key for it.
    pub(crate) async fn account(&self, name: &str, options: &[&str]) -> (String, Client) {
        let mut arguments = vec![
            "account",
            "create",
            "--name",
            name,
            "--street",
            "Main Street 1",
        ];
        arguments.extend(["--postal-code", "12345", "--city", "Springfield"]);
        arguments.extend(options);
        let id = self.flow(&arguments).await.trim().to_owned();
        let key = self.flow(&["key", "create", "--account", &id]).await;
        (id, self.client.with_key(key.trim()))
    }

    /// Places an order and waits until its mail is delivered.
    pub(crate) async fn order_and_deliver(
        &self,
        client: &Client,
        key: &str,
        body: &Value,
    ) -> Value {
        let accepted = client.order(key, body).await;
        assert_eq!(accepted.status, 202, "{accepted:?}");
        self.delivered(client, accepted.header("location")).await
    }

    /// Waits until every stage of an order is done.
    pub(crate) async fn delivered(&self, client: &Client, order: &str) -> Value {
        eventually(&format!("order {order} to be delivered"), async || {
            let answer = client.get(order).await;
            let stages = answer.body["stages"].as_array()?;
            stages
                .iter()
                .all(|stage| stage["state"] == "done")
                .then_some(answer.body)
        })
        .await
    }

    /// Waits until an order has this status.
    pub(crate) async fn status(&self, order: &str, status: &str) -> Answer {
        eventually(&format!("order {order} to be {status}"), async || {
            let answer = self.client.get(order).await;
            (answer.body["status"] == status).then_some(answer)
        })
        .await
    }

    /// Stops everything and checks that nothing was left behind: every part ends well, and no
    /// message is parked or waits, but for `parked`.
    pub(crate) async fn finish_with(mut self, parked: usize) {
        let listed = eventually("parked messages to be taken over", async || {
            let listed = self.flow(&["dead", "list", "--json"]).await;
            (listed.lines().count() >= parked).then_some(listed)
        })
        .await;
        assert_eq!(listed.lines().count(), parked, "parked messages: {listed}");
        self.stop_all().await;
        if let Some(vhost) = self.vhost.take() {
            vhost.remove().await;
        }
        self.database.remove().await;
    }

    /// Stops everything; messages may be parked or wait.
    pub(crate) async fn finish_quietly(mut self) {
        self.stop_all().await;
        if let Some(vhost) = self.vhost.take() {
            vhost.remove().await;
        }
        self.database.remove().await;
    }

    /// Moves the file of its SQLite database to another folder, before anything is started.
    pub(crate) async fn move_database(&mut self, folder: &Path) {
        let moved = TestDatabase::sqlite(folder);
        for suffix in ["", "-wal", "-shm"] {
            let name = format!("flow.db{suffix}");
            std::fs::copy(self.folder.path().join(&name), folder.join(&name)).ok();
        }
        self.set_environment("DATABASE_URL", moved.url());
        self.database = moved;
    }

    /// Stops everything and checks that nothing was left behind.
    pub(crate) async fn finish(self) {
        self.finish_with(0).await;
    }
}
