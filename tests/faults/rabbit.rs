//! A RabbitMQ server of the harness's own, to be stopped, killed, paused and wiped.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::time::{Instant, sleep_until};

use crate::machine::{free_port, put_down, signal};
use crate::support::process::command;
use crate::support::wait::within;

const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const CONTROL: &str = "/usr/lib/rabbitmq/bin/rabbitmqctl";
const BOOT: Duration = Duration::from_secs(120);
/// A quorum queue that is killed right after it was declared may never come up again (3.10.8).
const SETTLED: Duration = Duration::from_secs(2);

/// A RabbitMQ server. It is killed and its folder removed when this is dropped.
pub(crate) struct Rabbit {
    environment: Vec<(&'static str, String)>,
    user: String,
    port: u16,
    http_port: u16,
    http: reqwest::Client,
    beam: Option<Child>,
    _epmd: Child,
    /// When queues were declared last.
    declared: Instant,
    folder: TempDir,
}

impl Rabbit {
    /// Whether the programs are installed.
    pub(crate) fn installed() -> bool {
        std::path::Path::new(PROGRAM).exists()
    }

    /// Boots a new server with nothing in it.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("flow-faults-rabbitmq-")
            .tempdir()
            .unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (port, http_port, dist, epmd) = (free_port(), free_port(), free_port(), free_port());
        let user = "flow:faults".to_owned();
        let settings = format!(
            "listeners.tcp.default = 127.0.0.1:{port}\n\
             management.tcp.ip = 127.0.0.1\n\
             management.tcp.port = {http_port}\n\
             default_user = flow\n\
             default_pass = faults\n\
             collect_statistics_interval = 1000\n\
             disk_free_limit.absolute = 200MB\n\
             vm_memory_high_watermark.absolute = 2GB\n\
             log.file.level = warning\n"
        );
        std::fs::write(path("rabbitmq.conf"), settings).unwrap();
        std::fs::write(path("plugins"), "[rabbitmq_management].\n").unwrap();
        for name in ["data", "log"] {
            std::fs::create_dir(path(name)).unwrap();
        }
        let environment = vec![
            ("HOME", path("")),
            ("RABBITMQ_NODENAME", format!("faults-{port}@localhost")),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_NODE_PORT", port.to_string()),
            ("RABBITMQ_DIST_PORT", dist.to_string()),
            ("RABBITMQ_MNESIA_BASE", path("data")),
            ("RABBITMQ_LOG_BASE", path("log")),
            ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins")),
            ("RABBITMQ_PID_FILE", path("pid")),
            ("RABBITMQ_CONF_ENV_FILE", "/dev/null".to_owned()),
            // Counts of messages are as old as this many milliseconds.
            (
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-rabbit quorum_tick_interval 500".to_owned(),
            ),
            // Then the script becomes the server, and its process id is ours.
            ("RUNNING_UNDER_SYSTEMD", "true".to_owned()),
            ("ERL_EPMD_PORT", epmd.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ];
        #[expect(clippy::disallowed_methods, reason = "the server's own side")]
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .build()
            .unwrap();
        // Started here and not by the server, so that it ends with this.
        let mut epmd = command("epmd");
        epmd.envs(environment.clone()).stdin(Stdio::null());
        epmd.stdout(Stdio::null()).stderr(Stdio::null());
        let mut rabbit = Self {
            _epmd: epmd.kill_on_drop(true).spawn().unwrap(),
            environment,
            user,
            port,
            http_port,
            http,
            beam: None,
            declared: Instant::now(),
            folder,
        };
        rabbit.boot().await;
        rabbit
    }

    /// Its URL, without a virtual host.
    pub(crate) fn url(&self) -> String {
        format!("amqp://{}@127.0.0.1:{}", self.user, self.port)
    }

    /// Its URL for another user.
    pub(crate) fn url_of(&self, user: &str, password: &str) -> String {
        format!("amqp://{user}:{password}@127.0.0.1:{}", self.port)
    }

