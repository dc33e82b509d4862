//! Payments: recorded once, never more than is owed, never changed.

use chrono::{TimeDelta, Utc};
use sea_orm::{ConnectionTrait, DbBackend};
use serde_json::{Value, json};

use crate::support::client::small_server;
use crate::support::database::{number, texts};
use crate::support::process::try_flow;
use crate::support::suite::Suite;
use crate::support::system::{BOTH, Setup, System, World};
use crate::support::wait::eventually;

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "an_invoice_is_paid_in_parts",
        &BOTH,
        an_invoice_is_paid_in_parts,
    );
    suite.story(
        "an_invoice_that_is_not_paid_is_reminded_of_once_at_each_level",
        &BOTH,
        reminded_of,
    );
    suite.story(
        "the_same_payment_at_the_same_time_counts_once",
        &BOTH,
        the_same_payment_at_the_same_time,
    );
}

/// Lets an invoice be due so many days ago, as if they had passed since.
async fn days_pass(system: &System, days: i64) {
    let db = system.db().await;
    let (off, on) = match db.get_database_backend() {
        DbBackend::Postgres => (
            "ALTER TABLE invoice DISABLE TRIGGER USER",
            "ALTER TABLE invoice ENABLE TRIGGER USER",
        ),
        _ => ("DROP TRIGGER invoice_issued_update", "SELECT 1"),
    };
    db.execute_unprepared(off).await.ok();
    let day = Utc::now().date_naive() - TimeDelta::days(days);
    let sql = format!("UPDATE invoice SET due_date = '{day}'");
    db.execute_unprepared(&sql).await.unwrap();
    db.execute_unprepared(on).await.unwrap();
}

async fn reminded_of(world: World) {
    let setup = Setup {
        environment: vec![("REMINDER_DAYS".to_owned(), "3,14,28".to_owned())],
        ..Setup::default()
    };
    let system = System::start_with(world, setup).await;
    let (number, path) = invoice(&system, "k1").await;
    let levels = async || {
        let reminders = system.client.get(&path).await.body["reminders"].clone();
        let levels = reminders.as_array().unwrap().iter();
        levels
            .map(|one| one["level"].as_i64().unwrap())
            .collect::<Vec<_>>()
    };
    let mails = async |count: usize| {
        eventually("the reminder to arrive", async || {
            let mails = system.mail.accepted().await;
            (mails.len() == count).then_some(mails)
        })
        .await
    };
    assert_eq!(levels().await, Vec::<i64>::new());
    record(&system, &number, &["--amount", "7.73", "--reference", "a"])
        .await
        .unwrap();
    days_pass(&system, 4).await;
    let sent = mails(2).await;
    let mail = std::fs::read_to_string(system.folder().join(&sent[1].file)).unwrap();
    assert!(
        mail.contains("Zahlungserinnerung") && mail.contains("10,00"),
        "{mail}"
    );
    assert!(
        mail.contains(&format!("filename=\"{number}.pdf\"")),
        "{mail}"
    );
    assert_eq!(levels().await, [1]);
    // Who was away for long is reminded once, and urged.
    days_pass(&system, 30).await;
    mails(3).await;
    assert_eq!(levels().await, [1, 3]);
    // Another one that is paid is not reminded of.
    let (second, other) = invoice(&system, "k2").await;
    record(&system, &second, &["--amount", "17.73", "--reference", "b"])
        .await
        .unwrap();
    days_pass(&system, 40).await;
    let (third, _) = invoice(&system, "k3").await;
    days_pass(&system, 40).await;
    mails(6).await;
    assert_eq!(system.client.get(&other).await.body["reminders"], json!([]));
    let db = system.db().await;
    let reminded =
        "SELECT i.number FROM reminder r JOIN invoice i ON i.id = r.invoice_id ORDER BY 1";
    assert_eq!(
        texts(&db, reminded).await,
        [number.as_str(), &number, &third]
    );
    system.finish().await;
}

/// Orders a server. Returns the number and the address of its invoice.
async fn invoice(system: &System, key: &str) -> (String, String) {
    let order = small_server("web");
    let order = system.order_and_deliver(&system.client, key, &order).await;
    let path = order["links"]["invoice"].as_str().unwrap().to_owned();
    let invoice = system.client.get(&path).await.body;
    (invoice["number"].as_str().unwrap().to_owned(), path)
}

async fn record(system: &System, invoice: &str, options: &[&str]) -> Result<String, String> {
    let mut arguments = vec!["payment", "record", invoice];
    arguments.extend(options);
    try_flow(system.folder(), &arguments, system.environment()).await
}

fn euros(minor: i64) -> Value {
    json!({ "minor": minor, "exponent": 2, "currency": "EUR" })
}

