//! People: how they come to act for accounts, what they may do, and how they cease to.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ingress::credentials::Pepper;
use reqwest::Method;
use schemas::link::{LinkFor, LinkKey};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use uuid::Uuid;

use super::contract::{fill, operations};
use super::sessions::actions;
use crate::support::client::{Client, Session, small_server};
use crate::support::database::literal;
use crate::support::person::PASSWORD;
use crate::support::suite::Suite;
use crate::support::system::{BOTH, Setup, System, World};
use crate::support::wait::{eventually, within};

const ADA: &str = "ada@musterwerk.example";
const BOB: &str = "bob@elsewhere.example";

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "somebody_signs_up_proves_the_address_and_orders",
        &BOTH,
        somebody_signs_up,
    );
    suite.story("sign_up_can_be_switched_off", &[World::Embedded], sign_up_can_be_switched_off);
    suite.story("every_role_does_what_it_may", &BOTH, every_role_does_what_it_may);
    suite.story(
        "the_last_owner_stays_even_if_two_leave_at_once",
        &BOTH,
        the_last_owner_stays,
    );
    suite.story(
        "an_invitation_lets_in_whom_it_was_sent_to_and_nobody_twice",
        &BOTH,
        an_invitation_lets_in,
    );
    suite.story("nobody_gives_a_role_beyond_their_own", &BOTH, nobody_gives_beyond);
    suite.story("one_person_acts_for_several_accounts", &BOTH, one_person_several_accounts);
    suite.story(
        "a_reset_tells_nobody_who_is_known_and_ends_every_session",
        &BOTH,
        a_reset_tells_nobody,
    );
    suite.story(
        "invoices_go_to_the_contacts_and_their_copies",
        &BOTH,
        invoices_go_to_the_contacts,
    );
}

/// The key that the secrets in links follow from.
async fn links(system: &System) -> LinkKey {
    let path = system.folder().join("data").join("pepper");
    let pepper = Pepper::open(&path, &system.db().await).await;
    pepper.unwrap().link_key()
}

/// Somebody with no cookie and no key.
fn nobody(system: &System) -> Client {
    system.client.with_session(Session::default())
}

fn sign_up(email: &str) -> Value {
    json!({
        "email": email, "name": "Bob Example", "account_name": "Elsewhere Ltd", "kind": "business",
        "street": "High Street 1", "postal_code": "1000", "city": "Ghent", "country": "BE",
        "locale": "fr", "currency": "EUR", "time_zone": "Europe/Brussels",
    })
}

async fn somebody_signs_up(world: World) {
    let system = System::start(world).await;
    let nobody = nobody(&system);
    let refused = nobody.post_to("/v1/sign-ups", json!({ "country": "Belgium" })).await;
    let mut fields = refused.wrong_fields();
    fields.sort_unstable();
    assert_eq!(
        fields,
        ["city", "country", "email", "kind", "name", "postal_code", "street"]
    );

    let first = nobody.post_to("/v1/sign-ups", sign_up(BOB)).await;
    assert_eq!((first.status.as_u16(), &first.body), (202, &json!({ "status": "mailed" })));
    let old = system.link(BOB, "confirm", 0).await;
    nobody.post_to("/v1/sign-ups", sign_up(BOB)).await;
    let token = system.link(BOB, "confirm", 1).await;
    let confirm = |token: &str, password: &str| {
        let body = json!({ "token": token, "password": password });
        let nobody = nobody.clone();
        async move { nobody.post_to("/v1/confirmations", body).await }
    };
    // A newer link takes the place of an older one, and a guess is none.
    assert_eq!(confirm(&old, PASSWORD).await.wrong_fields(), ["token"]);
    let guess = format!("{}.{}", token.split('.').next().unwrap(), "0".repeat(64));
    assert_eq!(confirm(&guess, PASSWORD).await.wrong_fields(), ["token"]);
    assert_eq!(confirm(&token, "too short").await.wrong_fields(), ["password"]);
    // Twice at once it makes one account.
    let (one, two) = tokio::join!(confirm(&token, PASSWORD), confirm(&token, PASSWORD));
    let (made, other) = match one.status.as_u16() {
        201 => (one, two),
        _ => (two, one),
    };
    assert_eq!((made.status.as_u16(), other.wrong_fields()), (201, vec!["token"]));
    let account = made.body["account_id"].as_str().unwrap();

    let bob = system.logged_in(BOB, PASSWORD).await;
    let shown = bob.get(&format!("/v1/accounts/{account}")).await;
    let expected = [("name", "Elsewhere Ltd"), ("country", "BE"), ("email", BOB), ("locale", "fr")];
    for (field, value) in expected {
        assert_eq!(shown.body[field], value, "{field}");
    }
    assert_eq!(shown.body["payment_terms_days"], 14);
    let order = system.order_and_deliver(&bob, "bobs", &small_server("web")).await;
    assert_eq!(order["status"], "completed");
    let done = actions(&bob).await;
    for action in ["account.create", "user.create"] {
        assert!(done.contains(&action.to_owned()), "{action} in {done:?}");
    }
    // To sign up again looks the same; the mail alone says what is the case.
    let again = nobody.post_to("/v1/sign-ups", sign_up(&BOB.to_uppercase())).await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    eventually("to be told that there is an account", async || {
        let texts = system.texts_to(BOB).await;
        texts.iter().any(|text| text.contains("déjà un compte")).then_some(())
    })
    .await;
    system.finish().await;
}

