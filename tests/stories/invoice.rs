//! Invoices: numbers without gaps, exact money and the right tax.

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::client::{Client, small_server};
use crate::support::database::{literal, number, texts};
use crate::support::suite::Suite;
use crate::support::system::{BOTH, System, World};

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "fifty_invoices_at_once_are_numbered_without_a_gap",
        &BOTH,
        fifty_invoices_at_once,
    );
    suite.story(
        "currencies_have_their_decimal_places",
        &BOTH,
        currencies_have_their_decimal_places,
    );
    suite.story(
        "tax_follows_country_vat_id_and_class",
        &BOTH,
        tax_follows_country_vat_id_and_class,
    );
    suite.story(
        "a_missing_tax_rate_parks_the_invoice_until_it_is_there",
        &BOTH,
        a_missing_tax_rate,
    );
    suite.story(
        "invoices_are_chosen_and_exported_to_a_spreadsheet",
        &BOTH,
        invoices_are_chosen_and_exported,
    );
    suite.story(
        "the_audit_finds_a_gap",
        &[World::Embedded],
        the_audit_finds_a_gap,
    );
}

async fn invoice_of(client: &Client, order: &Value) -> Value {
    client
        .get(order["links"]["invoice"].as_str().unwrap())
        .await
        .body
}

async fn fifty_invoices_at_once(world: World) {
    let system = System::start(world).await;
    let place = |index: usize| {
        let client = system.client.clone();
        async move {
            client
                .order(&format!("k{index}"), &small_server("web"))
                .await
        }
    };
    let answers = futures_util::future::join_all((0..50).map(place)).await;
    for answer in &answers {
        system
            .delivered(&system.client, answer.header("location"))
            .await;
    }
    let numbers = texts(
        &system.db().await,
        "SELECT number FROM invoice ORDER BY sequence",
    )
    .await;
    let year = numbers[0].split('-').nth(1).unwrap();
    let expected: Vec<_> = (1..=50)
        .map(|sequence| format!("INV-{year}-{sequence:06}"))
        .collect();
    assert_eq!(numbers, expected);
    let audit = system.flow(&["series", "audit"]).await;
    assert!(
        audit.contains("50 invoices, numbers 1 to 50, no gap"),
        "{audit}"
    );
    system.finish().await;
}

async fn currencies_have_their_decimal_places(world: World) {
    let system = System::start(world).await;
    // JPY: 750 + 1480 = 2230; KWD: 1.690 + 3.345 = 5.035. Both customers are outside the Union.
    for (currency, country, exponent, net) in [("JPY", "JP", 0, 2230), ("KWD", "KW", 3, 5035)] {
        let options = [
            "--country",
            country,
            "--currency",
            currency,
            "--email",
            "buyer@customer.example",
        ];
        let (_, client) = system.account("Customer", &options).await;
        let order = system
            .order_and_deliver(&client, "k1", &small_server("web"))
            .await;
        let invoice = invoice_of(&client, &order).await;
        assert_eq!(
            invoice["total"],
            json!({ "minor": net, "exponent": exponent, "currency": currency })
        );
        assert_eq!(invoice["tax"]["minor"], 0);
    }
    // Yen are taxed in whole yen: 19 % of 2230 are 423.7, a customer at home pays 424.
    let options = [
        "--country",
        "DE",
        "--currency",
        "JPY",
        "--email",
        "buyer@customer.example",
    ];
    let (_, client) = system.account("Customer", &options).await;
    let order = system
        .order_and_deliver(&client, "k1", &small_server("web"))
        .await;
    let invoice = invoice_of(&client, &order).await;
    assert_eq!(
        (&invoice["tax"]["minor"], &invoice["total"]["minor"]),
        (&json!(424), &json!(2654))
    );
    system.finish().await;
}

