//! Tickets: raised, answered in a thread of mails, closed and opened again; and those that open by
//! themselves.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::client::{Answer, Client, small_server};
use crate::support::partner::{Partner, of_kind};
use crate::support::process::try_flow;
use crate::support::suite::Suite;
use crate::support::system::{BOTH, Setup, System, World};
use crate::support::wait::eventually;

pub(super) const SUPPORT: &str = "support@seller.example";

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "a_ticket_is_answered_in_one_thread_of_mails",
        &BOTH,
        a_ticket_is_answered_in_one_thread_of_mails,
    );
    suite.story(
        "the_same_ticket_is_raised_once",
        &BOTH,
        the_same_ticket_is_raised_once,
    );
    suite.story(
        "a_ticket_is_closed_reopened_and_continued",
        &BOTH,
        a_ticket_is_closed_reopened_and_continued,
    );
    suite.story(
        "only_the_support_sees_every_ticket",
        &BOTH,
        only_the_support_sees_every_ticket,
    );
    suite.story(
        "the_support_works_from_the_command_line",
        &BOTH,
        the_support_works_from_the_command_line,
    );
    suite.story(
        "a_ticket_opens_by_itself_and_closes_with_the_replay",
        &BOTH,
        a_ticket_opens_by_itself_and_closes_with_the_replay,
    );
    suite.story(
        "an_invoice_that_cannot_be_delivered_opens_a_ticket",
        &BOTH,
        an_invoice_that_cannot_be_delivered_opens_a_ticket,
    );
    suite.story(
        "a_partner_talks_in_tickets_by_message_alone",
        &[World::Distributed, World::RabbitSqlite],
        a_partner_talks_in_tickets_by_message_alone,
    );
}

/// A system whose support has an address, and whose reconciler looks often.
pub(super) async fn start(world: World) -> System {
    let environment = [("SUPPORT_EMAIL", SUPPORT), ("RECONCILE_AFTER", "1")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let setup = Setup {
        environment: environment.into(),
        ..Setup::default()
    };
    System::start_with(world, setup).await
}

pub(super) async fn post(client: &Client, path: &str, key: &str, body: &Value) -> Answer {
    let request = client.request(Method::POST, path);
    let request = request.header("idempotency-key", key).json(body);
    client.send(request).await
}

/// Raises a ticket and returns its address.
pub(super) async fn raised(client: &Client, key: &str, body: &Value) -> String {
    let accepted = post(client, "/v1/tickets", key, body).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    accepted.header("location").to_owned()
}

/// Waits until a ticket has this status and so many messages.
pub(super) async fn shown(client: &Client, ticket: &str, status: &str, messages: usize) -> Value {
    eventually(&format!("{ticket} to be {status}"), async || {
        let ticket = client.get(ticket).await.body;
        let said = ticket["messages"].as_array()?.len();
        (ticket["status"] == status && said == messages).then_some(ticket)
    })
    .await
}

/// Waits for the mails of an address, and returns their texts.
pub(super) async fn mails(system: &System, address: &str, count: usize) -> Vec<String> {
    eventually(&format!("{count} mails to {address}"), async || {
        let mails = system.mail.accepted().await;
        let to = mails.iter().filter(|mail| mail.to == [address]);
        let texts: Vec<_> = to
            .map(|mail| std::fs::read_to_string(system.folder().join(&mail.file)).unwrap())
            .collect();
        (texts.len() >= count).then_some(texts)
    })
    .await
}

fn header<'a>(mail: &'a str, name: &str) -> &'a str {
    let head = mail.split("\r\n\r\n").next().unwrap();
    let value = head.split(&format!("{name}: ")).nth(1).unwrap_or_default();
    value.lines().next().unwrap_or_default().trim()
}

/// A key of the support.
pub(super) async fn support(system: &System) -> Client {
    let create = ["key", "create", "--account", &system.account_id];
    let scoped = ["--name", "Kim of the support", "--scopes", "staff:tickets"];
    let key = system.flow(&[create.as_slice(), &scoped].concat()).await;
    system.client.with_key(key.trim())
}

fn staff(ticket: &str) -> String {
    ticket.replace("/v1/tickets", "/v1/staff/tickets")
}

pub(super) async fn act(support: &Client, ticket: &str, key: &str, body: &Value) {
    let path = format!("{}/actions", staff(ticket));
    let accepted = post(support, &path, key, body).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
}

