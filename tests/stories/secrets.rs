//! Secrets: known ones are given to a system that is in trouble, and looked for in everything that it
//! leaves behind.

use std::path::Path;

use lapin::options::{BasicGetOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use mail_parser::{MessageParser, MimeHeaders};
use reqwest::Method;
use schemas::topology;
use serde_json::json;

use crate::support::client::{Session, small_server};
use crate::support::database::texts;
use crate::support::otlp;
use crate::support::person::Authenticator;
use crate::support::process::output;
use crate::support::suite::Suite;
use crate::support::system::{BOTH, Setup, System, World};
use crate::support::wait::eventually;

use super::document::text_of;
use super::mail::certificate;
use super::oauth;

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "secrets_are_nowhere_but_where_they_belong",
        &BOTH,
        secrets_are_nowhere,
    );
    suite.story(
        "a_setting_that_is_wrong_is_shown_without_its_password",
        &[World::Embedded],
        wrong_settings,
    );
}

const MAIL: &str = "canary-mail-5e1f70c2";
const DATABASE: &str = "canary-database-b0c93d47";
const BROKER: &str = "canary-broker-71d2a8e6";
const CACHE: &str = "canary-cache-c4409b1a";
const PROVIDER: &str = "canary-provider-08e6d5f1";

/// What to look for, and in what it was found.
struct Search {
    secrets: Vec<(&'static str, String)>,
    found: Vec<String>,
}

impl Search {
    /// Looks for every secret. What is looked through says `marker`, which shows that it is what it
    /// should be.
    fn through(&mut self, place: &str, bytes: &[u8], marker: &str) {
        let text = String::from_utf8_lossy(bytes);
        assert!(text.contains(marker), "{place} does not say {marker}");
        for (name, secret) in &self.secrets {
            if spellings(secret).any(|spelling| text.contains(&spelling)) {
                self.found.push(format!("{name} in {place}"));
            }
        }
    }
}

/// A secret as text, in hex, and as Rust prints bytes.
fn spellings(secret: &str) -> impl Iterator<Item = String> {
    let bytes = format!("{:?}", secret.as_bytes());
    [
        secret.to_owned(),
        data_encoding::HEXLOWER.encode(secret.as_bytes()),
        bytes.trim_matches(['[', ']']).to_owned(),
    ]
    .into_iter()
}

/// Starts a system whose every password is known.
async fn start(world: World, certificates: &Path, collector: &str) -> System {
    let (cert, key) = certificate(certificates);
    let auth = format!("flow:{MAIL}");
    let mail = ["--tls-cert", &cert, "--tls-key", &key, "--auth", &auth];
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.to_owned()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".to_owned()),
        // Nobody is there, which is logged.
        ("CACHE_URL", format!("redis://:{CACHE}@127.0.0.1:9")),
        ("RUST_LOG", "trace".to_owned()),
    ];
    let setup = Setup {
        environment: environment
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
        mail: mail.map(str::to_owned).into(),
        mail_url: Some((format!("flow:{MAIL}@"), format!("?tls=required&ca={cert}"))),
        idle: true,
        ..Setup::default()
    };
    let mut system = System::start_with(world, setup).await;
    if world == World::Distributed {
        let url = system.database.application_role(DATABASE).await;
        system.set_environment("DATABASE_URL", &url);
        let user = user(&system);
        let vhost = system.vhost.as_ref().unwrap();
        let url = vhost.add_user_with(&user, BROKER).await;
        system.set_environment("BROKER_URL", &url);
    }
    system.start_all().await;
    system
}

/// The broker user of the system.
fn user(system: &System) -> String {
    format!("canary-{}", system.account_id)
}

