//! The embedded system when its process, its disk or its files fail.

use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use serde_json::json;

use crate::support::client::small_server;
use crate::support::database::{number, texts};
use crate::support::process::{command, try_flow};
use crate::support::suite::Suite;
use crate::support::system::{Setup, System, World};
use crate::support::wait::{eventually, within};

use super::crash::{HELD, IN_HAND, PATIENCE, one_of_each};

pub(crate) fn register(suite: &mut Suite) {
    let world = [World::Embedded];
    suite.story(
        "kill_9_at_every_named_place_loses_and_doubles_nothing",
        &world,
        kill_9_at_every_place,
    );
    suite.story(
        "a_full_disk_is_said_and_what_was_accepted_goes_on_when_there_is_room",
        &world,
        a_full_disk,
    );
    suite.story(
        "a_torn_queue_file_costs_nothing_that_was_taken_in",
        &world,
        a_torn_queue_file,
    );
}

/// Every place that an embedded system passes, and what has to happen for that.
const PLACES: [(&str, Wanted); 19] = [
    ("ingress.confirmed", Wanted::Nothing),
    ("publish.confirmed", Wanted::Nothing),
    ("consume.decoded", Wanted::Nothing),
    ("consume.handled", Wanted::Nothing),
    ("consume.published", Wanted::Nothing),
    ("consume.acked", Wanted::Nothing),
    ("order.stored", Wanted::Nothing),
    ("provision.intent", Wanted::Nothing),
    ("provision.effect", Wanted::Nothing),
    ("provision.recorded", Wanted::Nothing),
    ("invoice.numbered", Wanted::Nothing),
    ("invoice.committed", Wanted::Nothing),
    ("document.rendered", Wanted::Nothing),
    ("mail.data_sent", Wanted::Nothing),
    ("mail.accepted", Wanted::Nothing),
    ("retry.published", Wanted::Retries),
    ("park.published", Wanted::Refusals),
    ("parker.stored", Wanted::Refusals),
    ("drain", Wanted::Stop),
];
const ORDERS: usize = 4;
/// How many systems run at once: most of the time they wait for the leases of the dead.
const AT_ONCE: usize = 10;

/// What makes a process pass a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// Orders are enough.
    Nothing,
    /// The provider is busy at first.
    Retries,
    /// The provider refuses at first.
    Refusals,
    /// The process is asked to stop.
    Stop,
}

async fn kill_9_at_every_place(world: World) {
    // Places that follow each other are passed once and twice in turn.
    let runs = PLACES.iter().zip([1, 2].into_iter().cycle());
    let runs = runs.map(|((place, wanted), pass)| killed_at(world, place, pass, *wanted));
    futures_util::stream::iter(runs)
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<()>>()
        .await;
}

async fn killed_at(world: World, place: &'static str, pass: u32, wanted: Wanted) {
    let setup = Setup {
        idle: true,
        ..Setup::default()
    };
    let mut system = System::start_with(world, setup).await;
    system.set_environment("CRASH_AT", &format!("{place}:{pass}"));
    system.start_all().await;
    system.unset_environment("CRASH_AT");
    let status = match wanted {
        Wanted::Refusals => 403,
        _ => 503,
    };
    if matches!(wanted, Wanted::Refusals | Wanted::Retries) {
        let fault = json!({ "fault": "status", "status": status });
        let faults = json!({ "create": vec![fault; ORDERS] });
        system.provider.faults(faults).await;
    }
    let client = system.client.clone();
    let ordering = tokio::spawn(async move {
        for index in 0..ORDERS {
            let body = small_server(&format!("web-{index}"));
            // Whether it is accepted does not matter yet: it is asked for again.
            client
                .try_order(&format!("order-{index}"), &body)
                .await
                .ok();
        }
    });
    if wanted == Wanted::Stop {
        ordering.await.unwrap();
        system.part("run").signal("TERM").await;
    }
    let ended = eventually(
        &format!("the process to be killed at {place}"),
        async || system.part("run").ended(),
    )
    .await;
    assert_eq!(ended.signal(), Some(9), "{place}: {ended}");
    system.processes.clear();
    let db = system.db().await;
    // The whole system was killed: whatever mail was in its hands may be cut off.
    let cut_off: HashSet<String> = texts(&db, IN_HAND).await.into_iter().collect();
    system.restart("run").await;
    for index in 0..ORDERS {
        let body = small_server(&format!("web-{index}"));
        let answer = system.client.order(&format!("order-{index}"), &body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    within(
        PATIENCE,
        &format!("every mail after a kill at {place}"),
        async || {
            if wanted == Wanted::Refusals {
                system.flow(&["dead", "replay", "--all"]).await;
            }
            let mut over = texts(
                &db,
                "SELECT message_id FROM email_delivery WHERE state = 'sent'",
            )
            .await;
            over.extend(
                texts(&db, HELD)
                    .await
                    .into_iter()
                    .filter(|id| cut_off.contains(id)),
            );
            (over.len() == ORDERS).then_some(())
        },
    )
    .await;
    drop(db);
    one_of_each(&system, ORDERS, &cut_off).await;
    system.finish_quietly().await;
}

/// A disk of its own that can be filled and enlarged.
struct Disk(PathBuf);

impl Disk {
    async fn mount(path: &Path, size: &str) -> Self {
        std::fs::create_dir_all(path).unwrap();
        let options = format!("size={size}");
        mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], path).await;
        Self(path.to_owned())
    }

    async fn enlarge(&self, size: &str) {
        mount(&["-o", &format!("remount,size={size}")], &self.0).await;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        #[expect(clippy::disallowed_methods, reason = "a test's own disk")]
        let unmounting = std::process::Command::new("umount")
            .arg("--lazy")
            .arg(&self.0)
            .status();
        unmounting.ok();
    }
}

