//! Texts that would be more than text if anything took them for HTML, CSS, a URL, Typst, Handlebars or
//! XML: they are printed as they are, and nothing is fetched, read or run for them.

use std::net::SocketAddr;
use std::path::Path;

use mail_parser::MessageParser;
use reqwest::Method;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::support::canary::Canary;
use crate::support::client::small_server;
use crate::support::process::command;
use crate::support::suite::{Need, Suite};
use crate::support::system::{BOTH, System, World};

use super::document::{ENGINES, preview, squeezed};

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "hostile_names_are_printed_and_mailed_and_nothing_more",
        &BOTH,
        hostile_names,
    );
    suite.story_with(
        "no_text_of_a_document_is_more_than_text_to_either_engine",
        &[Need::Wkhtmltopdf, Need::Poppler],
        hostile_documents,
    );
    suite.story(
        "a_name_with_a_line_break_adds_nothing_to_a_mail",
        &[World::Embedded],
        names_in_headers,
    );
}

/// What attackers call themselves. Everything that could fetch something asks the canary.
fn texts(canary: SocketAddr) -> Vec<String> {
    [
        "<img src=http://CANARY/img onerror=alert(1)>",
        "\"><link rel=stylesheet href=http://CANARY/link>",
        "</style><style>@import url(http://CANARY/import);</style>",
        "x\" style=\"background:url(http://CANARY/css)",
        "url(http://CANARY/url)",
        "</title></head><script src=http://CANARY/script></script>",
        "<script>while(1){}</script>",
        "<iframe src=file:///etc/passwd></iframe>",
        "<iframe src=http://CANARY/frame></iframe>",
        "<object data=http://CANARY/object></object>",
        "<meta http-equiv=refresh content='0;url=http://CANARY/meta'>",
        "<base href=http://CANARY/><img src=x>",
        "<svg><image href=http://CANARY/svg></svg>",
        "javascript:fetch('http://CANARY/js')",
        "{{this}} {{{title}}} {{> invoice}} {{lookup this 0}}",
        "#read(\"/etc/passwd\") #image(\"/etc/passwd\")",
        "#import \"@preview/a:1.0.0\": * $x^2$ @ref *b* `c`",
        "</rdf:li></rdf:Alt><dc:x>&lt;&#x3C;&passwd;",
        "=cmd|' /C calc'!A0 \\u0000 %PDF $^*_`~@",
    ]
    .map(|text| text.replace("CANARY", &canary.to_string()))
    .into()
}

async fn hostile_names(world: World) {
    let system = System::start(world).await;
    let client = &system.client;
    let canary = Canary::start().await;
    let texts = texts(canary.address);
    let text = |index: usize| texts[index % texts.len()].as_str();
    // The first mail has nothing hostile in it: it shows how much markup there is.
    system
        .order_and_deliver(client, "before", &small_server("web"))
        .await;
    let db = system.db().await;
    for index in 0..texts.len() {
        let names =
            json!({ "name": text(index), "street": text(index + 1), "city": text(index + 2) });
        let account = format!("/v1/accounts/{}", system.account_id);
        let patch = client.request(Method::PATCH, &account);
        let patched = client
            .send(patch.header("if-match", "*").json(&names))
            .await;
        assert_eq!(patched.status, 200, "{patched:?}");
        let quoted = |index: usize| text(index).replace('\'', "''");
        let issuer = format!(
            "UPDATE issuer SET name = '{}', phone = '{}', website = '{}'",
            quoted(index + 3),
            quoted(index + 4),
            quoted(index + 5)
        );
        db.execute_unprepared(&issuer).await.unwrap();
        let mut order = small_server("web");
        order["external_ref"] = text(index).replace(' ', "/").into();
        let order = system
            .order_and_deliver(client, &format!("k{index}"), &order)
            .await;
        let pdf = client.bytes(order["links"]["pdf"].as_str().unwrap()).await;
        let pdf = pdf.bytes().await.unwrap();
        if world == World::Distributed {
            let path = system.folder().join("hostile.pdf");
            std::fs::write(&path, &pdf).unwrap();
            let printed: Vec<_> = (index..index + 6).map(text).collect();
            check_pdf(&path, &printed).await;
        }
    }
    drop(db);
    assert_eq!(canary.visits().await, [""; 0], "of a document");
    let mails = system.mail.accepted().await;
    assert_eq!(mails.len(), texts.len() + 1);
    let mut markup = None;
    for (index, mail) in mails.iter().enumerate() {
        let raw = std::fs::read(system.folder().join(&mail.file)).unwrap();
        let mail = MessageParser::default().parse(&raw).unwrap();
        let html = mail.body_html(0).unwrap();
        if world == World::Distributed {
            shown_by_a_mail_program(&system.folder().join("mail.html"), &html).await;
        }
        assert_eq!(canary.visits().await, [""; 0]);
        let tags = html.matches('<').count() + html.matches('"').count();
        assert_eq!(tags, *markup.get_or_insert(tags), "{html}");
        if index > 0 {
            let plain = mail.body_text(0).unwrap();
            let named = text(index - 1 + 3);
            assert!(plain.contains(named), "{named} is not in {plain}");
        }
    }
    system.finish().await;
}

