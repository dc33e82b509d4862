//! What is issued stays as it is: the database refuses to change it, whoever asks.

use sea_orm::{ConnectionTrait, DatabaseConnection};
use uuid::Uuid;

use crate::support::client::small_server;
use crate::support::database::{literal, number, open, texts};
use crate::support::suite::Suite;
use crate::support::system::{BOTH, System, World};

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "what_is_issued_cannot_be_changed",
        &BOTH,
        what_is_issued_cannot_be_changed,
    );
    suite.story(
        "the_applications_own_role_cannot_take_the_refusal_away",
        &[World::Distributed],
        the_refusal_stays,
    );
}

/// A change to every column of every kind of row that is frozen, and every way to lose one.
const CHANGES: [&str; 24] = [
    "UPDATE invoice SET total_minor = 1",
    "UPDATE invoice SET net_minor = net_minor - 1, tax_minor = tax_minor + 1",
    "UPDATE invoice SET number = 'INV-1'",
    "UPDATE invoice SET sequence = 7",
    "UPDATE invoice SET currency = 'JPY'",
    "UPDATE invoice SET content = '{}'",
    "UPDATE invoice SET account_id = issuer_id",
    "UPDATE invoice SET order_id = NULL",
    "UPDATE invoice SET issue_date = NULL",
    "UPDATE invoice SET due_date = NULL",
    "UPDATE invoice SET state = 'draft'",
    "UPDATE invoice SET state = 'draft', total_minor = 1",
    "DELETE FROM invoice",
    "UPDATE invoice_line SET net_minor = 1",
    "UPDATE invoice_line SET description = 'x'",
    "UPDATE invoice_line SET position = position + 100",
    "DELETE FROM invoice_line",
    "INSERT INTO invoice_line SELECT invoice_id, 99, description, quantity, unit, unit_price, net_minor,
     tax_category, tax_rate, period_start, period_end FROM invoice_line WHERE position = 1",
    "UPDATE document SET sha256 = ''",
    "UPDATE document SET bytes = bytes",
    "DELETE FROM document",
    "UPDATE payment SET amount_minor = 1",
    "UPDATE payment SET reference = 'x'",
    "DELETE FROM payment",
];

/// A system with an invoice that is issued, mailed and paid in part.
async fn issued(world: World) -> System {
    let system = System::start(world).await;
    let order = system
        .order_and_deliver(&system.client, "k1", &small_server("web"))
        .await;
    let invoice = order["links"]["invoice"].as_str().unwrap();
    let invoice = system.client.get(invoice).await.body;
    let pay = ["payment", "record", invoice["number"].as_str().unwrap()];
    let part = ["--amount", "10", "--reference", "bank 1"];
    system.flow(&[&pay[..], &part[..]].concat()).await;
    system
}

async fn is_refused(db: &DatabaseConnection, statement: &str) {
    let refused = db.execute_unprepared(statement).await;
    let reason = refused.expect_err(statement).to_string();
    assert!(
        reason.contains("cannot be changed") || reason.contains("kept as it is"),
        "{statement}: {reason}"
    );
}

async fn what_is_issued_cannot_be_changed(world: World) {
    let system = issued(world).await;
    let db = system.db().await;
    for statement in CHANGES {
        is_refused(&db, statement).await;
    }
    if world == World::Distributed {
        for table in ["invoice", "invoice_line", "document", "payment"] {
            is_refused(&db, &format!("TRUNCATE {table} CASCADE")).await;
        }
    }
    // A line that is not frozen yet cannot get there by moving.
    let draft = literal(&db, Uuid::now_v7());
    for statement in [
        format!(
            "INSERT INTO invoice (id, account_id, issuer_id, state, payment, currency, net_minor,
             tax_minor, total_minor, content, created_at) SELECT {draft}, account_id, issuer_id, 'draft',
             payment, currency, net_minor, tax_minor, total_minor, content, created_at FROM invoice"
        ),
        format!(
            "INSERT INTO invoice_line SELECT {draft}, 99, description, quantity, unit, unit_price,
             net_minor, tax_category, tax_rate, period_start, period_end FROM invoice_line
             WHERE position = 1"
        ),
    ] {
        db.execute_unprepared(&statement).await.unwrap();
    }
    let issued = "(SELECT id FROM invoice WHERE state = 'issued')";
    let moved = format!("UPDATE invoice_line SET invoice_id = {issued} WHERE position = 99");
    is_refused(&db, &moved).await;
    for statement in [
        "DELETE FROM invoice_line WHERE position = 99",
        "DELETE FROM invoice WHERE state = 'draft'",
    ] {
        db.execute_unprepared(statement).await.unwrap();
    }
    // What may change: whether it is paid, voided or credited.
    for statement in [
        "UPDATE invoice SET payment = 'paid'",
        "UPDATE invoice SET state = 'voided'",
    ] {
        db.execute_unprepared(statement).await.unwrap();
    }
    assert_eq!(number(&db, "SELECT total_minor FROM invoice").await, 1773);
    drop(db);
    system.finish().await;
}

async fn the_refusal_stays(world: World) {
    let mut system = issued(world).await;
    let role = system.database.application_role("application").await;
    let db = open(&role).await;
    // It may write, but not that.
    db.execute_unprepared("UPDATE account SET city = 'Bonn'")
        .await
        .unwrap();
    for statement in CHANGES {
        is_refused(&db, statement).await;
    }
    for statement in [
        "DROP TRIGGER invoice_issued ON invoice",
        "ALTER TABLE invoice DISABLE TRIGGER ALL",
        "ALTER TABLE invoice_line DISABLE TRIGGER invoice_line_issued",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql
         AS 'BEGIN RETURN NEW; END'",
        "DROP FUNCTION refuse_invoice_change() CASCADE",
        "SET session_replication_role = replica",
        "TRUNCATE invoice CASCADE",
        "DROP TABLE invoice CASCADE",
        "ALTER TABLE document RENAME TO document_2",
        "CREATE RULE quiet AS ON UPDATE TO invoice DO INSTEAD NOTHING",
    ] {
        let refused = db.execute_unprepared(statement).await;
        let reason = refused.expect_err(statement).to_string();
        assert!(
            reason.contains("must be owner") || reason.contains("permission denied"),
            "{statement}: {reason}"
        );
    }
    let kept = "SELECT state || ' ' || total_minor FROM invoice";
    assert_eq!(texts(&db, kept).await, ["issued 1773"]);
    drop(db);
    system.finish().await;
}