async fn a_ticket_is_answered_in_one_thread_of_mails(world: World) {
    let system = start(world).await;
    let client = &system.client;
    let order = system
        .order_and_deliver(client, "o", &small_server("web"))
        .await;
    let body = json!({
        "subject": "Does not answer <b>", "message": "Ping works.\nSSH does not.", "priority": "high",
        "category": "technical", "order_id": order["id"],
    });
    let ticket = raised(client, "t", &body).await;
    // At once it is there, and never 404.
    let first = client.get(&ticket).await;
    assert!(
        ["accepted", "open"].contains(&first.body["status"].as_str().unwrap()),
        "{first:?}"
    );
    let opened = shown(client, &ticket, "open", 1).await;
    assert_eq!(opened["order_id"], order["id"]);
    assert_eq!(
        opened["messages"][0]["message"],
        "Ping works.\nSSH does not."
    );
    let number = opened["number"].as_str().unwrap();
    let customer = system.mail.accepted().await[0].to[0].clone();
    // The customer has the invoice and the confirmation, the support is told.
    let confirmed = mails(&system, &customer, 2).await.remove(1);
    assert!(
        header(&confirmed, "Subject").contains(number),
        "{confirmed}"
    );
    assert!(
        header(&confirmed, "Reply-To").contains(SUPPORT),
        "{confirmed}"
    );
    assert!(
        confirmed.contains("Does not answer &lt;b&gt;"),
        "{confirmed}"
    );
    let told = mails(&system, SUPPORT, 1).await.remove(0);
    assert!(told.contains("SSH does not."), "{told}");

    let support = support(&system).await;
    let answer =
        json!({ "answer": "Restarted. Better?", "note": "host 7 again", "assignee": "Kim" });
    act(&support, &ticket, "a", &answer).await;
    let answered = shown(client, &ticket, "waiting_customer", 2).await;
    assert!(!answered.to_string().contains("host 7"), "{answered}");
    assert!(!answered.to_string().contains("assigned"), "{answered}");
    assert_eq!(answered["messages"][1]["author_name"], "Kim of the support");
    assert!(answered["answered_at"].is_string());
    let seen = support.get(&staff(&ticket)).await.body;
    assert!(seen.to_string().contains("host 7"), "{seen}");
    assert_eq!(seen["assignee"], "Kim");
    // One thread for each reader.
    let mail = mails(&system, &customer, 3).await.remove(2);
    let confirmation = header(&confirmed, "Message-ID");
    assert_eq!(header(&mail, "In-Reply-To"), confirmation, "{mail}");
    assert_eq!(header(&mail, "References"), confirmation, "{mail}");
    assert!(!mail.contains("host 7"), "{mail}");

    let replies = format!("{ticket}/replies");
    let reply = json!({ "message": "It does, thank you." });
    assert_eq!(post(client, &replies, "r", &reply).await.status, 202);
    shown(client, &ticket, "waiting_support", 3).await;
    let mail = mails(&system, SUPPORT, 2).await.remove(1);
    assert_eq!(
        header(&mail, "In-Reply-To"),
        header(&told, "Message-ID"),
        "{mail}"
    );
    act(&support, &ticket, "s", &json!({ "status": "resolved" })).await;
    let resolved = shown(client, &ticket, "resolved", 3).await;
    let versions: Vec<_> = resolved["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["version"].as_i64(), event["status"].as_str().unwrap()))
        .collect();
    let expected = ["open", "waiting_customer", "waiting_support", "resolved"];
    let expected: Vec<_> = (1_i64..).map(Some).zip(expected).collect();
    assert_eq!(versions, expected);
    assert_eq!(mails(&system, &customer, 3).await.len(), 3);
    assert_eq!(mails(&system, SUPPORT, 2).await.len(), 2);
    system.finish().await;
}

async fn the_same_ticket_is_raised_once(world: World) {
    let system = start(world).await;
    let client = &system.client;
    let body = json!({ "subject": "Once", "message": "Only once." });
    let first = post(client, "/v1/tickets", "same", &body).await;
    let again = post(client, "/v1/tickets", "same", &body).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(first.body["id"], again.body["id"]);
    let other = json!({ "subject": "Once", "message": "Something else." });
    let refused = post(client, "/v1/tickets", "same", &other).await;
    assert_eq!(refused.problem(), "idempotency-key-reused");
    let ticket = first.header("location");
    shown(client, ticket, "open", 1).await;
    let replies = format!("{ticket}/replies");
    let reply = json!({ "message": "And this once." });
    for _ in 0..3 {
        assert_eq!(post(client, &replies, "reply", &reply).await.status, 202);
    }
    shown(client, ticket, "open", 2).await;
    // The same again after a restart, when only the database remembers.
    let mut system = system;
    system.kill_and_restart("ingress").await;
    let client = &system.client;
    let again = post(client, "/v1/tickets", "same", &body).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    let refused = post(client, "/v1/tickets", "same", &other).await;
    assert_eq!(refused.problem(), "idempotency-key-reused");
    let refused = post(client, &replies, "reply", &json!({ "then": "close" })).await;
    assert_eq!(refused.problem(), "idempotency-key-reused");
    shown(client, ticket, "open", 2).await;
    assert_eq!(
        client.get("/v1/tickets").await.body["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // Every field that is wrong is named.
    let wrong = json!({ "subject": "", "priority": "now", "order_id": "x", "colour": "red" });
    let refused = post(client, "/v1/tickets", "wrong", &wrong).await;
    let mut fields = refused.wrong_fields();
    fields.sort_unstable();
    assert_eq!(
        fields,
        ["colour", "message", "order_id", "priority", "subject"]
    );
    let refused = post(client, &replies, "nothing", &json!({})).await;
    assert_eq!(refused.wrong_fields(), ["message"]);
    let two = json!({ "subject": "s", "message": "m", "external_ref": "other" });
    let refused = post(client, "/v1/tickets", "key", &two).await;
    assert_eq!(refused.wrong_fields(), ["external_ref"]);
    system.finish().await;
}

async fn a_ticket_is_closed_reopened_and_continued(world: World) {
    let system = start(world).await;
    let client = &system.client;
    let body = json!({ "subject": "Odd invoice", "message": "Why?", "category": "billing" });
    let ticket = raised(client, "t", &body).await;
    shown(client, &ticket, "open", 1).await;
    let replies = format!("{ticket}/replies");
    // What is open cannot be opened again; that is written down, and changes nothing.
    post(client, &replies, "r0", &json!({ "then": "reopen" })).await;
    let refused = eventually("the refusal to be shown", async || {
        let history = client.get(&ticket).await.body["history"].clone();
        let refused = history
            .as_array()?
            .iter()
            .find(|e| e["problem"].is_object());
        refused.cloned()
    })
    .await;
    assert!(
        refused["problem"]["type"]
            .as_str()
            .unwrap()
            .ends_with("/conflict")
    );
    let close = json!({ "message": "I see.", "then": "close" });
    post(client, &replies, "r1", &close).await;
    let closed = shown(client, &ticket, "closed", 2).await;
    assert!(closed["closed_at"].is_string());
    post(
        client,
        &replies,
        "r2",
        &json!({ "message": "No, I do not.", "then": "reopen" }),
    )
    .await;
    let reopened = shown(client, &ticket, "open", 3).await;
    assert_eq!(reopened["closed_at"], Value::Null);
    post(client, &replies, "r3", &json!({ "then": "close" })).await;
    shown(client, &ticket, "closed", 3).await;
    // A reply to what is closed opens a ticket that continues it.
    for _ in 0..2 {
        post(
            client,
            &replies,
            "r4",
            &json!({ "message": "One more thing." }),
        )
        .await;
    }
    let continued = eventually("the ticket that continues it", async || {
        let list = client.get("/v1/tickets?status=open").await.body;
        list["items"].as_array()?.first().cloned()
    })
    .await;
    assert_eq!(continued["follows"], closed["id"]);
    assert_eq!(continued["category"], "billing");
    shown(client, &ticket, "closed", 3).await;
    let address = continued["links"]["self"].as_str().unwrap();
    let talk = shown(client, address, "open", 1).await;
    assert_eq!(talk["messages"][0]["message"], "One more thing.");
    // Filters choose.
    for (query, count) in [
        ("category=billing", 2),
        ("category=technical", 0),
        ("status=closed&priority=normal", 1),
    ] {
        let list = client.get(&format!("/v1/tickets?{query}")).await;
        assert_eq!(
            list.body["items"].as_array().unwrap().len(),
            count,
            "{query}"
        );
    }
    let wrong = client.get("/v1/tickets?status=lost").await;
    assert_eq!(wrong.wrong_fields(), ["status"]);
    system.finish().await;
}

async fn only_the_support_sees_every_ticket(world: World) {
    let system = start(world).await;
    let german = ["--country", "DE", "--currency", "EUR", "--locale", "de"];
    let (account, stranger) = system.account("Stranger", &german).await;
    let body = json!({ "subject": "Secret", "message": "Of the stranger." });
    let ticket = raised(&stranger, "t", &body).await;
    shown(&stranger, &ticket, "open", 1).await;
    let client = &system.client;
    assert_eq!(client.get(&ticket).await.problem(), "not-found");
    let replies = format!("{ticket}/replies");
    let reply = post(client, &replies, "r", &json!({ "message": "x" })).await;
    assert_eq!(reply.problem(), "not-found");
    // A customer with every scope of customers is no support, and cannot become it.
    for path in ["/v1/staff/tickets".to_owned(), staff(&ticket)] {
        assert_eq!(client.get(&path).await.problem(), "forbidden");
    }
    let more = json!({ "name": "More", "scopes": ["staff:tickets"] });
    let refused = post(client, "/v1/api-keys", "k", &more).await;
    assert_eq!(refused.wrong_fields(), ["scopes[0]"]);
    let support = support(&system).await;
    let list = support
        .get(&format!("/v1/staff/tickets?account_id={account}"))
        .await;
    assert_eq!(list.body["items"][0]["subject"], "Secret");
    let late = support.get("/v1/staff/tickets?overdue=true").await;
    assert_eq!(late.body["items"], json!([]));
    assert_eq!(support.get("/v1/tickets").await.problem(), "forbidden");
    // A ticket about what belongs to somebody else is not opened.
    let order = system
        .order_and_deliver(client, "o", &small_server("web"))
        .await;
    for (field, id) in [
        ("order_id", &order["id"]),
        ("resource_id", &order["resource_ids"][0]),
        ("invoice_id", &order["invoice_id"]),
    ] {
        let mut body = json!({ "subject": "Theirs", "message": "Mine?" });
        body[field] = id.clone();
        let accepted = post(&stranger, "/v1/tickets", field, &body).await;
        assert_eq!(accepted.status, 202);
    }
    let unknown = staff(&format!("/v1/tickets/{}", Uuid::now_v7()));
    let action = json!({ "note": "x" });
    let nothing = post(&support, &format!("{unknown}/actions"), "a", &action).await;
    assert_eq!(nothing.problem(), "not-found");
    act(&support, &ticket, "a", &json!({ "priority": "urgent" })).await;
    let changed = eventually("the priority to change", async || {
        let ticket = stranger.get(&ticket).await.body;
        (ticket["priority"] == "urgent").then_some(ticket)
    })
    .await;
    assert_eq!(changed["status"], "open");
    let list = stranger.get("/v1/tickets").await.body;
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
    system.finish().await;
}

async fn the_support_works_from_the_command_line(world: World) {
    let system = start(world).await;
    let body = json!({ "subject": "Slow", "message": "Very." });
    let ticket = raised(&system.client, "t", &body).await;
    shown(&system.client, &ticket, "open", 1).await;
    let id = ticket.rsplit('/').next().unwrap();
    let listed = system.flow(&["ticket", "list"]).await;
    assert!(listed.contains(id) && listed.contains("Slow"), "{listed}");
    let handle = [
        "ticket",
        "handle",
        id,
        "--answer",
        "Better now?",
        "--operator",
        "Kim",
    ];
    let more = [
        "--note",
        "noisy neighbour",
        "--assignee",
        "Kim",
        "--priority",
        "high",
    ];
    let printed = system.flow(&[handle.as_slice(), &more].concat()).await;
    assert!(printed.ends_with("is waiting_customer\n"), "{printed}");
    let answered = shown(&system.client, &ticket, "waiting_customer", 2).await;
    assert_eq!(answered["messages"][1]["author_name"], "Kim");
    let talk = system.flow(&["ticket", "show", id]).await;
    assert!(talk.contains("Kim (note):\nnoisy neighbour"), "{talk}");
    // The mail goes out, though the command has long ended.
    let customer = system.client.get("/v1/accounts").await.body["items"][0]["email"].clone();
    let mail = mails(&system, customer.as_str().unwrap(), 2).await;
    assert!(mail[1].contains("Better now?"), "{}", mail[1]);
    system
        .flow(&["ticket", "handle", id, "--status", "closed"])
        .await;
    let refused = try_flow(
        system.folder(),
        &["ticket", "handle", id, "--answer", "Too late"],
        system.environment(),
    )
    .await;
    assert!(refused.is_err_and(|said| said.contains("open it again first")));
    assert_eq!(system.flow(&["ticket", "list"]).await, "");
    let closed = system
        .flow(&["ticket", "list", "--status", "closed", "--json"])
        .await;
    let closed: Value = serde_json::from_str(closed.trim()).unwrap();
    assert_eq!(closed["assignee"], "Kim");
    system.finish().await;
}

/// Waits until the account has one ticket in this state.
async fn one_ticket(client: &Client, status: &str) -> Value {
    eventually(&format!("a ticket that is {status}"), async || {
        let list = client.get("/v1/tickets").await.body;
        let items = list["items"].as_array()?;
        assert!(items.len() <= 1, "{items:?}");
        items
            .first()
            .filter(|item| item["status"] == status)
            .cloned()
    })
    .await
}

async fn a_ticket_opens_by_itself_and_closes_with_the_replay(world: World) {
    let system = start(world).await;
    let refuse = json!({ "create": [{ "fault": "status", "status": 403 }] });
    system.provider.faults(refuse).await;
    let accepted = system.client.order("k1", &small_server("web")).await;
    let order = accepted.header("location");
    let failed = system.status(order, "failed").await.body;
    let ticket = one_ticket(&system.client, "open").await;
    assert_eq!(ticket["order_id"], failed["id"]);
    assert_eq!(ticket["trace_id"], failed["trace_id"]);
    let told = mails(&system, SUPPORT, 1).await.remove(0);
    assert!(
        told.contains(failed["trace_id"].as_str().unwrap()),
        "{told}"
    );
    let parked = eventually("the parked message", async || {
        let listed = system.flow(&["dead", "list", "--json"]).await;
        serde_json::from_str::<Value>(listed.lines().next()?).ok()
    })
    .await;
    let id = parked["id"].as_str().unwrap();
    system.flow(&["dead", "replay", id]).await;
    system.delivered(&system.client, order).await;
    let closed = one_ticket(&system.client, "closed").await;
    assert_eq!(closed["id"], ticket["id"]);
    // The support is told of both, the customer of neither.
    assert_eq!(mails(&system, SUPPORT, 2).await.len(), 2);
    assert_eq!(system.mail.accepted().await.len(), 3);
    system.finish().await;
}

async fn an_invoice_that_cannot_be_delivered_opens_a_ticket(world: World) {
    let system = start(world).await;
    let without = ["--country", "DE", "--currency", "EUR", "--locale", "de"];
    let (account, client) = system.account("Ohne Adresse", &without).await;
    let accepted = client.order("k1", &small_server("web")).await;
    let ticket = one_ticket(&client, "open").await;
    assert_eq!(ticket["category"], "billing");
    assert!(
        ticket["subject"]
            .as_str()
            .unwrap()
            .starts_with("Die Rechnung")
    );
    let order = client.get(accepted.header("location")).await.body;
    assert_eq!(ticket["invoice_id"], order["invoice_id"]);
    let patch = json!({ "email": "buchhaltung@kunde.example" });
    let path = format!("/v1/accounts/{account}");
    let patched = client.with_body(Method::PATCH, &path, &patch).await;
    assert_eq!(patched.status, 200);
    let held = system.flow(&["mail", "list", "--json"]).await;
    let held: Value = serde_json::from_str(held.lines().next().unwrap()).unwrap();
    system
        .flow(&["mail", "resend", held["id"].as_str().unwrap()])
        .await;
    one_ticket(&client, "closed").await;
    system.finish().await;
}

async fn a_partner_talks_in_tickets_by_message_alone(world: World) {
    let system = start(world).await;
    let german = ["--country", "DE", "--currency", "EUR", "--locale", "en"];
    let (own, customer) = system.account("Partner's customer", &german).await;
    let (foreign, stranger) = system.account("Somebody else", &german).await;
    let theirs = raised(&stranger, "t", &json!({ "subject": "s", "message": "m" })).await;
    shown(&stranger, &theirs, "open", 1).await;
    let partner = Partner::create(&system, &[&own]).await;
    let session = partner.connect().await.unwrap();
    let raise = |account: &str, reference: &str| {
        let request =
            json!({ "subject": "Down", "message": "Since noon.", "external_ref": reference });
        json!({ "account_id": account, "request": request })
    };
    let kind = "ticket.raise.v1";
    session
        .send("tickets", kind, &raise(&own, "h-1"))
        .await
        .unwrap();
    let answers = session.answers(&["ticket.opened.v1"]).await;
    let opened = of_kind(&answers, "ticket.opened.v1");
    assert_eq!(opened["external_ref"], "h-1");
    let id = opened["ticket_id"].as_str().unwrap();
    let ticket = format!("/v1/tickets/{id}");
    // The same reference is the same ticket, whichever way it comes.
    let same = json!({ "subject": "Down", "message": "Since noon.", "external_ref": "h-1" });
    assert_eq!(
        post(&customer, "/v1/tickets", "h-1", &same).await.body["id"],
        id
    );

    let support = support(&system).await;
    act(
        &support,
        &ticket,
        "a",
        &json!({ "answer": "We are at it." }),
    )
    .await;
    let answers = session
        .answers(&["ticket.answered.v1", "ticket.changed.v1"])
        .await;
    assert_eq!(
        of_kind(&answers, "ticket.answered.v1")["message"],
        "We are at it."
    );
    assert_eq!(
        of_kind(&answers, "ticket.changed.v1")["status"],
        "waiting_customer"
    );
    let reply = |ticket: &str, reference: &str, request: Value| {
        let mut request = request;
        request["external_ref"] = reference.into();
        json!({ "account_id": own, "ticket_id": ticket, "request": request })
    };
    let kind = "ticket.reply.v1";
    let close = json!({ "message": "Thanks.", "then": "close" });
    session
        .send("tickets", kind, &reply(id, "h-2", close))
        .await
        .unwrap();
    let answers = session.answers(&["ticket.changed.v1"]).await;
    assert_eq!(of_kind(&answers, "ticket.changed.v1")["status"], "closed");
    shown(&customer, &ticket, "closed", 3).await;

    // What it may not do is refused, and said; nothing comes of it.
    let other = theirs.rsplit('/').next().unwrap();
    let message = json!({ "message": "Mine?" });
    let nothing = reply(id, "h-4", json!({}));
    for (body, name) in [
        (reply(other, "h-3", message.clone()), "not-found"),
        (nothing, "invalid-request"),
        (reply(id, "h-2", message.clone()), "idempotency-key-reused"),
    ] {
        session.send("tickets", kind, &body).await.unwrap();
        let answers = session.answers(&["ticket.rejected.v1"]).await;
        let problem = &of_kind(&answers, "ticket.rejected.v1")["problem"];
        assert!(
            problem["type"].as_str().unwrap().ends_with(name),
            "{problem}"
        );
    }
    let mut without = raise(&own, "x");
    without["request"]
        .as_object_mut()
        .unwrap()
        .remove("external_ref");
    let mut unknown = raise(&own, "h-5");
    unknown["request"]["order_id"] = Uuid::now_v7().to_string().into();
    let raise_kind = "ticket.raise.v1";
    session.send("tickets", raise_kind, &unknown).await.unwrap();
    let answers = session.answers(&["ticket.rejected.v1"]).await;
    let rejected = of_kind(&answers, "ticket.rejected.v1");
    assert_eq!(rejected["external_ref"], "h-5");
    for (body, name) in [
        (raise(&foreign, "f"), "forbidden"),
        (without, "invalid-message"),
    ] {
        session.send("tickets", raise_kind, &body).await.unwrap();
        let answers = session.answers(&["message.rejected.v1"]).await;
        let problem = &of_kind(&answers, "message.rejected.v1")["problem"];
        assert!(
            problem["type"].as_str().unwrap().ends_with(name),
            "{problem}"
        );
    }
    // It handles no tickets: that is for the support.
    let handle = json!({ "action_id": Uuid::now_v7(), "ticket_id": id });
    let sent = session.send("work", "ticket.handle.v1", &handle).await;
    assert!(sent.is_err(), "the entry of the support is open");
    assert_eq!(
        stranger.get(&theirs).await.body["messages"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let list = customer.get("/v1/tickets").await.body;
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
    partner.end(&system).await;
    system.finish_with(2).await;
}
