//! Mail: once, encrypted, retried while that is safe, held when it is not.

use serde_json::{Value, json};

use crate::support::client::small_server;
use crate::support::database::texts;
use crate::support::process::try_flow;
use crate::support::suite::Suite;
use crate::support::system::{BOTH, Setup, System, World};
use crate::support::wait::eventually;

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "mail_that_the_server_puts_off_is_sent_once",
        &BOTH,
        mail_that_is_put_off,
    );
    suite.story(
        "mail_that_the_server_refuses_is_shown",
        &BOTH,
        mail_that_is_refused,
    );
    suite.story(
        "mail_without_an_answer_is_held_and_not_sent_again",
        &BOTH,
        mail_without_an_answer,
    );
    suite.story(
        "an_account_without_an_address_is_undeliverable",
        &BOTH,
        an_account_without_an_address,
    );
    suite.story(
        "mail_is_encrypted_and_logged_in",
        &[World::Embedded],
        mail_is_encrypted_and_logged_in,
    );
    suite.story(
        "a_foreign_certificate_is_not_trusted",
        &[World::Embedded],
        a_foreign_certificate_is_not_trusted,
    );
}

async fn mail_that_is_put_off(world: World) {
    let setup = Setup {
        retry_scale: Some("0.001"),
        ..Setup::default()
    };
    let system = System::start_with(world, setup).await;
    // At every place before the answer to the body nothing is accepted, so all may be repeated.
    let faults = json!([
        { "at": "connect", "reply": "421 4.3.2 too busy" },
        { "at": "mail", "reply": "450 4.3.0 later" },
        { "at": "rcpt", "reply": "451 4.3.0 greylisted" },
        { "at": "data" },
        { "at": "body", "reply": "452 4.3.1 disk full" },
    ]);
    system.mail.faults(faults).await;
    let order = system
        .order_and_deliver(&system.client, "k1", &small_server("web"))
        .await;
    assert_eq!(order["stages"][4]["attempts"], 6, "{order}");
    assert_eq!(system.mail.accepted().await.len(), 1);
    system.finish().await;
}

/// Waits until the mail of an order is in a state, and returns the delivery.
async fn delivery(system: &System, order: &str, state: &str) -> Value {
    eventually(&format!("the mail to be {state}"), async || {
        let order = system.client.get(order).await.body;
        let invoice = system
            .client
            .get(order["links"]["invoice"].as_str()?)
            .await
            .body;
        let delivery = invoice["deliveries"][0].clone();
        let stage = &order["stages"][4];
        (delivery["status"] == state && stage["state"] == "failed").then_some(delivery)
    })
    .await
}

async fn mail_that_is_refused(world: World) {
    let system = System::start(world).await;
    for (key, at, reply) in [
        ("k1", "rcpt", "550 5.1.1 no such user"),
        ("k2", "body", "554 5.7.1 spam"),
    ] {
        system
            .mail
            .faults(json!([{ "at": at, "reply": reply }]))
            .await;
        let accepted = system.client.order(key, &small_server("web")).await;
        let refused = delivery(&system, accepted.header("location"), "refused").await;
        let error = refused["last_error"].as_str().unwrap();
        assert!(
            error.contains(reply.split(' ').next_back().unwrap()),
            "{error}"
        );
        assert_eq!(refused["attempts"], 1);
    }
    assert_eq!(system.mail.accepted().await.len(), 0);
    system.finish().await;
}

