//! Files of tickets: uploaded, named in what is said, and seen by nobody else.

use reqwest::Method;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use uuid::Uuid;

use super::ticket::{SUPPORT, act, mails, post, raised, shown, start, support};
use crate::support::client::{Answer, Client};
use crate::support::database::number;
use crate::support::partner::{Partner, of_kind};
use crate::support::suite::Suite;
use crate::support::system::{BOTH, System, World};
use crate::support::wait::eventually;

/// The smallest thing that begins as a PNG does.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01";
const LARGEST: usize = 5 * 1024 * 1024;

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "files_go_with_what_is_said_in_a_ticket",
        &BOTH,
        files_go_with_what_is_said_in_a_ticket,
    );
    suite.story(
        "the_support_answers_with_a_file",
        &BOTH,
        the_support_answers_with_a_file,
    );
    suite.story(
        "only_files_that_are_what_they_say_are_taken",
        &[World::Embedded],
        only_files_that_are_what_they_say_are_taken,
    );
    suite.story(
        "a_file_that_nobody_uses_goes_after_a_day",
        &BOTH,
        a_file_that_nobody_uses_goes_after_a_day,
    );
    suite.story(
        "a_partner_names_files_by_message",
        &[World::Distributed, World::RabbitSqlite],
        a_partner_names_files_by_message,
    );
}

async fn upload(
    client: &Client,
    path: &str,
    (name, media_type): (&str, &str),
    bytes: impl Into<reqwest::Body>,
) -> Answer {
    let request = client
        .request(Method::POST, path)
        .query(&[("name", name)])
        .header("content-type", media_type)
        .body(bytes);
    client.send(request).await
}

/// The id of a picture that was uploaded.
async fn picture(client: &Client, name: &str) -> String {
    let uploaded = upload(client, "/v1/attachments", (name, "image/png"), PNG).await;
    assert_eq!(uploaded.status, 201, "{uploaded:?}");
    uploaded.body["id"].as_str().unwrap().to_owned()
}

/// Downloads what a message says it has first.
async fn first_of(client: &Client, message: &Value) -> reqwest::Response {
    let content = &message["attachments"][0]["links"]["content"];
    client.bytes(content.as_str().unwrap()).await
}