/// What a mail program does that shows everything, runs everything and fetches everything.
async fn shown_by_a_mail_program(path: &Path, html: &str) {
    std::fs::write(path, html).unwrap();
    let pdf = path.with_extension("pdf");
    let shown = command("timeout")
        .args(["20", "wkhtmltopdf", "--enable-local-file-access"])
        .args([path, &pdf])
        .env("QT_QPA_PLATFORM", "offscreen")
        .output()
        .await
        .unwrap();
    // It complains about what it cannot fetch, which is for the canary to tell.
    std::fs::remove_file(pdf).unwrap_or_else(|_| panic!("nothing is shown: {shown:?}"));
}

/// A PDF says these texts, letter by letter, and nothing of this machine; it does nothing when opened.
async fn check_pdf(pdf: &Path, texts: &[&str]) {
    let said = run("pdftotext", &["-raw"], pdf, &["-"]).await;
    let squeezed_text = squeezed(&said);
    for text in texts {
        assert!(
            squeezed_text.contains(&squeezed(text)),
            "{text} is not in {said}"
        );
    }
    assert!(!said.contains("root:x:0:0"), "{said}");
    let about = run("pdfinfo", &[], pdf, &[]).await;
    let without = |what: &str| {
        let line = about.lines().find(|line| line.starts_with(what));
        line.is_some_and(|line| line.ends_with(" no") || line.ends_with(" none"))
    };
    assert!(without("JavaScript:") && without("Form:"), "{about}");
    // The description is XML, and has the title and the seller in it.
    let description = run("pdfinfo", &["-meta"], pdf, &[]).await;
    assert!(!description.contains("<dc:x>"), "{description}");
}

async fn run(program: &str, before: &[&str], pdf: &Path, after: &[&str]) -> String {
    let output = command(program)
        .args(before)
        .arg(pdf)
        .args(after)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Every text of the example invoice that is printed as it is.
const PRINTED: [&str; 17] = [
    "/number",
    "/external_ref",
    "/seller/address/name",
    "/seller/address/street",
    "/seller/address/city",
    "/seller/vat_id",
    "/seller/registration",
    "/seller/phone",
    "/seller/website",
    "/seller/email",
    "/seller/bank_name",
    "/seller/iban",
    "/buyer/address/name",
    "/buyer/address/street",
    "/buyer/address/city",
    "/buyer/vat_id",
    "/lines/1/description",
];

async fn hostile_documents() {
    let folder = tempfile::tempdir().unwrap();
    let canary = Canary::start().await;
    let texts = texts(canary.address);
    for round in 0..texts.len() {
        let text = |index: usize| texts[(index + round) % texts.len()].as_str();
        for engine in ENGINES {
            let pdf = preview(folder.path(), engine, |content| {
                for (index, field) in PRINTED.iter().enumerate() {
                    *content.pointer_mut(field).unwrap() = Value::from(text(index));
                }
            })
            .await;
            assert_eq!(canary.visits().await, [""; 0], "{engine}");
            let printed: Vec<_> = (0..PRINTED.len()).map(text).collect();
            check_pdf(&pdf, &printed).await;
        }
    }
}

async fn names_in_headers(world: World) {
    let system = System::start(world).await;
    let client = &system.client;
    let account = format!("/v1/accounts/{}", system.account_id);
    let broken = "Alice\r\nBcc: evil@attacker.example\r\n\r\n<script>";
    let patch = client.request(Method::PATCH, &account);
    let patch = patch.header("if-match", "*");
    let refused = client.send(patch.json(&json!({ "name": broken }))).await;
    assert_eq!(refused.wrong_fields(), ["name"]);
    let patch = client.request(Method::PATCH, &account);
    let email = json!({ "email": "a@b.example\r\nBcc: evil@attacker.example" });
    let refused = client
        .send(patch.header("if-match", "*").json(&email))
        .await;
    assert_eq!(refused.wrong_fields(), ["email"]);

    // Whoever writes to the database has not been asked.
    for statement in [
        format!("UPDATE account SET name = '{broken}'"),
        format!("UPDATE issuer SET name = '{broken}', phone = '{broken}'"),
    ] {
        let db = system.db().await;
        db.execute_unprepared(&statement).await.unwrap();
    }
    system
        .order_and_deliver(client, "k1", &small_server("web"))
        .await;
    let mails = system.mail.accepted().await;
    assert_eq!((mails.len(), mails[0].to.len()), (1, 1));
    let raw = std::fs::read(system.folder().join(&mails[0].file)).unwrap();
    let mail = MessageParser::default().parse(&raw).unwrap();
    let mut headers: Vec<_> = mail.headers().iter().map(|header| header.name()).collect();
    headers.sort_unstable();
    let expected = [
        "Auto-Submitted",
        "Content-Type",
        "Date",
        "From",
        "MIME-Version",
        "Message-ID",
        "Subject",
        "To",
    ];
    assert_eq!(headers, expected);
    assert!(mail.bcc().is_none());
    system.finish().await;
}
