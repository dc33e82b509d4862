//! Credit notes, payments and withdrawals by the staff: once, never more than is left, and told to the
//! customer.

use reqwest::Method;
use serde_json::{Value, json};

use super::document::text_of;
use super::settle;
use crate::support::client::{Answer, Client, small_server};
use crate::support::database::{number, texts};
use crate::support::suite::{Need, Suite};
use crate::support::system::{BOTH, System, World};
use crate::support::wait::eventually;

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "an_invoice_is_credited_in_parts_and_never_more",
        &BOTH,
        credited_in_parts,
    );
    suite.story(
        "a_credit_note_keeps_its_number_although_its_worker_dies",
        &[World::Distributed],
        worker_dies,
    );
    suite.story(
        "the_staff_records_payments_of_any_account",
        &BOTH,
        recorded_payments,
    );
    suite.story(
        "an_invoice_is_withdrawn_until_it_leaves_the_house",
        &BOTH,
        withdrawn,
    );
    suite.story(
        "what_a_withdrawn_invoice_charged_is_charged_again",
        &BOTH,
        withdrawn_is_charged_again,
    );
    suite.story_needing(
        "a_credit_note_says_what_it_corrects",
        (&BOTH, &[Need::Poppler]),
        says_what_it_corrects,
    );
}

/// The staff, with a key for this and nothing else.
async fn staff(system: &System) -> Client {
    let create = ["key", "create", "--account", &system.account_id];
    let options = ["--name", "Kim", "--scopes", "staff:billing"];
    let key = system.flow(&[create.as_slice(), &options].concat()).await;
    system.client.with_key(key.trim())
}

/// Orders a server. Returns its invoice.
async fn invoice(system: &System, key: &str) -> Value {
    let order = small_server("web");
    let order = system.order_and_deliver(&system.client, key, &order).await;
    let path = order["links"]["invoice"].as_str().unwrap();
    system.client.get(path).await.body
}