    /// Its management API.
    pub(crate) fn admin_url(&self) -> String {
        format!("http://{}@127.0.0.1:{}/", self.user, self.http_port)
    }

    /// The port of AMQP.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Starts the stopped server, and waits until it serves.
    pub(crate) async fn boot(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("out"))
            .unwrap();
        let mut program = command(PROGRAM);
        program.envs(self.environment.clone()).stdin(Stdio::null());
        program.stdout(log.try_clone().unwrap()).stderr(log);
        self.beam = Some(program.kill_on_drop(true).spawn().unwrap());
        self.serving().await;
    }

    /// Waits until it takes connections.
    pub(crate) async fn serving(&mut self) {
        let port = self.port;
        let beam = self.beam.as_mut().expect("it was started");
        let out = self.folder.path().join("out");
        within(BOOT, "RabbitMQ to take connections", async || {
            if let Ok(Some(status)) = beam.try_wait() {
                let said = std::fs::read_to_string(&out).unwrap_or_default();
                panic!("RabbitMQ ended with {status}: {said}");
            }
            TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        within(BOOT, "RabbitMQ's management to answer", async || {
            self.get("overview").await
        })
        .await;
    }

    /// Notes that queues are being declared, which a kill must not follow too closely.
    pub(crate) fn declares(&mut self) {
        self.declared = Instant::now();
    }

    /// SIGTERM: it stops in good order.
    pub(crate) async fn stop(&mut self) {
        let mut beam = self.beam.take().expect("it runs");
        signal("TERM", beam.id().expect("it runs")).await;
        beam.wait().await.unwrap();
    }

    /// kill -9.
    pub(crate) async fn kill(&mut self) {
        sleep_until(self.declared + SETTLED).await;
        let mut beam = self.beam.take().expect("it runs");
        beam.kill().await.unwrap();
    }

    /// SIGSTOP: it is there, and does nothing.
    pub(crate) async fn pause(&self) {
        signal("STOP", self.pid()).await;
    }

    /// SIGCONT.
    pub(crate) async fn resume(&self) {
        signal("CONT", self.pid()).await;
    }

    fn pid(&self) -> u32 {
        let beam = self.beam.as_ref().expect("it runs");
        beam.id().expect("it runs")
    }

    /// Forgets everything: users, virtual hosts, queues and messages. It must be stopped.
    pub(crate) fn wipe(&mut self) {
        assert!(self.beam.is_none(), "RabbitMQ still runs");
        let data = self.folder.path().join("data");
        std::fs::remove_dir_all(&data).unwrap();
        std::fs::create_dir(&data).unwrap();
    }

    /// Runs `rabbitmqctl`, and returns what it prints.
    pub(crate) async fn ctl(&self, arguments: &[&str]) -> String {
        let mut program = command(CONTROL);
        program.arg("--quiet").args(arguments);
        let output = program.envs(self.environment.clone()).output().await;
        let output = output.unwrap();
        assert!(
            output.status.success(),
            "rabbitmqctl {arguments:?}: {output:?}"
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Asks the management API. `path` follows `/api/`.
    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        let url = format!("http://127.0.0.1:{}/api/{path}", self.http_port);
        let (user, password) = self.user.split_once(':')?;
        let request = self.http.get(url).basic_auth(user, Some(password));
        let answer = request.send().await.ok()?.error_for_status().ok()?;
        answer.json().await.ok()
    }

    /// Changes something over the management API. `path` follows `/api/`.
    pub(crate) async fn call(&self, method: reqwest::Method, path: &str, body: Value) {
        let url = format!("http://127.0.0.1:{}/api/{path}", self.http_port);
        let (user, password) = self.user.split_once(':').expect("user:password");
        let request = self.http.request(method, url).json(&body);
        let answer = request.basic_auth(user, Some(password)).send().await;
        answer.unwrap().error_for_status().unwrap();
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        if let Some(beam) = &mut self.beam {
            put_down(beam, &[]);
        }
    }
}