async fn secrets_are_nowhere(world: World) {
    let (collector, spans) = otlp::http().await;
    let certificates = tempfile::tempdir().unwrap();
    let mut system = start(world, certificates.path(), &collector).await;
    let tap = match &system.vhost {
        Some(vhost) => Some(Tap::open(&vhost.url()).await),
        None => None,
    };
    let client = system.client.clone();
    let mut search = Search {
        secrets: vec![
            ("the mail password", MAIL.to_owned()),
            ("the database password", DATABASE.to_owned()),
            ("the broker password", BROKER.to_owned()),
            ("the cache password", CACHE.to_owned()),
            ("the credential at the provider", PROVIDER.to_owned()),
            ("the key", secret(client.key())),
        ],
        found: Vec::new(),
    };
    // A key that the API makes, and the one that follows it.
    let create = json!({ "name": "canary", "scopes": ["orders:read"] });
    let made = client
        .with_body(Method::POST, "/v1/api-keys", &create)
        .await
        .body;
    let rotate = format!("/v1/api-keys/{}/rotations", made["id"].as_str().unwrap());
    let rotated = client.with_body(Method::POST, &rotate, &json!({})).await;
    for (name, answer) in [("the made key", &made), ("the rotated key", &rotated.body)] {
        search
            .secrets
            .push((name, secret(answer["key"].as_str().unwrap())));
    }

    // An OAuth client with both of its secrets, and a token that was used.
    let (id, first) = oauth::create(&client, &create).await;
    let rotate = format!("/v1/oauth-clients/{id}/rotations");
    let rotated = client.with_body(Method::POST, &rotate, &json!({})).await;
    let second = rotated.body["client_secret"].as_str().unwrap().to_owned();
    let token = client.token((&id, &second), "").await;
    assert_eq!(client.with_key(&token).get("/v1/orders").await.status, 200);
    let (text, signature) = token.rsplit_once('.').unwrap();
    for (name, secret) in [
        ("the client secret", &*first),
        ("the rotated client secret", &*second),
        ("the access token", text),
        ("the signature of the access token", signature),
    ] {
        search.secrets.push((name, secret.to_owned()));
    }
    let wrong = format!("{text}.{}", signature.to_lowercase());
    assert_eq!(client.with_key(&wrong).get("/v1/orders").await.status, 401);
    let link = somebody(&system, &mut search).await;
    let set = ["provider", "set-credential", "simulated"];
    system.told(&set, PROVIDER).await;

    let order = trouble(&system).await;
    let invoice = order["links"]["invoice"].as_str().unwrap();
    let invoice = client.get(invoice).await.body;
    let number = invoice["number"].as_str().unwrap();
    for list in [
        "api-keys",
        "oauth-clients",
        "audit-entries",
        "orders",
        "invoices",
    ] {
        let answer = client.get(&format!("/v1/{list}")).await;
        search.through(list, answer.body.to_string().as_bytes(), "items");
    }
    let parked = eventually("the message to be parked", async || {
        let listed = system.flow(&["dead", "list", "--json"]).await;
        let first = listed.lines().next()?;
        serde_json::from_str::<serde_json::Value>(first).ok()
    })
    .await;
    let shown = ["dead", "show", parked["id"].as_str().unwrap()];
    let shown = system.flow(&shown).await;
    search.through("the parked message", shown.as_bytes(), "provider_rejected");
    if world == World::Distributed {
        let pdf = client.bytes(order["links"]["pdf"].as_str().unwrap()).await;
        let path = system.folder().join("canary.pdf");
        std::fs::write(&path, pdf.bytes().await.unwrap()).unwrap();
        search.through("the PDF", text_of(&path).await.as_bytes(), number);
    }
    for mail in system.mail.accepted().await {
        let raw = std::fs::read(system.folder().join(&mail.file)).unwrap();
        search.through("a mail", &decoded(&raw), "Nimbus");
    }

    // The secret in a link is in the mail, and nowhere else.
    search.secrets.push(("the link", link));
    // What is sent at the end counts too.
    for (name, process) in &system.processes {
        search.through(name, process.output().as_bytes(), "\"level\":\"DEBUG\"");
    }
    let processes = std::mem::take(&mut system.processes);
    for (_, mut process) in processes {
        process.terminate().await;
        // Its log is a file, and looked through with them.
    }
    search.through("the traces", &spans.bytes(), "POST /v1/orders");
    match tap {
        Some(tap) => search.through("the messages", &tap.messages().await, "email.send"),
        None => search.through(
            "the queue",
            &std::fs::read(system.queue_file()).unwrap(),
            "SQLite format",
        ),
    }
    let pepper = system.folder().join("data").join("pepper");
    let text = std::fs::read_to_string(&pepper).unwrap();
    search.secrets.push(("the pepper", text.trim().to_owned()));
    search.through("the database", &dump(&system).await, "Musterwerk");
    let mails = system.folder().join("mails");
    for file in files(system.folder()) {
        if file != pepper && !file.starts_with(&mails) {
            let bytes = std::fs::read(&file).unwrap();
            search.through(&file.display().to_string(), &bytes, "");
        }
    }
    assert!(search.found.is_empty(), "{:#?}", search.found);

    if let Some(vhost) = &system.vhost {
        vhost.remove_user(&user(&system)).await;
    }
    system.finish_quietly().await;
}

