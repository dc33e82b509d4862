//! Payments: recorded once, never more than is owed, never changed.

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::support::client::small_server;
use crate::support::database::{number, texts};
use crate::support::process::try_flow;
use crate::support::suite::Suite;
use crate::support::system::{BOTH, System, World};

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "an_invoice_is_paid_in_parts",
        &BOTH,
        an_invoice_is_paid_in_parts,
    );
    suite.story(
        "the_same_payment_at_the_same_time_counts_once",
        &BOTH,
        the_same_payment_at_the_same_time,
    );
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
