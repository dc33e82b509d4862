//! Crashes: whatever is killed or stopped, each order has one of each.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::client::{Client, small_server};
use crate::support::database::{number, texts};
use crate::support::suite::Suite;
use crate::support::system::{BOTH, System, World};
use crate::support::wait::{look_again, within};

const ORDERS: usize = 200;
/// Mails that somebody is sending.
pub(crate) const IN_HAND: &str =
    "SELECT message_id FROM email_delivery WHERE state IN ('sending', 'data_sent')";
/// Mails whose body began to go out and whose answer is not known.
pub(crate) const HELD: &str =
    "SELECT message_id FROM email_delivery WHERE state IN ('data_sent', 'ambiguous')";
/// Longer than the longest lease that a killed process leaves behind.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "kill_9_of_any_worker_loses_and_doubles_nothing",
        &BOTH,
        kill_9_of_any_worker,
    );
    suite.story("sigterm_loses_nothing", &BOTH, sigterm_loses_nothing);
}

/// The client of the system as it is now: a restarted ingress listens elsewhere.
type Current = Arc<Mutex<Client>>;

/// Places an order until it is accepted, as a client would that loses its connection.
async fn place(current: Current, index: usize) {
    let (key, body) = (
        format!("order-{index}"),
        small_server(&format!("web-{index}")),
    );
    let began = Instant::now();
    loop {
        let client = current.lock().unwrap().clone();
        if client
            .try_order(&key, &body)
            .await
            .is_ok_and(|answer| answer.status == 202)
        {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "order {index} is not accepted");
        look_again().await;
    }
}

/// A dozen clients at once, each with its share of the orders.
async fn place_all(current: Current) {
    let mut clients = tokio::task::JoinSet::new();
    for first in 0..12 {
        let current = current.clone();
        clients.spawn(async move {
            for index in (first..ORDERS).step_by(12) {
                place(current.clone(), index).await;
            }
        });
    }
    clients.join_all().await;
}

async fn completed(system: &System, count: i64) {
    let db = system.db().await;
    within(PATIENCE, "every order to complete", async || {
        let sql = "SELECT count(*) FROM \"order\" WHERE state = 'completed'";
        (number(&db, sql).await == count).then_some(())
    })
    .await;
    // A mail that was cut between body and answer is held: it may have arrived, and is not sent again.
    within(PATIENCE, "every mail to be sent or held", async || {
        let sql =
            "SELECT count(*) FROM email_delivery WHERE state IN ('sent', 'data_sent', 'ambiguous')";
        (number(&db, sql).await == count).then_some(())
    })
    .await;
}

/// One resource, one invoice and one mail for each order, and numbers without a gap. Of the mails
/// only those in `cut_off` may be held.
pub(crate) async fn one_of_each(system: &System, count: usize, cut_off: &HashSet<String>) {
    let created = system.provider.created().await;
    let tokens: HashSet<_> = created
        .iter()
        .map(|entry| entry["client_token"].to_string())
        .collect();
    assert_eq!((created.len(), tokens.len()), (count, count), "servers");
    let db = system.db().await;
    let total = i64::try_from(count).unwrap();
    assert_eq!(
        number(&db, "SELECT count(*) FROM resource WHERE state = 'active'").await,
        total
    );
    assert_eq!(
        number(&db, "SELECT count(*) FROM invoice WHERE state = 'issued'").await,
        total
    );
    assert_eq!(
        number(&db, "SELECT max(sequence) FROM invoice").await,
        total
    );
    assert_eq!(
        number(&db, "SELECT count(DISTINCT sequence) FROM invoice").await,
        total
    );
    assert_eq!(number(&db, "SELECT count(*) FROM document").await, total);
    let mails = system.mail.accepted().await;
    let arrived: HashSet<_> = mails.iter().map(|mail| mail.message_id.clone()).collect();
    assert_eq!(arrived.len(), mails.len(), "no mail twice");
    // A mail that was cut off between body and answer may have arrived, and is held. No other is.
    let sent = texts(
        &db,
        "SELECT message_id FROM email_delivery WHERE state = 'sent'",
    )
    .await;
    assert!(
        sent.iter().all(|id| arrived.contains(id)),
        "mails that nobody got"
    );
    let held = texts(&db, HELD).await;
    assert_eq!(sent.len() + held.len(), count);
    assert!(
        held.iter().all(|id| cut_off.contains(id)),
        "held, though nothing cut them off: {held:?}"
    );
    let held = held.len();
    println!("{count} orders, {} mails arrived, {held} held", mails.len());
}

async fn kill_9_of_any_worker(world: World) {
    let mut system = System::start(world).await;
    let current: Current = Arc::new(Mutex::new(system.client.clone()));
    let placing = tokio::spawn(place_all(current.clone()));
    let db = system.db().await;
    let parts = [
        "order", "provider", "invoice", "document", "email", "ingress",
    ];
    let mut cut_off = HashSet::new();
    for (round, part) in parts.iter().chain(&parts).enumerate() {
        // In the middle of it: when so many orders have come so far.
        let sql = "SELECT count(*) FROM \"order\"";
        let reached = i64::try_from(ORDERS * (round + 1) / (2 * parts.len() + 1)).unwrap();
        within(PATIENCE, "orders to come in", async || {
            (number(&db, sql).await >= reached).then_some(())
        })
        .await;
        let name = system.kill(part).await;
        if ["email", "run"].contains(&name) {
            // Nobody sends mail now: only these can have been cut off between body and answer.
            cut_off.extend(texts(&db, IN_HAND).await);
        }
        system.restart(name).await;
        *current.lock().unwrap() = system.client.clone();
    }
    drop(db);
    placing.await.unwrap();
    completed(&system, i64::try_from(ORDERS).unwrap()).await;
    one_of_each(&system, ORDERS, &cut_off).await;
    system.finish().await;
}

async fn sigterm_loses_nothing(world: World) {
    let mut system = System::start(world).await;
    let count = 100;
    let client = system.client.clone();
    let placing = (0..count).map(|index| {
        let client = client.clone();
        async move {
            client
                .order(
                    &format!("order-{index}"),
                    &small_server(&format!("web-{index}")),
                )
                .await
        }
    });
    let answers = futures_util::future::join_all(placing).await;
    assert!(answers.iter().all(|answer| answer.status == 202));
    // Everything is on its way; now everything is stopped, and must end well.
    let db = system.db().await;
    within(PATIENCE, "some orders to complete", async || {
        let sql = "SELECT count(*) FROM \"order\" WHERE state = 'completed'";
        (number(&db, sql).await >= 10).then_some(())
    })
    .await;
    system.stop_all().await;
    let finished = number(
        &db,
        "SELECT count(*) FROM email_delivery WHERE state = 'sent'",
    )
    .await;
    assert!(finished < count, "there was something left to do");
    // Nothing was cut off in the middle.
    let open =
        "SELECT count(*) FROM email_delivery WHERE state IN ('sending', 'data_sent', 'ambiguous')";
    assert_eq!(number(&db, open).await, 0);
    drop(db);
    system.start_all().await;
    for answer in &answers {
        let order: Value = system
            .delivered(&system.client, answer.header("location"))
            .await;
        assert_eq!(order["status"], "completed");
    }
    one_of_each(&system, usize::try_from(count).unwrap(), &HashSet::new()).await;
    assert_eq!(system.mail.count().await.unwrap().0, 100);
    system.finish().await;
}