/// Asks the staff's side of an invoice for something, and waits for what becomes of it.
async fn ask(staff: &Client, invoice: &Value, what: &str, body: &Value) -> Value {
    let answer = post(staff, invoice, what, body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    decided(staff, &answer).await
}

async fn post(staff: &Client, invoice: &Value, what: &str, body: &Value) -> Answer {
    let path = format!(
        "/v1/staff/invoices/{}/{what}",
        invoice["id"].as_str().unwrap()
    );
    staff.with_body(Method::POST, &path, body).await
}

async fn decided(staff: &Client, accepted: &Answer) -> Value {
    let path = accepted.header("location").to_owned();
    eventually(&format!("{path} to be decided"), async || {
        let answer = staff.get(&path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        (answer.body["status"] != "accepted").then_some(answer.body)
    })
    .await
}

fn euros(minor: i64) -> Value {
    json!({ "minor": minor, "exponent": 2, "currency": "EUR" })
}

async fn again(system: &System, invoice: &Value) -> Value {
    let path = invoice["links"]["self"].as_str().unwrap();
    system.client.get(path).await.body
}

async fn credited_in_parts(world: World) {
    let system = System::start(world).await;
    let staff = staff(&system).await;
    let invoice = invoice(&system, "k1").await;
    assert_eq!(invoice["total"], euros(1773));
    let month =
        json!({ "reason": "Out of order for a week", "lines": [{ "position": 2, "net": "2.50" }] });
    let done = ask(&staff, &invoice, "credit-notes", &month).await;
    assert_eq!(done["status"], "done", "{done}");
    let note = format!("/v1/credit-notes/{}", done["result_id"].as_str().unwrap());
    let note = eventually("the credit note to be mailed", async || {
        let note = system.client.get(&note).await.body;
        let stages = note["stages"].as_array()?.iter();
        stages
            .clone()
            .all(|stage| stage["state"] == "done")
            .then_some(note)
    })
    .await;
    // At the original rate: 2.50 and 19 %.
    assert_eq!(
        (&note["net"], &note["tax"], &note["total"]),
        (&euros(250), &euros(48), &euros(298))
    );
    let first = note["number"].as_str().unwrap();
    assert!(
        first.starts_with("CN-") && first.ends_with("-000001"),
        "{first}"
    );
    assert_eq!(note["invoice_id"], invoice["id"]);
    assert_eq!(note["lines"][0]["position"], 2);
    let now = again(&system, &invoice).await;
    assert_eq!(
        (&now["credited"], &now["open"]),
        (&euros(298), &euros(1475))
    );
    assert_eq!(
        (&now["status"], &now["payment"]),
        (&json!("issued"), &json!("unpaid"))
    );
    assert_eq!(now["credit_notes"][0]["number"], first);
    let mails = system.mail.accepted().await;
    assert_eq!(mails.len(), 2);
    let mail = std::fs::read_to_string(system.folder().join(&mails[1].file)).unwrap();
    assert!(
        mail.contains(&format!("filename=\"{first}.pdf\"")),
        "{mail}"
    );

    // More than is left is told line by line, and takes no number.
    let more = json!({ "reason": "x", "lines": [{ "position": 2, "net": "7.41" }, { "position": 9, "net": "1" }] });
    let refused = ask(&staff, &invoice, "credit-notes", &more).await;
    assert_eq!(refused["status"], "rejected", "{refused}");
    let errors = refused["problem"]["errors"].as_array().unwrap();
    let fields: Vec<_> = errors
        .iter()
        .map(|error| error["field"].as_str().unwrap())
        .collect();
    assert_eq!(fields, ["lines[0].net", "lines[1].position"]);
    assert!(
        errors[0]["message"].as_str().unwrap().contains("7.40 EUR"),
        "{errors:?}"
    );

    // The rest, asked for twice under one key and five times at once without: credited once.
    let path = format!(
        "/v1/staff/invoices/{}/credit-notes",
        invoice["id"].as_str().unwrap()
    );
    let rest = json!({ "reason": "Closed the account" });
    let keyed = async || {
        let request = staff
            .request(Method::POST, &path)
            .header("idempotency-key", "rest");
        staff.send(request.json(&rest)).await
    };
    let (one, two) = tokio::join!(keyed(), keyed());
    assert_eq!((one.status, &one.body["id"]), (two.status, &two.body["id"]));
    let others = futures_util::future::join_all(
        (0..5).map(|_| ask(&staff, &invoice, "credit-notes", &rest)),
    );
    let (done, others) = tokio::join!(decided(&staff, &one), others);
    let outcomes = others.iter().chain([&done]);
    assert_eq!(
        outcomes
            .filter(|outcome| outcome["status"] == "done")
            .count(),
        1
    );
    let now = again(&system, &invoice).await;
    assert_eq!(
        (&now["status"], &now["open"]),
        (&json!("credited"), &euros(0))
    );
    // To the last cent, tax too.
    assert_eq!(now["credited"], euros(1773));
    let notes = system.client.get("/v1/credit-notes").await.body;
    let sum = |field: &str| -> i64 {
        let items = notes["items"].as_array().unwrap().iter();
        items
            .map(|note| note[field]["minor"].as_i64().unwrap())
            .sum()
    };
    assert_eq!((sum("net"), sum("tax"), sum("total")), (1490, 283, 1773));
    let statement = system.client.get("/v1/statements").await.body["items"][0].clone();
    assert_eq!(statement["closing"], euros(0), "{statement}");
    assert_eq!(statement["entries"].as_array().unwrap().len(), 3);
    // Nothing is left to pay or to credit.
    let pay = json!({ "amount": "1.00", "received_on": "2026-11-23", "reference": "late" });
    for (what, body) in [("credit-notes", &rest), ("payments", &pay)] {
        let refused = ask(&staff, &invoice, what, body).await;
        assert_eq!(refused["problem"]["status"], 409, "{what} {refused}");
    }
    let audit = system.flow(&["series", "audit"]).await;
    assert!(
        audit.contains("2 credit notes, numbers 1 to 2, no gap"),
        "{audit}"
    );
    system.finish().await;
}

async fn worker_dies(world: World) {
    let mut system = System::start(world).await;
    let staff = staff(&system).await;
    let invoice = invoice(&system, "k1").await;
    system.set_environment("CRASH_AT", "credit.numbered:1");
    system.kill_and_restart("invoice").await;
    system.unset_environment("CRASH_AT");
    let rest = json!({ "reason": "Closed the account" });
    let accepted = post(&staff, &invoice, "credit-notes", &rest).await;
    system.part("invoice").wait().await;
    let db = system.db().await;
    let issued = "SELECT count(*) FROM invoice WHERE kind = 'credit_note'";
    assert_eq!(number(&db, issued).await, 0);
    system.kill_and_restart("invoice").await;
    let done = decided(&staff, &accepted).await;
    assert_eq!(done["status"], "done", "{done}");
    let numbers = texts(&db, "SELECT number FROM invoice WHERE kind = 'credit_note'").await;
    assert!(
        numbers.len() == 1 && numbers[0].ends_with("-000001"),
        "{numbers:?}"
    );
    eventually("the credit note to be mailed", async || {
        (system.mail.accepted().await.len() == 2).then_some(())
    })
    .await;
    system.finish().await;
}

async fn recorded_payments(world: World) {
    let system = System::start(world).await;
    let staff = staff(&system).await;
    let invoice = invoice(&system, "k1").await;
    let number = invoice["number"].as_str().unwrap();
    let found = staff
        .get(&format!("/v1/staff/invoices?number={number}"))
        .await
        .body;
    assert_eq!(found["items"][0]["id"], invoice["id"], "{found}");
    let path = format!("/v1/staff/invoices/{}", invoice["id"].as_str().unwrap());
    let shown = staff.get(&path).await.body;
    assert_eq!(
        (&shown["number"], &shown["lines"]),
        (&invoice["number"], &invoice["lines"])
    );
    let pay = |amount: &str, reference: &str| json!({ "amount": amount, "received_on": "2026-11-23", "reference": reference });
    let done = ask(&staff, &invoice, "payments", &pay("10", "a")).await;
    assert_eq!(done["status"], "done", "{done}");
    let now = again(&system, &invoice).await;
    assert_eq!(
        (&now["payment"], &now["open"]),
        (&json!("partially_paid"), &euros(773))
    );
    // The same reference is the same payment; with another amount it is refused.
    let same = ask(&staff, &invoice, "payments", &pay("10", "a")).await;
    assert_eq!(
        (&same["status"], &same["result_id"]),
        (&json!("done"), &done["result_id"])
    );
    for (amount, reference, reason) in [
        ("9", "a", "recorded before"),
        ("7.74", "b", "is too much"),
        ("1.001", "c", "no amount of money in EUR"),
        ("-10.01", "d", "is too much"),
    ] {
        let refused = ask(&staff, &invoice, "payments", &pay(amount, reference)).await;
        let detail = refused["problem"]["detail"].as_str().unwrap();
        assert!(detail.contains(reason), "{amount}: {detail}");
    }
    ask(&staff, &invoice, "payments", &pay("7.73", "b")).await;
    let now = again(&system, &invoice).await;
    assert_eq!((&now["payment"], &now["open"]), (&json!("paid"), &euros(0)));
    assert_eq!(now["payments"].as_array().unwrap().len(), 2);
    // What was paid before it was credited is given back.
    let rest = json!({ "reason": "Closed the account" });
    ask(&staff, &invoice, "credit-notes", &rest).await;
    let statement =
        async || system.client.get("/v1/statements").await.body["items"][0]["closing"].clone();
    assert_eq!(statement().await, euros(-1773));
    let back = ask(&staff, &invoice, "payments", &pay("-17.73", "refund")).await;
    assert_eq!(back["status"], "done", "{back}");
    assert_eq!(statement().await, euros(0));
    // Who it was is in the audit trail.
    let trail = system
        .client
        .get("/v1/audit-entries")
        .await
        .body
        .to_string();
    let db = system.db().await;
    let actors = texts(
        &db,
        "SELECT DISTINCT actor FROM audit_entry WHERE action LIKE 'payment%'",
    )
    .await;
    assert_eq!(actors, ["Kim"], "{trail}");
    // A body that is not understood records nothing.
    let wrong = post(
        &staff,
        &invoice,
        "payments",
        &json!({ "amount": 10, "received_on": "soon" }),
    )
    .await;
    assert_eq!(wrong.wrong_fields(), ["amount", "received_on", "reference"]);
    system.finish().await;
}

/// Orders a server for an account without an address for mails. Returns the path of the invoice.
async fn undelivered(client: &Client, key: &str) -> String {
    let accepted = client.order(key, &small_server("web")).await;
    eventually("the mail to be held", async || {
        let order = client.get(accepted.header("location")).await.body;
        let held = order["stages"][4]["state"] == "failed";
        held.then(|| order["links"]["invoice"].as_str().unwrap().to_owned())
    })
    .await
}

async fn withdrawn(world: World) {
    let system = System::start(world).await;
    let staff = staff(&system).await;
    let (_, customer) = system.account("No mail", &["--country", "DE"]).await;
    let path = undelivered(&customer, "k1").await;
    let first = customer.get(&path).await.body;
    let why = json!({ "reason": "Wrong address" });
    let done = ask(&staff, &first, "voidings", &why).await;
    assert_eq!(done["status"], "done", "{done}");
    let now = customer.get(&path).await.body;
    assert_eq!(
        (&now["status"], &now["open"]),
        (&json!("voided"), &euros(0))
    );
    assert_eq!(now["stages"][1]["state"], "cancelled", "{now}");
    assert_eq!(now["deliveries"][0]["status"], "dropped");
    let pdf = customer.get(&format!("{path}/pdf")).await;
    assert_eq!((pdf.status.as_u16(), pdf.problem()), (409, "conflict"));
    let statements = customer.get("/v1/statements").await.body;
    assert_eq!(statements["items"], json!([]));
    let twice = ask(&staff, &first, "voidings", &why).await;
    assert_eq!(twice["problem"]["status"], 409, "{twice}");
    // Its number stays used. One that was mailed is corrected by a credit note only.
    let second = invoice(&system, "k2").await;
    assert!(second["number"].as_str().unwrap().ends_with("-000002"));
    let refused = ask(&staff, &second, "voidings", &why).await;
    let detail = refused["problem"]["detail"].as_str().unwrap();
    assert!(
        detail.contains("mailed") && detail.contains("credit note"),
        "{detail}"
    );
    // So is one that was downloaded.
    let path = undelivered(&customer, "k3").await;
    let pdf = customer.bytes(&format!("{path}/pdf")).await;
    assert_eq!(pdf.status(), 200);
    let third = customer.get(&path).await.body;
    let refused = ask(&staff, &third, "voidings", &why).await;
    let detail = refused["problem"]["detail"].as_str().unwrap();
    assert!(detail.contains("downloaded"), "{detail}");
    let audit = system.flow(&["series", "audit"]).await;
    assert!(
        audit.contains("3 invoices, numbers 1 to 3, no gap"),
        "{audit}"
    );
    system.finish().await;
}

async fn withdrawn_is_charged_again(world: World) {
    let system = System::start(world).await;
    let staff = staff(&system).await;
    let (_, customer) = system.account("No mail", &["--country", "DE"]).await;
    undelivered(&customer, "k1").await;
    let why = json!({ "reason": "Wrong address" });
    let next = async || {
        let asked = settle::ask(&customer, None).await;
        let made = settle::decided(&customer, &asked).await;
        settle::invoice_of(&customer, &made).await
    };
    let start = |invoice: &Value| {
        let line = &invoice["lines"][0];
        assert!(line["period"]["start"].is_string(), "{invoice}");
        line["period"]["start"].clone()
    };
    settle::days_pass(&system, 10).await;
    let wrong = next().await;
    let done = ask(&staff, &wrong, "voidings", &why).await;
    assert_eq!(done["status"], "done", "{done}");
    // What it charged is charged by the next one, from the same moment, and then by no other.
    let right = next().await;
    assert_eq!(start(&right), start(&wrong));
    let asked = settle::ask(&customer, None).await;
    assert_eq!(
        settle::decided(&customer, &asked).await["status"],
        "rejected"
    );
    // In front of a later invoice nothing is given back.
    settle::days_pass(&system, 5).await;
    let later = next().await;
    let refused = ask(&staff, &right, "voidings", &why).await;
    let detail = refused["problem"]["detail"].as_str().unwrap();
    assert!(detail.contains("later invoice"), "{detail}");
    let done = ask(&staff, &later, "voidings", &why).await;
    assert_eq!(done["status"], "done", "{done}");
    assert_eq!(start(&next().await), start(&later));
    system.finish().await;
}

async fn says_what_it_corrects(world: World) {
    let system = System::start(world).await;
    let staff = staff(&system).await;
    let invoice = invoice(&system, "k1").await;
    let reason = json!({ "reason": "Out of order", "lines": [{ "position": 2, "net": "2.50" }] });
    let done = ask(&staff, &invoice, "credit-notes", &reason).await;
    let path = format!(
        "/v1/credit-notes/{}/pdf",
        done["result_id"].as_str().unwrap()
    );
    let pdf = eventually("the PDF", async || {
        let answer = system.client.bytes(&path).await;
        let there = answer.status() == 200;
        if there {
            Some(answer.bytes().await.unwrap())
        } else {
            None
        }
    })
    .await;
    let file = system.folder().join("credit-note.pdf");
    std::fs::write(&file, pdf).unwrap();
    let text = text_of(&file).await;
    let number = invoice["number"].as_str().unwrap();
    let corrects = match world {
        World::Embedded => "Zu Rechnung",
        // wkhtmltopdf breaks the label between its words.
        _ => "Zu  ",
    };
    for expected in [
        "Rechnungskorrektur CN-",
        corrects,
        number,
        "Out of order",
        "2,98",
        "Gutgeschriebener Betrag",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    for absent in ["Bitte zahlen", "IBAN", "Fällig"] {
        assert!(!text.contains(absent), "{absent}: {text}");
    }
    system.finish().await;
}