/// Somebody logs in, wants a second factor and forgets the password: what they know is looked for from
/// now on. Returns the secret in the link that they get.
async fn somebody(system: &System, search: &mut Search) -> String {
    let email = "ada@musterwerk.example";
    let password = system.user(&system.account_id, email, "owner").await;
    let ada = system.logged_in(email, &password).await;
    let enrolment = json!({ "password": password });
    let enrolled = ada.post_to("/v1/me/second-factor", enrolment).await.body;
    let in_base_32 = enrolled["secret"].as_str().unwrap().to_owned();
    let bytes = data_encoding::BASE32_NOPAD
        .decode(in_base_32.as_bytes())
        .unwrap();
    let code = Authenticator::new(&in_base_32).code(0);
    let path = "/v1/me/second-factor/confirmation";
    let confirmed = ada.post_to(path, json!({ "code": code })).await;
    assert_eq!(confirmed.status, 200, "{confirmed:?}");
    let session = ada.keeping(&confirmed).refreshed().await;
    let session = session.session().unwrap();
    let cookie = |name: &str| {
        let cookies = session.cookies.iter();
        let mut values = cookies.filter_map(|pair| pair.split_once('='));
        values
            .find(|(found, _)| *found == name)
            .unwrap()
            .1
            .to_owned()
    };
    search.secrets.extend([
        ("the password", password),
        ("the session", cookie("session")),
        ("the device", cookie("device")),
        (
            "the token against other pages",
            session.csrf.clone().unwrap(),
        ),
        ("the second factor", in_base_32),
        (
            "the second factor in hex",
            data_encoding::HEXLOWER.encode(&bytes),
        ),
        (
            "a recovery code",
            confirmed.body["recovery_codes"][0]
                .as_str()
                .unwrap()
                .to_owned(),
        ),
    ]);
    let nobody = system.client.with_session(Session::default());
    nobody
        .post_to("/v1/password-resets", json!({ "email": email }))
        .await;
    let token = system.link(email, "reset-password", 0).await;
    token.split_once('.').unwrap().1.to_owned()
}

/// The secret part of a key.
fn secret(key: &str) -> String {
    key.rsplit('_').next().unwrap().to_owned()
}

/// Gives everybody a reason to complain: the provider fails and refuses, the mail server puts off, and
/// connections break. Returns an order that was delivered in spite of it.
async fn trouble(system: &System) -> serde_json::Value {
    let client = &system.client;
    let (start, _) = client.key().rsplit_once('_').unwrap();
    let wrong = client.with_key(&format!("{start}_{}", "0".repeat(64)));
    assert_eq!(wrong.get("/v1/orders").await.status, 401);
    let faults = json!({ "create": [{ "fault": "status", "status": 403 }], "token": PROVIDER });
    system.provider.faults(faults).await;
    let refused = client.order("refused", &small_server("web")).await;
    system.status(refused.header("location"), "failed").await;

    let faults = json!({ "create": [{ "fault": "status", "status": 503 }], "token": PROVIDER });
    system.provider.faults(faults).await;
    let faults = json!([{ "at": "mail", "reply": "450 4.3.0 later" }]);
    system.mail.faults(faults).await;
    let order = system
        .order_and_deliver(client, "late", &small_server("web"))
        .await;
    if let Some(vhost) = &system.vhost {
        vhost.close_connections().await;
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        crate::support::database::number(&system.db().await, end).await;
        let accepted = eventually("orders to be accepted again", async || {
            let answer = client.order("again", &small_server("web")).await;
            (answer.status == 202).then_some(answer)
        })
        .await;
        system.delivered(client, accepted.header("location")).await;
    }
    order
}