async fn sign_up_can_be_switched_off(world: World) {
    let setup = Setup {
        environment: vec![("SIGN_UP".to_owned(), "closed".to_owned())],
        ..Setup::default()
    };
    let system = System::start_with(world, setup).await;
    let refused = nobody(&system).post_to("/v1/sign-ups", sign_up(BOB)).await;
    assert_eq!(refused.problem(), "sign-up-closed");
    system.finish().await;
}

/// What each role may do, as it was promised.
fn promised() -> HashMap<&'static str, Vec<&'static str>> {
    let reads = vec![
        "orders:read",
        "resources:read",
        "invoices:read",
        "account:read",
        "keys:read",
        "tickets:read",
        "users:read",
    ];
    let writes = ["orders:write", "account:write", "keys:write", "tickets:write", "users:write"];
    let technical = ["orders:read", "orders:write", "resources:read", "tickets:read", "tickets:write"];
    HashMap::from([
        ("owner", [reads.as_slice(), &writes].concat()),
        ("billing", vec!["invoices:read", "account:read", "account:write"]),
        ("technical", technical.into()),
        ("read-only", reads),
    ])
}

async fn every_role_does_what_it_may(world: World) {
    let system = System::start(world).await;
    for (role, scopes) in promised() {
        let person = system.person(&system.account_id, &format!("{role}@musterwerk.example"), role).await;
        let (mut may, mut may_not) = (0, 0);
        for (method, path, operation) in operations() {
            let Some(scope) = operation["security"][1]["session"][0].as_str() else {
                continue;
            };
            let address = fill(path, &Uuid::now_v7().to_string());
            let request = person.request(method.clone(), &address);
            let request = match method == Method::GET {
                true => request,
                false => request.json(&json!({})),
            };
            let answer = person.send(request).await;
            let expected = scopes.contains(&scope);
            assert_eq!(answer.status != 403, expected, "{role}: {method} {path}: {}", answer.status);
            *(if expected { &mut may } else { &mut may_not }) += 1;
        }
        // Nobody of a customer's is the support.
        assert!(may >= 4 && may_not >= 3, "{role}: {may} and {may_not}");
        let shown = person.get("/v1/session").await;
        let mut said: Vec<_> = shown.body["accounts"][0]["scopes"].as_array().unwrap().iter().collect();
        said.sort_by_key(|scope| scope.to_string());
        let mut scopes = scopes;
        scopes.sort_unstable();
        assert_eq!(json!(said), json!(scopes), "{role}");
    }
    system.finish().await;
}