async fn mail_without_an_answer(world: World) {
    let mut system = System::start(world).await;
    // The server may have kept the mail, or not: nobody can tell.
    for (key, keep) in [("k1", true), ("k2", false)] {
        system
            .mail
            .faults(json!([{ "at": "body", "keep": keep }]))
            .await;
        let accepted = system.client.order(key, &small_server("web")).await;
        let held = delivery(&system, accepted.header("location"), "ambiguous").await;
        assert!(
            held["last_error"]
                .as_str()
                .unwrap()
                .contains("no answer to the body"),
            "{held}"
        );
    }
    let listed = system.flow(&["mail", "list", "--json"]).await;
    let listed: Vec<Value> = listed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(listed.len(), 2, "{listed:?}");
    // Neither a restart nor later mails bring it out again.
    system.mail.faults(json!([])).await;
    system.kill_and_restart("email").await;
    system
        .order_and_deliver(&system.client, "k3", &small_server("web"))
        .await;
    assert_eq!(system.mail.accepted().await.len(), 2);

    // A person knows better: the first one arrived, the second one did not.
    let id = |index: usize| listed[index]["id"].as_str().unwrap();
    let who = ["--operator", "alice", "--note", "asked the customer"];
    system
        .flow(&[&["mail", "drop", id(0)], &who[..]].concat())
        .await;
    system
        .flow(&[&["mail", "resend", id(1)], &who[..]].concat())
        .await;
    let mails = eventually("the second mail to arrive", async || {
        let mails = system.mail.accepted().await;
        (mails.len() == 3).then_some(mails)
    })
    .await;
    let arrived = |index: usize| {
        let message_id = listed[index]["message_id"].as_str().unwrap();
        mails
            .iter()
            .filter(|mail| mail.message_id == message_id)
            .count()
    };
    assert_eq!((arrived(0), arrived(1)), (1, 1));
    assert_eq!(system.flow(&["mail", "list"]).await, "");
    let again = try_flow(
        system.folder(),
        &["mail", "drop", id(1)],
        system.environment(),
    )
    .await;
    assert!(again.unwrap_err().contains("not every mail was held"));
    let db = system.db().await;
    let sql = "SELECT action FROM audit_entry WHERE actor = 'alice' ORDER BY action";
    assert_eq!(texts(&db, sql).await, ["mail.drop", "mail.resend"]);
    drop(db);
    system.finish().await;
}

async fn an_account_without_an_address(world: World) {
    let mut system = System::start(world).await;
    let (_, client) = system.account("No Address Ltd", &["--country", "DE"]).await;
    let own = std::mem::replace(&mut system.client, client);
    let accepted = system.client.order("k1", &small_server("web")).await;
    let held = delivery(&system, accepted.header("location"), "undeliverable").await;
    assert!(
        held["last_error"]
            .as_str()
            .unwrap()
            .contains("no mail address"),
        "{held}"
    );
    // The invoice is there all the same.
    let order = system.client.get(accepted.header("location")).await.body;
    assert!(
        system
            .client
            .bytes(order["links"]["pdf"].as_str().unwrap())
            .await
            .status()
            .is_success()
    );
    system.client = own;
    system.finish().await;
}

/// A certificate of its own for localhost: the paths of certificate and key.
pub(super) fn certificate(folder: &std::path::Path) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
        .unwrap();
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (certificate.display().to_string(), key.display().to_string())
}

async fn mail_is_encrypted_and_logged_in(world: World) {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(folder.path());
    for implicit in [false, true] {
        let mut mail = [
            "--tls-cert",
            &cert,
            "--tls-key",
            &key,
            "--auth",
            "flow:s3cret!",
        ]
        .map(str::to_owned)
        .to_vec();
        if implicit {
            mail.push("--implicit-tls".to_owned());
        }
        let mail_url = Some((
            "flow:s3cret%21@".to_owned(),
            format!("?tls=required&ca={cert}"),
        ));
        let system = System::start_with(
            world,
            Setup {
                mail,
                mail_url,
                ..Setup::default()
            },
        )
        .await;
        system
            .order_and_deliver(&system.client, "k1", &small_server("web"))
            .await;
        let mails = system.mail.accepted().await;
        assert_eq!((mails.len(), mails[0].encrypted), (1, true));
        for (name, process) in &system.processes {
            assert!(
                !process.output().contains("s3cret"),
                "{name} logs the password"
            );
        }
        system.finish().await;
    }
}

async fn a_foreign_certificate_is_not_trusted(world: World) {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(folder.path());
    let mail = ["--tls-cert", &cert, "--tls-key", &key]
        .map(str::to_owned)
        .to_vec();
    let mail_url = Some((String::new(), "?tls=required".to_owned()));
    let retry_scale = Some("0.0002");
    let system = System::start_with(
        world,
        Setup {
            mail,
            mail_url,
            retry_scale,
            ..Setup::default()
        },
    )
    .await;
    let accepted = system.client.order("k1", &small_server("web")).await;
    let error = eventually("the mail to be retried", async || {
        let order = system.client.get(accepted.header("location")).await.body;
        order["stages"][4]["last_error"].as_str().map(str::to_owned)
    })
    .await;
    assert!(error.contains("certificate"), "{error}");
    assert_eq!(system.mail.accepted().await.len(), 0);
    // After eight attempts, ten seconds here, it waits for a person.
    system.finish_with(1).await;
}
