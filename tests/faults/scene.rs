//! Where a fault happens: a system of its own, between servers and proxies that can be broken.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use uuid::Uuid;

use crate::checker::{Allowed, PATIENCE};
use crate::frames::Protocol;
use crate::load::Load;
use crate::machine::free_port;
use crate::postgres::Postgres;
use crate::proxy::Proxy;
use crate::rabbit::Rabbit;
use crate::supervised::Supervised;
use crate::support::client::Client;
use crate::support::suite::Servers;
use crate::support::system::{Setup, System, World};
use crate::support::wait::{eventually, within};

/// Rather never than once: what has been lost must not be mended behind the back of a fault that
/// does not ask for it.
const NEVER: (&str, &str) = ("RECONCILE_AFTER", "3600");

/// A system under load, the servers below it, and what may go wrong with them.
pub(crate) struct Scene {
    pub(crate) parts: Supervised,
    pub(crate) load: Load,
    pub(crate) client: Client,
    pub(crate) system: System,
    /// Between the system and RabbitMQ.
    pub(crate) broker: Proxy,
    /// Between the system and PostgreSQL.
    pub(crate) database: Proxy,
    pub(crate) rabbit: Rabbit,
    pub(crate) postgres: Postgres,
    pub(crate) allowed: Allowed,
    /// The one source of chance.
    pub(crate) random: StdRng,
}

impl Scene {
    /// Starts a system on servers that have nothing of an earlier one.
    pub(crate) async fn begin(mut rabbit: Rabbit, postgres: Postgres, seed: u64) -> Self {
        let broker = Proxy::start(rabbit.port(), Protocol::Amqp).await;
        let database = Proxy::start(postgres.port(), Protocol::Postgres).await;
        rabbit.declares();
        let setup = Setup {
            idle: true,
            broker_port: Some(broker.port()),
            environment: vec![(NEVER.0.to_owned(), NEVER.1.to_owned())],
            servers: Some(Servers {
                amqp: rabbit.url(),
                amqp_admin: rabbit.admin_url(),
                database: postgres.url(),
            }),
            ..Setup::default()
        };
        let mut system = System::start_with(World::Distributed, setup).await;
        rabbit.declares();
        system.reach_database_through(database.port());
        let ingress = free_port();
        let environment = system.environment().to_vec();
        let parts = Supervised::start(system.folder(), environment, ingress);
        let client = Client::new(&format!("http://127.0.0.1:{ingress}"), system.client.key());
        let scene = Self {
            parts,
            load: Load::default(),
            client,
            system,
            broker,
            database,
            rabbit,
            postgres,
            allowed: Allowed::default(),
            random: StdRng::seed_from_u64(seed),
        };
        scene.ready().await;
        scene
    }

    /// Waits until the API takes orders.
    pub(crate) async fn ready(&self) {
        within(PATIENCE, "the API to be ready", async || {
            let request = self.client.request(reqwest::Method::GET, "/readyz");
            let answer = request.send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    /// The name of the virtual host.
    pub(crate) fn vhost(&self) -> String {
        let vhost = self.system.vhost.as_ref().expect("it is on RabbitMQ");
        let url = vhost.url();
        url.rsplit('/').next().unwrap_or_default().to_owned()
    }

    /// Begins to place orders, spread over `seconds`.
    pub(crate) fn orders(&mut self, count: usize, seconds: u64) {
        let time = Duration::from_secs(seconds);
        self.load.place(&self.client, count, time);
    }

    /// Places one order and waits until it is accepted.
    pub(crate) async fn order(&mut self, key: &str) -> Uuid {
        self.load.place_one(&self.client, key).await
    }

    /// Waits until so many orders are stored.
    pub(crate) async fn stored(&self, count: i64) {
        self.until(
            "orders to be stored",
            "SELECT count(*) FROM \"order\"",
            count,
        )
        .await;
    }

    /// Waits until so many orders are completed.
    pub(crate) async fn completed(&self, count: i64) {
        let sql = "SELECT count(*) FROM \"order\" WHERE state = 'completed'";
        self.until("orders to complete", sql, count).await;
    }

    /// Waits until a query counts `count` or more.
    pub(crate) async fn until(&self, what: &str, sql: &str, count: i64) {
        within(PATIENCE, what, async || {
            (self.count(sql).await.ok()? >= count).then_some(())
        })
        .await;
    }

    /// A fresh order goes through every stage (I11).
    pub(crate) async fn probe(&mut self) {
        let id = self
            .order(&format!("probe-{}", self.load.attempted().0))
            .await;
        let path = format!("/v1/orders/{id}");
        eventually("the probe to go through every stage", async || {
            let stages = self.client.get(&path).await.body["stages"].clone();
            let done = |stage: &serde_json::Value| stage["state"] == "done";
            stages.as_array()?.iter().all(done).then_some(())
        })
        .await;
    }

    /// Ends the system and returns its servers as they were.
    pub(crate) async fn end(mut self) -> (Rabbit, Postgres) {
        self.parts.stop_all().await;
        if let Some(vhost) = self.system.vhost.take() {
            vhost.remove().await;
        }
        self.system.database.remove().await;
        self.postgres.on_time().await;
        (self.rabbit, self.postgres)
    }
}