async fn the_last_owner_stays(world: World) {
    let system = System::start(world).await;
    let account = &system.account_id;
    let id = async |client: &Client| client.get("/v1/me").await.body["id"].as_str().unwrap().to_owned();
    let ada = system.person(account, ADA, "owner").await;
    let own = format!("/v1/users/{}", id(&ada).await);
    let demotion = json!({ "role": "billing" });
    for refused in [
        ada.delete(&own).await,
        ada.with_body(Method::PATCH, &own, &demotion).await,
        // Nor does a key remove them: keys make no owners, and remove none.
        system.client.delete(&own).await,
    ] {
        assert!(["conflict", "forbidden"].contains(&refused.problem()), "{refused:?}");
    }
    // Of two who go at once one stays, each time, whichever way they go.
    for round in 0..5 {
        let email = format!("second-{round}@musterwerk.example");
        let second = system.person(account, &email, "owner").await;
        let others = format!("/v1/users/{}", id(&second).await);
        let second_goes = async {
            match round % 2 {
                0 => second.delete(&others).await,
                _ => second.with_body(Method::PATCH, &others, &demotion).await,
            }
        };
        let (first, second_gone) = tokio::join!(ada.delete(&own), second_goes);
        let mut statuses = [first.status.as_u16(), second_gone.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses[1], 409, "{statuses:?} in round {round}");
        assert!(statuses[0] < 300, "{statuses:?} in round {round}");
        let users = system.client.get("/v1/users?limit=100").await;
        let users = users.body["items"].as_array().unwrap();
        let owners = users.iter().filter(|user| user["role"] == "owner");
        assert_eq!(owners.count(), 1, "round {round}");
        if first.status == 204 {
            // Whoever is left lets her in again, so that there are two to go.
            let create = ["user", "create", "--account", account, "--email", ADA, "--name", "Ada"];
            system.flow(&create).await;
            within(Duration::from_secs(5), "Ada to act again", async || {
                (ada.get("/v1/orders").await.status == 200).then_some(())
            })
            .await;
            let gone = second.delete(&others).await;
            assert_eq!(gone.status, 204, "{gone:?}");
        }
    }
    let done = actions(&system.client).await;
    for action in ["user.leave", "user.role"] {
        assert!(done.contains(&action.to_owned()), "{action} in {done:?}");
    }
    system.finish().await;
}

async fn invite(client: &Client, email: &str, role: &str) -> String {
    let invited = client.post_to("/v1/invitations", json!({ "email": email, "role": role })).await;
    assert_eq!((invited.status.as_u16(), &invited.body["status"]), (201, &json!("pending")));
    assert_eq!(invited.header("location"), invited.body["links"]["self"]);
    invited.body["id"].as_str().unwrap().to_owned()
}