async fn tax_follows_country_vat_id_and_class(world: World) {
    let system = System::start(world).await;
    let business = ["--email", "b@customer.example", "--country"];
    let cases: [(&[&str], &str, &str, i64); 5] = [
        // Reverse charge: a business elsewhere in the Union, with a VAT id.
        (&["FR", "--vat-id", "FR40303265045"], "AE", "0", 0),
        // A consumer elsewhere in the Union pays the rate of the destination: 25.5 % of 14.90.
        (&["FI", "--person"], "S", "25.5", 380),
        // A business without a VAT id is taxed like a consumer: 20 %.
        (&["FR"], "S", "20", 298),
        // Outside the Union.
        (&["CH", "--vat-id", "CHE123456789"], "G", "0", 0),
        // At home: 19 %.
        (&["DE", "--vat-id", "DE811907980"], "S", "19", 283),
    ];
    for (index, (options, category, rate, tax)) in cases.into_iter().enumerate() {
        let options: Vec<_> = business.iter().chain(options).copied().collect();
        let (_, client) = system.account(&format!("Customer {index}"), &options).await;
        let order = system
            .order_and_deliver(&client, "k1", &small_server("web"))
            .await;
        let invoice = invoice_of(&client, &order).await;
        for line in invoice["lines"].as_array().unwrap() {
            assert_eq!(
                (&line["tax_category"], &line["tax_rate"]),
                (&json!(category), &json!(rate)),
                "{options:?}"
            );
        }
        assert_eq!(invoice["tax"]["minor"], tax, "{options:?}");
    }
    // Several rates on one invoice: a printed handbook at 7 % and a server at 19 %.
    let mut body = small_server("web");
    body["offering"] = json!("managed-server");
    body["plan"] = json!("standard");
    let order = system
        .order_and_deliver(&system.client, "managed", &body)
        .await;
    let invoice = invoice_of(&system.client, &order).await;
    let rates: Vec<_> = invoice["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| &line["tax_rate"])
        .collect();
    assert_eq!(rates, ["7", "19"]);
    // 7 % of 24.90 are 1.74, 19 % of 79.00 are 15.01.
    assert_eq!(
        (&invoice["net"]["minor"], &invoice["tax"]["minor"]),
        (&json!(10390), &json!(1675))
    );
    // A seller that is exempt charges nothing.
    let db = system.db().await;
    db.execute_unprepared("UPDATE issuer SET tax_exempt = true")
        .await
        .unwrap();
    drop(db);
    let order = system
        .order_and_deliver(&system.client, "exempt", &small_server("web"))
        .await;
    let invoice = invoice_of(&system.client, &order).await;
    assert_eq!(
        (
            &invoice["lines"][0]["tax_category"],
            &invoice["tax"]["minor"]
        ),
        (&json!("E"), &json!(0))
    );
    system.finish().await;
}

async fn a_missing_tax_rate(world: World) {
    let system = System::start(world).await;
    let db = system.db().await;
    db.execute_unprepared("DELETE FROM tax_rate WHERE country = 'IT'")
        .await
        .unwrap();
    let options = [
        "--country",
        "IT",
        "--person",
        "--email",
        "buyer@customer.example",
    ];
    let (_, client) = system.account("Cliente", &options).await;
    let accepted = client.order("k1", &small_server("web")).await;
    let issue = crate::support::wait::eventually("the invoice to be parked", async || {
        let stages = client.get(accepted.header("location")).await.body["stages"].clone();
        (stages[2]["state"] == "failed").then(|| stages[2].clone())
    })
    .await;
    assert!(
        issue["last_error"]
            .as_str()
            .unwrap()
            .contains("no tax rate for standard in IT"),
        "{issue}"
    );
    assert_eq!(number(&db, "SELECT count(*) FROM invoice").await, 0);
    assert_eq!(
        number(
            &db,
            "SELECT coalesce(max(last_number), 0) FROM number_series"
        )
        .await,
        0
    );

    let id = literal(&db, Uuid::now_v7());
    let insert = format!(
        "INSERT INTO tax_rate (id, country, tax_class, rate, valid_from) VALUES ({id}, 'IT', 'standard', '22', '2020-01-01')"
    );
    db.execute_unprepared(&insert).await.unwrap();
    crate::support::wait::eventually("the message to be taken over", async || {
        (system
            .flow(&["dead", "list", "--json"])
            .await
            .lines()
            .count()
            == 1)
            .then_some(())
    })
    .await;
    system
        .flow(&[
            "dead",
            "replay",
            "--all",
            "--queue",
            "invoice",
            "--note",
            "rate added",
        ])
        .await;
    let order = system.delivered(&client, accepted.header("location")).await;
    assert_eq!(invoice_of(&client, &order).await["tax"]["minor"], 328);
    assert_eq!(system.provider.created().await.len(), 1);
    drop(db);
    system.finish().await;
}

async fn the_audit_finds_a_gap(world: World) {
    let system = System::start(world).await;
    for key in ["k1", "k2", "k3"] {
        system
            .order_and_deliver(&system.client, key, &small_server("web"))
            .await;
    }
    let db = system.db().await;
    // Only by taking the triggers away can a hole be made at all.
    for statement in [
        "DROP TRIGGER invoice_issued_update",
        "UPDATE invoice SET sequence = 7, number = 'INV-7' WHERE sequence = 2",
    ] {
        db.execute_unprepared(statement).await.unwrap();
    }
    drop(db);
    let audit = crate::support::process::try_flow(
        system.folder(),
        &["series", "audit"],
        system.environment(),
    )
    .await;
    assert!(audit.unwrap_err().contains("faults in the number series"));
    system.finish().await;
}

async fn invoices_are_chosen_and_exported(world: World) {
    let system = System::start(world).await;
    let client = &system.client;
    let references = [
        "=HYPERLINK(\"http://evil.example\")",
        "@SUM(1)",
        "po-4711,x",
    ];
    let mut orders = Vec::new();
    for reference in references {
        let mut order = small_server("web");
        order["external_ref"] = reference.into();
        let key = format!("key-{}", orders.len());
        orders.push(system.order_and_deliver(client, &key, &order).await);
    }
    let today = invoice_of(client, &orders[0]).await["issue_date"].clone();
    let today = today.as_str().unwrap();
    let order_id = orders[1]["id"].as_str().unwrap();
    for (query, count) in [
        ("status=issued&payment=unpaid", 3),
        ("payment=paid", 0),
        ("status=credited", 0),
        (&format!("order_id={order_id}"), 1),
        (&format!("issued_from={today}&issued_until={today}"), 3),
        ("issued_until=2020-12-31", 0),
        ("issued_from=2999-01-01", 0),
    ] {
        let listed = client.get(&format!("/v1/invoices?{query}")).await;
        let items = listed.body["items"].as_array().unwrap();
        assert_eq!(items.len(), count, "{query}");
        let wanted = query.strip_prefix("order_id=");
        let of_it = format!("/v1/orders/{}", wanted.unwrap_or_default());
        assert!(wanted.is_none() || items[0]["links"]["order"] == of_it);
    }
    let wrong = "status=open&payment=maybe&order_id=1&issued_from=today&issued_until=2026-02-30";
    let refused = client.get(&format!("/v1/invoices?{wrong}")).await;
    let expected = [
        "status",
        "payment",
        "order_id",
        "issued_from",
        "issued_until",
    ];
    assert_eq!(refused.wrong_fields(), expected);

    let export = |query: &str| {
        let request = client.request(reqwest::Method::GET, &format!("/v1/invoices{query}"));
        client.send(request.header("accept", "text/csv"))
    };
    let exported = export("").await;
    assert_eq!(
        exported.header("content-type"),
        "text/csv; charset=utf-8; header=present"
    );
    let mut reader = csv::Reader::from_reader(exported.body.as_str().unwrap().as_bytes());
    let columns = reader.headers().unwrap().clone();
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 3);
    let column = |name: &str| columns.iter().position(|column| column == name).unwrap();
    for (row, reference) in rows.iter().rev().zip(references) {
        let shown = &row[column("order_reference")];
        assert_eq!(shown.trim_start_matches('\''), reference);
        let formula = |cell: &str| cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
        assert!(!row.iter().any(formula), "{row:?}");
        assert_eq!(
            (&row[column("total")], &row[column("currency")]),
            ("17.73", "EUR")
        );
        assert_eq!(&row[column("issue_date")], today);
    }
    assert_eq!(
        export("?payment=paid")
            .await
            .body
            .as_str()
            .unwrap()
            .lines()
            .count(),
        1
    );
    system.finish().await;
}