/// Mounts as root, or through sudo.
async fn mount(arguments: &[&str], path: &Path) {
    let path = path.to_str().unwrap();
    let mut mounting = command("mount");
    let mounted = mounting.args(arguments).arg(path).output().await.unwrap();
    if !mounted.status.success() {
        let mut mounting = command("sudo");
        let mounting = mounting.args(["-n", "mount"]).args(arguments).arg(path);
        let mounted = mounting.output().await.unwrap();
        assert!(mounted.status.success(), "needs root to mount: {mounted:?}");
    }
}

async fn a_full_disk(world: World) {
    let setup = Setup {
        idle: true,
        ..Setup::default()
    };
    let mut system = System::start_with(world, setup).await;
    let disk = Disk::mount(&system.folder().join("disk"), "6m").await;
    let file = |name: &str| disk.0.join(name).display().to_string();
    system.move_database(&disk.0).await;
    system.set_environment("BROKER_URL", &format!("embedded:{}", file("queue.db")));
    system.start_all().await;
    let first = system.client.order("first", &small_server("web")).await;
    system
        .delivered(&system.client, first.header("location"))
        .await;

    // Everything else on the disk grows.
    let filler = disk.0.join("filler");
    let mut size = 0_usize;
    while std::fs::write(&filler, vec![0; size + 4096]).is_ok() {
        size += 4096;
    }
    let mut accepted = vec![first.header("location").to_owned()];
    let mut refused = 0;
    while refused < 5 {
        let key = format!("order-{}", accepted.len());
        let answer = system.client.order(&key, &small_server("web")).await;
        match answer.status.as_u16() {
            202 => accepted.push(answer.header("location").to_owned()),
            503 => refused += 1,
            _ => panic!("{answer:?}"),
        }
    }
    let created = system.provider.created().await.len();
    assert!(created <= accepted.len(), "{created} servers");

    disk.enlarge("64m").await;
    for order in &accepted {
        let delivered = system.delivered(&system.client, order).await;
        assert_eq!(delivered["status"], "completed");
    }
    let created = system.provider.created().await.len();
    let mails = system.mail.accepted().await.len();
    assert_eq!((created, mails), (accepted.len(), accepted.len()));
    system.finish().await;
}

async fn a_torn_queue_file(world: World) {
    let setup = Setup {
        idle: true,
        ..Setup::default()
    };
    let mut system = System::start_with(world, setup).await;
    system.set_environment("RECONCILE_AFTER", "1");
    system.start_all().await;
    system.provider.faults(json!({ "latency_ms": 1500 })).await;
    let mut orders = Vec::new();
    for index in 0..10 {
        let key = format!("order-{index}");
        let accepted = system.client.order(&key, &small_server("web")).await;
        orders.push(accepted.header("location").to_owned());
    }
    let db = system.db().await;
    eventually("every order to be taken in", async || {
        (number(&db, "SELECT count(*) FROM \"order\"").await == 10).then_some(())
    })
    .await;
    drop(db);

    // The last writes never reached the disk.
    system.kill("run").await;
    let queue = system.queue_file();
    let log = PathBuf::from(format!("{}-wal", queue.display()));
    let length = std::fs::metadata(&log).unwrap().len();
    let torn = std::fs::File::options().write(true).open(&log).unwrap();
    torn.set_len(length / 2).unwrap();
    system.start_all().await;
    system.status(&orders[0], "completed").await;

    // The file itself is damaged: it is not touched, and the error says what can be done.
    system.kill("run").await;
    std::fs::remove_file(&log).ok();
    let mut bytes = std::fs::read(&queue).unwrap();
    for byte in bytes.iter_mut().skip(4096).take(8192) {
        *byte = 0xa5;
    }
    std::fs::write(&queue, &bytes).unwrap();
    let refused = try_flow(system.folder(), &["worker", "order"], system.environment()).await;
    let error = refused.unwrap_err();
    assert!(
        error.contains("damaged") || error.contains("malformed"),
        "{error}"
    );
    assert!(error.contains("move it away"), "{error}");
    std::fs::rename(&queue, queue.with_extension("damaged")).unwrap();
    system.provider.faults(json!({})).await;
    system.start_all().await;
    for order in &orders {
        let delivered = system.delivered(&system.client, order).await;
        assert_eq!(delivered["status"], "completed");
    }
    let created = system.provider.created().await.len();
    assert_eq!(created, 10);
    system.finish().await;
}