async fn an_invitation_lets_in(world: World) {
    let system = System::start(world).await;
    let ada = system.person(&system.account_id, ADA, "owner").await;
    let nobody = nobody(&system);
    let accept = async |token: &str| {
        let body = json!({ "token": token, "name": "Bob", "password": PASSWORD });
        nobody.post_to("/v1/invitation-acceptances", body).await
    };
    // One that is taken back, and one whose place another takes.
    let revoked = invite(&ada, BOB, "billing").await;
    let token = system.link(BOB, "accept-invitation", 0).await;
    let path = format!("/v1/invitations/{revoked}");
    for _ in 0..2 {
        assert_eq!(ada.delete(&path).await.status, 204);
    }
    assert_eq!(accept(&token).await.wrong_fields(), ["token"]);
    assert_eq!(ada.get(&path).await.body["status"], "revoked");
    invite(&ada, BOB, "technical").await;
    let replaced = system.link(BOB, "accept-invitation", 1).await;
    let id = invite(&ada, BOB, "billing").await;
    assert_eq!(accept(&replaced).await.wrong_fields(), ["token"]);
    // One that is over: the secret is right, the time is not.
    let token = system.link(BOB, "accept-invitation", 2).await;
    let over = invite(&ada, "late@elsewhere.example", "billing").await;
    let db = system.db().await;
    let id_of_over = literal(&db, over.parse().unwrap());
    let end = format!("UPDATE invitation SET expires_at = created_at WHERE id = {id_of_over}");
    let late = db.execute_unprepared(&end).await.unwrap();
    assert_eq!(late.rows_affected(), 1);
    let shown = ada.get(&format!("/v1/invitations/{over}")).await.body;
    assert_eq!(shown["status"], "expired");
    let ended = shown["expires_at"].as_str().unwrap().parse().unwrap();
    let late = links(&system).await.token(LinkFor::Invitation, over.parse().unwrap(), ended);
    assert_eq!(accept(&late).await.wrong_fields(), ["token"]);

    // Who has no user yet chooses a name and a password.
    let incomplete = json!({ "token": token });
    let incomplete = nobody.post_to("/v1/invitation-acceptances", incomplete).await;
    assert_eq!(incomplete.wrong_fields(), ["name", "password"]);
    let accepted = accept(&token).await;
    assert_eq!(accepted.status, 201, "{accepted:?}");
    assert_eq!(accept(&token).await.wrong_fields(), ["token"]);
    let bob = system.logged_in(BOB, PASSWORD).await;
    assert_eq!(bob.get("/v1/session").await.body["accounts"][0]["role"], "billing");
    assert_eq!(ada.get(&format!("/v1/invitations/{id}")).await.body["status"], "accepted");
    assert_eq!(ada.delete(&format!("/v1/invitations/{id}")).await.problem(), "conflict");
    let again = ada.post_to("/v1/invitations", json!({ "email": BOB, "role": "billing" })).await;
    assert_eq!(again.problem(), "conflict");

    // Another role counts within seconds, and so does to be removed.
    let user = accepted.body["user_id"].as_str().unwrap();
    let path = format!("/v1/users/{user}");
    let changed = ada.with_body(Method::PATCH, &path, &json!({ "role": "technical" })).await;
    assert_eq!((changed.status.as_u16(), &changed.body["role"]), (200, &json!("technical")));
    within(Duration::from_secs(5), "the role to count", async || {
        (bob.get("/v1/orders").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(ada.get(&path).await.body["role"], "technical");
    assert_eq!(ada.delete(&path).await.status, 204);
    within(Duration::from_secs(5), "the person to be removed", async || {
        (bob.get("/v1/orders").await.status == 422).then_some(())
    })
    .await;
    assert_eq!(bob.get("/v1/me").await.body["accounts"], json!([]));
    let done = actions(&ada).await;
    for action in [
        "invitation.create",
        "invitation.revoke",
        "invitation.accept",
        "user.role",
        "user.remove",
    ] {
        assert!(done.contains(&action.to_owned()), "{action} in {done:?}");
    }
    system.finish().await;
}

async fn nobody_gives_beyond(world: World) {
    let system = System::start(world).await;
    let ada = system.person(&system.account_id, ADA, "owner").await;
    // A key that may do everything is no owner.
    let owner = json!({ "email": BOB, "role": "owner" });
    let refused = system.client.post_to("/v1/invitations", owner).await;
    assert_eq!(refused.problem(), "forbidden");
    // One that may do less gives less.
    let scopes = ["users:read", "users:write", "invoices:read", "account:read", "account:write"];
    let key = json!({ "name": "Half", "scopes": scopes });
    let made = ada.post_to("/v1/api-keys", key).await;
    let half = system.client.with_key(made.body["key"].as_str().unwrap());
    for (role, allowed) in [("owner", false), ("technical", false), ("read-only", false), ("billing", true)] {
        let body = json!({ "email": format!("{role}@elsewhere.example"), "role": role });
        let answer = half.post_to("/v1/invitations", body).await;
        let expected = if allowed { 201 } else { 403 };
        assert_eq!(answer.status, expected, "{role}");
    }
    // Nor takes from who may more, nor lifts anybody.
    let tom = system.person(&system.account_id, "tom@musterwerk.example", "technical").await;
    let id = tom.get("/v1/me").await.body["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/users/{id}");
    for role in ["billing", "owner"] {
        let refused = half.with_body(Method::PATCH, &path, &json!({ "role": role })).await;
        assert_eq!(refused.problem(), "forbidden", "{role}");
    }
    assert_eq!(half.delete(&path).await.problem(), "forbidden");
    // Whom somebody has invited who goes before it is accepted stays out.
    let second = system.person(&system.account_id, "second@musterwerk.example", "owner").await;
    invite(&second, BOB, "owner").await;
    let token = system.link(BOB, "accept-invitation", 0).await;
    let id = second.get("/v1/me").await.body["id"].as_str().unwrap().to_owned();
    assert_eq!(ada.delete(&format!("/v1/users/{id}")).await.status, 204);
    let body = json!({ "token": token, "name": "Bob", "password": PASSWORD });
    let late = nobody(&system).post_to("/v1/invitation-acceptances", body).await;
    assert_eq!(late.wrong_fields(), ["token"]);
    // Everybody may go, whatever else they may.
    let id = tom.get("/v1/me").await.body["id"].as_str().unwrap().to_owned();
    assert_eq!(tom.delete(&format!("/v1/users/{id}")).await.status, 204);
    system.finish().await;
}

async fn one_person_several_accounts(world: World) {
    let system = System::start(world).await;
    let (other, _) = system.account("Elsewhere", &["--country", "BE"]).await;
    let (foreign, _) = system.account("Foreign", &["--country", "FR"]).await;
    system.person(&other, "owner@elsewhere.example", "owner").await;
    let bob = system.person(&system.account_id, BOB, "technical").await;
    // Invited a second time, nothing is to be chosen: the person is there already.
    let owner = system.person(&other, "second@elsewhere.example", "owner").await;
    invite(&owner, BOB, "billing").await;
    let token = system.link(BOB, "accept-invitation", 0).await;
    let accepted = nobody(&system).post_to("/v1/invitation-acceptances", json!({ "token": token })).await;
    assert_eq!((accepted.status.as_u16(), &accepted.body["account_id"]), (201, &json!(other)));
    within(Duration::from_secs(5), "the second account to be known", async || {
        let shown = bob.get("/v1/session").await;
        (shown.body["accounts"].as_array()?.len() == 2).then_some(())
    })
    .await;
    let unnamed = bob.get("/v1/orders").await;
    assert_eq!(unnamed.wrong_fields(), ["Account-Id"]);
    let (here, there) = (bob.acting_for(&system.account_id), bob.acting_for(&other));
    assert_eq!(here.get("/v1/orders").await.status, 200);
    assert_eq!(there.get("/v1/orders").await.problem(), "forbidden");
    assert_eq!(there.get("/v1/invoices").await.status, 200);
    let shown = there.get("/v1/accounts").await;
    assert_eq!(shown.body["items"][0]["id"], other.as_str());
    for unknown in [foreign.as_str(), &Uuid::now_v7().to_string(), "mine"] {
        let refused = bob.acting_for(unknown).get("/v1/invoices").await;
        assert_eq!(refused.problem(), "not-found", "{unknown}");
    }
    // What is done for one account stands in the audit trail of that one.
    let contact = json!({ "name": "Books", "email": "books@elsewhere.example", "field": "to" });
    assert_eq!(there.post_to("/v1/billing-contacts", contact).await.status, 201);
    let done = "billing_contact.create".to_owned();
    assert!(actions(&owner).await.contains(&done));
    assert!(!actions(&system.client).await.contains(&done));
    system.finish().await;
}

async fn a_reset_tells_nobody(world: World) {
    let system = System::start(world).await;
    let old = system.user(&system.account_id, ADA, "owner").await;
    let ada = system.logged_in(ADA, &old).await;
    let nobody = nobody(&system);
    let reset = async |email: &str| {
        let began = Instant::now();
        let answer = nobody.post_to("/v1/password-resets", json!({ "email": email })).await;
        (answer, began.elapsed())
    };
    let (first, _) = reset(ADA).await;
    assert_eq!(first.status, 202, "{first:?}");
    let replaced = system.link(ADA, "reset-password", 0).await;
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for round in 0..4 {
        for (email, taken) in [
            (ADA.to_owned(), &mut known),
            (format!("nobody-{round}@musterwerk.example"), &mut unknown),
        ] {
            let (answer, time) = reset(&email).await;
            assert_eq!((answer.status, &answer.body), (first.status, &first.body));
            taken.push(time);
        }
        // What is done beside the requests is done in their order.
        system.link(ADA, "reset-password", round + 1).await;
    }
    known.sort_unstable();
    unknown.sort_unstable();
    // Beside the request, it takes longer than the request itself: that is not seen from outside.
    let (known, unknown) = (known[1], unknown[1]);
    let most = unknown.max(known).as_secs_f64();
    let least = unknown.min(known).as_secs_f64();
    assert!(most < 3.0 * least + 0.01, "{known:?} and {unknown:?}");
    // Too many mails to one address are refused, and to one that nobody has as well.
    for email in [ADA, "nobody@musterwerk.example"] {
        let mut refused = false;
        for _ in 0..6 {
            refused |= reset(email).await.0.status == 429;
        }
        assert!(refused, "{email}");
    }

    let token = system.link(ADA, "reset-password", 4).await;
    let complete = async |token: &str, password: &str| {
        let body = json!({ "token": token, "password": password });
        nobody.post_to("/v1/password-reset-completions", body).await
    };
    assert_eq!(complete(&replaced, PASSWORD).await.wrong_fields(), ["token"]);
    // A link is good for what it was made for.
    let body = json!({ "token": token, "password": PASSWORD });
    let elsewhere = nobody.post_to("/v1/confirmations", body).await;
    assert_eq!(elsewhere.wrong_fields(), ["token"]);
    let done = complete(&token, PASSWORD).await;
    assert_eq!(done.status, 204, "{done:?}");
    assert_eq!(complete(&token, "another one of mine").await.wrong_fields(), ["token"]);
    within(Duration::from_secs(5), "every session to end", async || {
        (ada.get("/v1/session").await.status == 401).then_some(())
    })
    .await;
    assert_eq!(nobody.log_in(ADA, &old).await.status, 401);
    let ada = system.logged_in(ADA, PASSWORD).await;
    eventually("to be told", async || {
        let texts = system.texts_to(ADA).await;
        texts.iter().any(|text| text.contains("password was changed")).then_some(())
    })
    .await;
    let done = actions(&ada).await;
    for action in ["user.password_reset_request", "user.password_reset"] {
        assert!(done.contains(&action.to_owned()), "{action} in {done:?}");
    }
    for mail in system.mail.accepted().await {
        assert!(mail.to.iter().all(|to| !to.starts_with("nobody")), "{mail:?}");
    }
    system.finish().await;
}

async fn invoices_go_to_the_contacts(world: World) {
    let system = System::start(world).await;
    let client = &system.client;
    let path = "/v1/billing-contacts";
    let (books, chief) = ("books@musterwerk.example", "chief@musterwerk.example");
    let contact = |email: &str, field: &str| json!({ "name": "Somebody", "email": email, "field": field });
    let refused = client.post_to(path, json!({ "email": "nobody", "field": "bcc" })).await;
    assert_eq!(refused.wrong_fields(), ["name", "email", "field"]);
    let copied = client.post_to(path, contact(chief, "cc")).await;
    assert_eq!(copied.status, 201, "{copied:?}");
    let twice = client.post_to(path, contact(&chief.to_uppercase(), "to")).await;
    assert_eq!(twice.problem(), "conflict");

    // With copies alone the invoice is for the address of the account.
    let own = client.get(&format!("/v1/accounts/{}", system.account_id)).await;
    let own = own.body["email"].as_str().unwrap().to_owned();
    let invoice = async |key: &str| {
        let order = system.order_and_deliver(client, key, &small_server(key)).await;
        let invoice = client.get(order["links"]["invoice"].as_str().unwrap()).await;
        let mut to: Vec<_> = invoice.body["deliveries"].as_array().unwrap().iter()
            .map(|mail| {
                assert_eq!(mail["status"], "sent");
                mail["recipient"].as_str().unwrap().to_owned()
            })
            .collect();
        to.sort_unstable();
        to
    };
    let mut expected = vec![chief.to_owned(), own.clone()];
    expected.sort_unstable();
    assert_eq!(invoice("first").await, expected);
    let added = client.post_to(path, contact(books, "to")).await;
    assert_eq!(added.status, 201, "{added:?}");
    assert_eq!(invoice("second").await, [books, chief]);

    // Everybody sees who else has it, and gets it once, with the same PDF.
    let mails = system.mail.accepted().await;
    assert_eq!(mails.len(), 4);
    let mut ids: Vec<_> = mails.iter().map(|mail| &mail.message_id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    let mut documents = Vec::new();
    for mail in mails.iter().filter(|mail| mail.to == [books] || mail.to == [chief]).skip(1) {
        let raw = std::fs::read(system.folder().join(&mail.file)).unwrap();
        let parsed = mail_parser::MessageParser::default().parse(&raw).unwrap();
        let first = |address: Option<&mail_parser::Address<'_>>| {
            let first = address.and_then(|address| address.first()).unwrap();
            first.address().unwrap().to_owned()
        };
        assert_eq!((first(parsed.to()).as_str(), first(parsed.cc()).as_str()), (books, chief));
        documents.push(parsed.attachment(0).unwrap().contents().to_vec());
    }
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[0], documents[1]);

    // One who is refused keeps it from nobody else.
    let faults = json!([{ "at": "body", "reply": "554 5.7.1 not for this one" }]);
    system.mail.faults(faults).await;
    let order = client.order("third", &small_server("third")).await;
    eventually("one to have it and one to be refused", async || {
        let order = client.get(order.header("location")).await.body;
        let invoice = client.get(order["links"]["invoice"].as_str()?).await.body;
        let mails = invoice["deliveries"].as_array()?;
        let count = |status: &str| mails.iter().filter(|mail| mail["status"] == status).count();
        (count("sent") == 1 && count("refused") == 1).then_some(())
    })
    .await;

    // Without contacts it goes to the account again.
    for made in [&copied, &added] {
        let id = made.body["id"].as_str().unwrap();
        assert_eq!(client.delete(&format!("{path}/{id}")).await.status, 204);
        assert_eq!(client.delete(&format!("{path}/{id}")).await.problem(), "not-found");
    }
    assert_eq!(client.get(path).await.body["items"], json!([]));
    assert_eq!(invoice("fourth").await, [own]);
    let done = actions(client).await;
    for action in ["billing_contact.create", "billing_contact.remove"] {
        assert!(done.contains(&action.to_owned()), "{action} in {done:?}");
    }
    system.finish().await;
}