async fn an_invoice_is_paid_in_parts(world: World) {
    let system = System::start(world).await;
    let (number, path) = invoice(&system, "k1").await;
    let shown = async || {
        let invoice = system.client.get(&path).await.body;
        (
            invoice["payment"].as_str().unwrap().to_owned(),
            invoice["paid"].clone(),
            invoice["open"].clone(),
        )
    };
    assert_eq!(shown().await, ("unpaid".to_owned(), euros(0), euros(1773)));

    let part = [
        "--amount",
        "10",
        "--reference",
        "bank 1",
        "--received",
        "2026-11-23",
    ];
    let said = record(&system, &number, &part).await.unwrap();
    assert_eq!(
        said.trim(),
        format!("recorded; 7.73 EUR of {number} is open")
    );
    let partly = ("partially_paid".to_owned(), euros(1000), euros(773));
    assert_eq!(shown().await, partly);
    // Again it is the same payment.
    let said = record(&system, &number, &part).await.unwrap();
    assert!(said.starts_with("known already"), "{said}");
    assert_eq!(shown().await, partly);

    for (invoice, amount, reference, reason) in [
        (number.as_str(), "9", "bank 1", "was recorded before"),
        (number.as_str(), "7.74", "bank 2", "7.74 EUR is too much"),
        (
            number.as_str(),
            "7.731",
            "bank 2",
            "no amount of money in EUR",
        ),
        (number.as_str(), "0", "bank 2", "no amount of money in EUR"),
        (number.as_str(), "-10.01", "bank 2", "too much"),
        (
            number.as_str(),
            "9999999999999999999999",
            "bank 2",
            "too large",
        ),
        (number.as_str(), "ten", "bank 2", "invalid value"),
        (
            "INV-1999-000001",
            "1",
            "bank 2",
            "there is no invoice INV-1999-000001",
        ),
        (number.as_str(), "1", "bank\u{1b}[2J", "control characters"),
    ] {
        let options = ["--amount", amount, "--reference", reference];
        let refused = record(&system, invoice, &options).await.unwrap_err();
        assert!(refused.contains(reason), "{amount}: {refused}");
    }
    assert_eq!(shown().await, partly);

    let rest = ["--amount", "7.73", "--reference", "bank 2"];
    record(&system, &number, &rest).await.unwrap();
    assert_eq!(shown().await, ("paid".to_owned(), euros(1773), euros(0)));
    let paid = system.client.get("/v1/invoices?payment=paid").await;
    assert_eq!(paid.body["items"][0]["number"], number.as_str());
    // The bank takes it back.
    let back = ["--amount", "-7.73", "--reference", "bank 2 returned"];
    record(&system, &number, &back).await.unwrap();
    assert_eq!(shown().await, partly);
    let invoice = system.client.get(&path).await.body;
    let listed: Vec<_> = invoice["payments"].as_array().unwrap().iter().collect();
    let listed: Vec<_> = listed
        .iter()
        .map(|row| (&row["reference"], &row["amount"]))
        .collect();
    assert_eq!(
        listed,
        [
            (&json!("bank 1"), &euros(1000)),
            (&json!("bank 2"), &euros(773)),
            (&json!("bank 2 returned"), &euros(-773)),
        ]
    );
    assert_eq!(invoice["overdue"], false);
    let statements = system.client.get("/v1/statements").await.body;
    let statement = &statements["items"][0];
    let entries = statement["entries"].as_array().unwrap();
    // The first payment is dated; the others came today, like the invoice.
    assert_eq!(entries.len(), 4, "{statement}");
    assert_eq!(
        (&statement["opening"], &statement["closing"]),
        (&euros(0), &euros(773))
    );
    let later = system
        .client
        .get("/v1/statements?from=2999-01-01")
        .await
        .body;
    assert_eq!(later["items"][0]["opening"], euros(773));
    assert_eq!(later["items"][0]["entries"], json!([]));
    let overdue = async |day: &str| system.flow(&["payment", "overdue", "--on", day]).await;
    let due = invoice["due_date"].as_str().unwrap();
    assert_eq!(overdue(due).await, "", "it is not on the day itself");
    let late = overdue("2999-01-01").await;
    assert!(
        late.starts_with(&number) && late.contains("7.73 EUR"),
        "{late}"
    );
    let list = system.flow(&["payment", "list", &number]).await;
    assert!(
        list.contains("bank 2 returned") && list.ends_with("7.73 EUR is open\n"),
        "{list}"
    );

    // What is recorded stays, whoever tries.
    let db = system.db().await;
    for change in ["UPDATE payment SET amount_minor = 1", "DELETE FROM payment"] {
        assert!(db.execute_unprepared(change).await.is_err(), "{change}");
    }
    let audited = texts(
        &db,
        "SELECT note FROM audit_entry WHERE action = 'payment.record'",
    )
    .await;
    assert_eq!(audited.len(), 3, "{audited:?}");
    system.finish().await;
}

async fn the_same_payment_at_the_same_time(world: World) {
    let system = System::start(world).await;
    let (invoice, path) = invoice(&system, "k1").await;
    let options = [
        "--amount",
        "17.73",
        "--reference",
        "bank 1",
        "--received",
        "2026-11-23",
    ];
    let recording = (0..6).map(|_| record(&system, &invoice, &options));
    let said = futures_util::future::join_all(recording).await;
    let said: Vec<_> = said.into_iter().map(Result::unwrap).collect();
    let new = said
        .iter()
        .filter(|said| said.starts_with("recorded"))
        .count();
    assert_eq!(new, 1, "{said:?}");
    assert_eq!(
        number(&system.db().await, "SELECT count(*) FROM payment").await,
        1
    );
    assert_eq!(system.client.get(&path).await.body["payment"], "paid");
    system.finish().await;
}