async fn files_go_with_what_is_said_in_a_ticket(world: World) {
    let system = start(world).await;
    let client = &system.client;
    let id = picture(client, "Fehler größer.png").await;
    assert_eq!(picture(client, "Fehler größer.png").await, id);
    let log = upload(
        client,
        "/v1/attachments",
        ("a.log", "text/plain"),
        "Grüße\n",
    )
    .await;
    let log = log.body["id"].as_str().unwrap();
    let request = json!({ "subject": "Odd", "message": "See there.", "attachments": [log, id] });
    let ticket = raised(client, "with-files", &request).await;
    let told = shown(client, &ticket, "open", 1).await;
    let names = |message: &Value| -> Vec<String> {
        let files = message["attachments"].as_array().unwrap().iter();
        files
            .map(|file| file["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&told["messages"][0]), ["a.log", "Fehler größer.png"]);

    let file = first_of(client, &told["messages"][0]).await;
    assert_eq!(file.headers()["content-type"], "text/plain");
    assert_eq!(file.headers()["x-content-type-options"], "nosniff");
    let disposition = file.headers()["content-disposition"].to_str().unwrap();
    assert!(disposition.starts_with("attachment; filename=\"a.log\""));
    assert_eq!(file.text().await.unwrap(), "Grüße\n");
    let known = client.get(&format!("/v1/attachments/{id}")).await;
    assert_eq!(known.body["size"], PNG.len());

    // The mails say what is there; the files stay where the reader has to prove who it is.
    let texts = mails(&system, SUPPORT, 1).await;
    let mail = mail_parser::MessageParser::default()
        .parse(texts[0].as_bytes())
        .unwrap();
    let text = mail.body_text(0).unwrap().to_string();
    assert!(text.contains("a.log (8 B), Fehler größer.png ("), "{text}");
    assert!(!texts[0].contains("application/octet-stream") && !texts[0].contains("image/png"));

    // A file alone says nothing, and what is not there can not be named.
    let replies = format!("{ticket}/replies");
    let alone = post(client, &replies, "alone", &json!({ "attachments": [id] })).await;
    assert_eq!(alone.wrong_fields(), ["message"]);
    let twice = json!({ "message": "m", "attachments": [id, id] });
    let twice = post(client, &replies, "twice", &twice).await;
    assert_eq!(twice.wrong_fields(), ["attachments"]);
    let (_, stranger) = system.account("Stranger", &["--country", "DE"]).await;
    let theirs = picture(&stranger, "theirs.png").await;
    for file in [theirs, Uuid::now_v7().to_string()] {
        let request = json!({ "subject": "Odd", "message": "m", "attachments": [file] });
        let accepted = post(client, "/v1/tickets", &file, &request).await;
        assert_eq!(accepted.status, 202);
    }
    let reply = json!({ "message": "Again.", "attachments": [id] });
    post(client, &replies, "again", &reply).await;
    let told = shown(client, &ticket, "open", 2).await;
    assert_eq!(names(&told["messages"][1]), ["Fehler größer.png"]);
    let list = client.get("/v1/tickets").await.body;
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");

    // From the command line it is saved under a name of the reader's own.
    let (_, ticket_id) = ticket.rsplit_once('/').unwrap();
    let shown = system.flow(&["ticket", "show", ticket_id]).await;
    assert!(shown.contains("Fehler größer.png"), "{shown}");
    let to = system.folder().join("saved.png");
    let path = to.to_str().unwrap();
    system
        .flow(&["ticket", "attachment", &id, "--to", path])
        .await;
    assert_eq!(std::fs::read(&to).unwrap(), PNG);
    system.finish().await;
}

async fn the_support_answers_with_a_file(world: World) {
    let system = start(world).await;
    let client = &system.client;
    let (_, customer) = system.account("Customer", &["--country", "DE"]).await;
    let (_, stranger) = system.account("Stranger", &["--country", "DE"]).await;
    let support = support(&system).await;
    let ticket = raised(&customer, "t", &json!({ "subject": "s", "message": "m" })).await;
    shown(&customer, &ticket, "open", 1).await;
    let files = "/v1/staff/attachments";
    let guide = upload(
        &support,
        files,
        ("guide.pdf", "application/pdf"),
        "%PDF-1.7 guide",
    )
    .await;
    let secret = upload(&support, files, ("secret.txt", "text/plain"), "only for us").await;
    let (guide, secret) = (&guide.body["id"], &secret.body["id"]);
    let note = json!({ "note": "See the file.", "attachments": [secret] });
    act(&support, &ticket, "note", &note).await;
    let answer = json!({ "answer": "Do this.", "note": "Easy.", "attachments": [guide] });
    act(&support, &ticket, "answer", &answer).await;

    let told = shown(&customer, &ticket, "waiting_customer", 2).await;
    let file = first_of(&customer, &told["messages"][1]).await;
    assert_eq!(file.bytes().await.unwrap(), "%PDF-1.7 guide");
    let whole = support
        .get(&ticket.replace("/v1/", "/v1/staff/"))
        .await
        .body;
    let messages = whole["messages"].as_array().unwrap();
    let noted = messages
        .iter()
        .find(|said| said["message"] == "See the file.");
    let file = first_of(&support, noted.unwrap()).await;
    assert_eq!(file.bytes().await.unwrap(), "only for us");
    for (reader, id) in [(&customer, secret), (&stranger, guide), (&stranger, secret)] {
        let id = id.as_str().unwrap();
        for path in ["", "/content"] {
            let refused = reader.get(&format!("/v1/attachments/{id}{path}")).await;
            assert_eq!(refused.problem(), "not-found", "{path}");
        }
        let refused = reader.get(&format!("{files}/{id}/content")).await;
        assert_eq!(refused.problem(), "forbidden");
    }
    // It names what it has uploaded, and nothing of a customer's.
    let theirs = picture(&customer, "p.png").await;
    let path = format!("{}/actions", ticket.replace("/v1/", "/v1/staff/"));
    let wrong = json!({ "answer": "a", "attachments": [theirs] });
    let refused = post(&support, &path, "wrong", &wrong).await;
    assert_eq!(refused.wrong_fields(), ["attachments"]);
    let alone = post(&support, &path, "alone", &json!({ "attachments": [guide] })).await;
    assert_eq!(alone.wrong_fields(), ["answer"]);
    assert!(client.get("/v1/attachments").await.body["items"][0]["name"] == "secret.txt");
    system.finish().await;
}

async fn only_files_that_are_what_they_say_are_taken(world: World) {
    let system = System::start(world).await;
    let client = &system.client;
    let files = "/v1/attachments";
    let svg = "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>";
    for (name, media_type, bytes, status, field) in [
        ("a.html", "text/html", "<script>", 415, "Content-Type"),
        ("a.svg", "image/svg+xml", svg, 415, "Content-Type"),
        ("a.png", "image/png", svg, 422, "body"),
        ("a.pdf", "application/pdf", "<script>", 422, "body"),
        ("a.txt", "text/plain", "a\0b", 422, "body"),
        ("a.txt", "text/plain", "", 422, "body"),
        ("../a.txt", "text/plain", "a", 422, "name"),
        ("a\r\nX: y", "text/plain", "a", 422, "name"),
        ("", "text/plain", "a", 422, "name"),
    ] {
        let refused = upload(client, files, (name, media_type), bytes).await;
        let said = (refused.status.as_u16(), refused.wrong_fields());
        assert_eq!(said, (status, vec![field]), "{name} {media_type}");
    }
    let nameless = client
        .request(Method::POST, files)
        .header("content-type", "text/plain")
        .body("a");
    assert_eq!(client.send(nameless).await.wrong_fields(), ["name"]);
    let large = |bytes: usize| vec![b'x'; bytes];
    let taken = upload(client, files, ("l.txt", "text/plain"), large(LARGEST)).await;
    assert_eq!(taken.status, 201);
    let refused = upload(client, files, ("l.txt", "text/plain"), large(LARGEST + 1)).await;
    assert_eq!(refused.problem(), "too-large");

    // So much and no more: the rest is made up here, so that it need not be sent.
    let db = system.db().await;
    let many = "UPDATE attachment SET size = 1073741824";
    db.execute_unprepared(many).await.unwrap();
    let refused = upload(client, files, ("m.txt", "text/plain"), "m").await;
    assert_eq!(refused.problem(), "conflict");
    assert_eq!(number(&db, "SELECT COUNT(*) FROM attachment").await, 1);
    system.finish().await;
}

async fn a_file_that_nobody_uses_goes_after_a_day(world: World) {
    let system = start(world).await;
    let client = &system.client;
    let used = picture(client, "used.png").await;
    let request = json!({ "subject": "s", "message": "m", "attachments": [used] });
    let ticket = raised(client, "t", &request).await;
    shown(client, &ticket, "open", 1).await;
    picture(client, "unused.png").await;
    let db = system.db().await;
    let old = "UPDATE attachment SET uploaded_at = '2026-01-01 00:00:00+00:00'";
    db.execute_unprepared(old).await.unwrap();
    let new = picture(client, "new.png").await;
    eventually("the file that nobody uses to go", async || {
        let list = client.get("/v1/attachments").await.body;
        let items = list["items"].as_array()?;
        let ids: Vec<_> = items
            .iter()
            .filter_map(|item| item["id"].as_str())
            .collect();
        (ids == [new.as_str(), used.as_str()]).then_some(())
    })
    .await;
    system.finish().await;
}

async fn a_partner_names_files_by_message(world: World) {
    let system = start(world).await;
    let german = ["--country", "DE", "--currency", "EUR", "--locale", "en"];
    let (own, customer) = system.account("Partner's customer", &german).await;
    let (_, stranger) = system.account("Somebody else", &german).await;
    let file = picture(&customer, "p.png").await;
    let theirs = picture(&stranger, "theirs.png").await;
    let partner = Partner::create(&system, &[&own]).await;
    let session = partner.connect().await.unwrap();
    let raise = |reference: &str, files: &[&str]| {
        let request = json!({
            "subject": "Down", "message": "Since noon.", "external_ref": reference, "attachments": files,
        });
        json!({ "account_id": own, "request": request })
    };
    let kind = "ticket.raise.v1";
    session
        .send("tickets", kind, &raise("f-1", &[&file]))
        .await
        .unwrap();
    let answers = session.answers(&["ticket.opened.v1"]).await;
    let id = of_kind(&answers, "ticket.opened.v1")["ticket_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let reply = |reference: &str, request: Value| {
        let mut request = request;
        request["external_ref"] = reference.into();
        json!({ "account_id": own, "ticket_id": id, "request": request })
    };
    let said = reply("f-2", json!({ "message": "Again.", "attachments": [file] }));
    session
        .send("tickets", "ticket.reply.v1", &said)
        .await
        .unwrap();
    session.answers(&["ticket.changed.v1"]).await;
    let told = shown(&customer, &format!("/v1/tickets/{id}"), "open", 2).await;
    for said in told["messages"].as_array().unwrap() {
        let bytes = first_of(&customer, said).await.bytes().await.unwrap();
        assert_eq!(bytes, PNG);
    }
    let of_reply = "ticket.reply.v1";
    for (kind, body, name) in [
        (kind, raise("f-3", &[&theirs]), "unknown-subject"),
        (
            of_reply,
            reply("f-4", json!({ "message": "m", "attachments": [theirs] })),
            "unknown-subject",
        ),
        (
            of_reply,
            reply("f-5", json!({ "attachments": [file] })),
            "invalid-request",
        ),
    ] {
        session.send("tickets", kind, &body).await.unwrap();
        let answers = session.answers(&["ticket.rejected.v1"]).await;
        let problem = &of_kind(&answers, "ticket.rejected.v1")["problem"];
        assert!(
            problem["type"].as_str().unwrap().ends_with(name),
            "{problem}"
        );
    }
    session
        .send("tickets", kind, &raise("f-6", &[&file, &file]))
        .await
        .unwrap();
    let answers = session.answers(&["message.rejected.v1"]).await;
    let problem = &of_kind(&answers, "message.rejected.v1")["problem"];
    assert!(
        problem["type"]
            .as_str()
            .unwrap()
            .ends_with("invalid-message"),
        "{problem}"
    );
    partner.end(&system).await;
    system.finish_with(1).await;
}