/// Keeps a copy of every message that goes through an exchange.
struct Tap {
    url: String,
}

const TAP: &str = "tap";

impl Tap {
    async fn open(url: &str) -> Self {
        let tap = Self {
            url: url.to_owned(),
        };
        let channel = tap.channel().await;
        let options = QueueDeclareOptions::durable();
        let declared = channel.queue_declare(TAP.into(), options, FieldTable::default());
        declared.await.unwrap();
        for exchange in [
            topology::ORDERS,
            topology::WORK,
            topology::EVENTS,
            topology::RETRY,
            topology::REQUEUE,
            topology::DEAD,
            topology::UNROUTED,
        ] {
            let options = QueueBindOptions::default();
            let none = FieldTable::default();
            let bound = channel.queue_bind(TAP.into(), exchange.into(), "#".into(), options, none);
            bound.await.unwrap();
        }
        tap
    }

    async fn channel(&self) -> Channel {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(&self.url, properties).await.unwrap();
        connection.create_channel().await.unwrap()
    }

    /// Everything that went through so far: properties, headers and bodies.
    async fn messages(self) -> Vec<u8> {
        let channel = self.channel().await;
        let mut all = Vec::new();
        let options = BasicGetOptions { no_ack: true };
        while let Some(message) = channel.basic_get(TAP.into(), options).await.unwrap() {
            all.extend(format!("{:?}", message.properties).into_bytes());
            all.extend(&message.data);
        }
        all
    }
}

/// Every row of every table as text.
async fn dump(system: &System) -> Vec<u8> {
    if system.vhost.is_none() {
        // What SQLite has not yet written into it lies beside it.
        let mut all = std::fs::read(system.folder().join("flow.db")).unwrap();
        all.extend(std::fs::read(system.folder().join("flow.db-wal")).unwrap_or_default());
        return all;
    }
    let db = system.db().await;
    let tables =
        "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'";
    let mut all = Vec::new();
    for table in texts(&db, tables).await {
        let rows = format!("SELECT row_to_json(t)::text FROM \"{table}\" t");
        all.extend(texts(&db, &rows).await.concat().into_bytes());
    }
    all
}

/// Everything a mail says, in plain.
fn decoded(raw: &[u8]) -> Vec<u8> {
    let mail = MessageParser::default().parse(raw).unwrap();
    let mut all = raw.to_vec();
    for part in &mail.parts {
        all.extend(part.contents());
        all.extend(part.attachment_name().unwrap_or_default().bytes());
    }
    all
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .collect()
}

async fn wrong_settings(world: World) {
    let system = System::start_with(
        world,
        Setup {
            idle: true,
            ..Setup::default()
        },
    )
    .await;
    let secret = "canary-setting-2f6d";
    for (name, value) in [
        ("BROKER_URL", "http://u:SECRET@127.0.0.1:9"),
        ("BROKER_URL", "amqp://u:SECRET@127.0.0.1:999999"),
        ("BROKER_URL", "amqp://u:SECRET/@b@127.0.0.1:9:9"),
        ("DATABASE_URL", "mysql://u:SECRET@127.0.0.1:9/x"),
        ("DATABASE_URL", "postgres://u:SECRET@127.0.0.1:99999/x"),
        (
            "DATABASE_URL",
            "postgres://u:SECRET@127.0.0.1:9/x?sslmode=no",
        ),
        ("MAIL_URL", "http://u:SECRET@127.0.0.1:9"),
        ("MAIL_URL", "smtp://u:SECRET@127.0.0.1:9/?tls=maybe"),
        ("CACHE_URL", "http://u:SECRET@127.0.0.1:9"),
        ("CACHE_URL", "redis://u:SECRET@127.0.0.1:999999"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:SECRET@:x"),
    ] {
        let setting = [(name.to_owned(), value.replace("SECRET", secret))];
        let environment = [system.environment(), &setting].concat();
        for arguments in [&["run", "--listen", "127.0.0.1:0"][..], &["run", "--help"]] {
            let said = output(system.folder(), arguments, &environment).await;
            let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
            assert!(!text.contains(secret), "{name}={value}: {text}");
            if arguments.len() > 2 {
                assert!(!said.status.success(), "{name}={value}");
            }
        }
    }
    system.finish_quietly().await;
}
