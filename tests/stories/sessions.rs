//! People log in: passwords, cookies, and those who guess.

use std::time::Duration;

use reqwest::Method;
use sea_orm::ConnectionTrait;
use serde_json::json;

use crate::support::client::{Client, Session};
use crate::support::person::PASSWORD;
use crate::support::suite::Suite;
use crate::support::system::{BOTH, Setup, System, World};
use crate::support::wait::{eventually, within};

const ADA: &str = "ada@musterwerk.example";
/// How long what is ended may go on at most.
const SOON: Duration = Duration::from_secs(5);

pub(crate) fn register(suite: &mut Suite) {
    suite.story("somebody_logs_in_and_out", &BOTH, somebody_logs_in_and_out);
    suite.story(
        "a_request_of_another_page_changes_nothing",
        &BOTH,
        a_request_of_another_page_changes_nothing,
    );
    suite.story(
        "over_https_cookies_are_for_this_host_alone",
        &[World::Embedded],
        over_https_cookies_are_for_this_host_alone,
    );
    suite.story(
        "guessing_is_slowed_down_and_locks_nobody_out",
        &BOTH,
        guessing_is_slowed_down,
    );
    suite.story(
        "another_password_ends_the_other_sessions",
        &BOTH,
        another_password_ends_the_other_sessions,
    );
    suite.story("a_session_ends_by_itself", &BOTH, a_session_ends_by_itself);
}

/// Waits until nobody is logged in with this browser any more.
pub(super) async fn ends(client: &Client, what: &str) {
    within(SOON, what, async || {
        (client.get("/v1/session").await.status == 401).then_some(())
    })
    .await;
}

/// What was done, by the audit trail of the account, newest first.
pub(super) async fn actions(client: &Client) -> Vec<String> {
    let listed = client.get("/v1/audit-entries?limit=100").await;
    let items = listed.body["items"].as_array().unwrap();
    let action = |item: &serde_json::Value| item["action"].as_str().unwrap().to_owned();
    items.iter().map(action).collect()
}

async fn somebody_logs_in_and_out(world: World) {
    let system = System::start(world).await;
    let password = system.user(&system.account_id, ADA, "owner").await;
    let nobody = system.client.with_session(Session::default());
    // Which of the two is wrong is not said.
    let wrong = nobody.log_in(ADA, "not this one, surely").await;
    let mut unknown = nobody.log_in("eve@musterwerk.example", &password).await;
    unknown.body["trace_id"] = wrong.body["trace_id"].clone();
    assert_eq!((unknown.status, &unknown.body), (wrong.status, &wrong.body));
    assert_eq!(wrong.problem(), "unauthorized");

    // An address is the same in every case. A token from elsewhere is not adopted.
    let planted = Session {
        cookies: vec![format!("session={}", "0".repeat(64))],
        csrf: None,
    };
    let planted = system.client.with_session(planted);
    let answer = planted.log_in(&ADA.to_uppercase(), &password).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.body["accounts"][0]["role"], "owner");
    assert_eq!(answer.body["second_factor_due"], false);
    let cookie = answer.header("set-cookie");
    for part in ["session=", "; Path=/", "; HttpOnly", "; SameSite=Lax"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert_eq!(planted.get("/v1/session").await.problem(), "unauthorized");
    let ada = planted.keeping(&answer);
    let (first, second) = (&ada, system.logged_in(ADA, &password).await);
    assert_ne!(
        first.session().unwrap().cookies,
        second.session().unwrap().cookies
    );

    // What a key may do, a person may do too; and their own things beside.
    assert_eq!(ada.get("/v1/orders").await.status, 200);
    let me = ada.get("/v1/me").await;
    assert_eq!(
        (&me.body["email"], &me.body["name"]),
        (&json!(ADA), &json!("Ada Example"))
    );
    let patch = json!({ "name": "Ada Lovelace", "locale": "de" });
    let changed = ada.with_body(Method::PATCH, "/v1/me", &patch).await;
    assert_eq!(
        (&changed.body["name"], &changed.body["locale"]),
        (&json!("Ada Lovelace"), &json!("de"))
    );
    let wrong = json!({ "name": null, "locale": "tlh", "email": "eve@musterwerk.example" });
    let refused = ada.with_body(Method::PATCH, "/v1/me", &wrong).await;
    assert_eq!(refused.wrong_fields(), ["name", "locale", "email"]);
    assert_eq!(system.client.get("/v1/me").await.problem(), "unauthorized");

    let out = ada.delete("/v1/session").await;
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").contains("session=; "), "{out:?}");
    ends(&ada, "the session to end").await;
    assert_eq!(second.get("/v1/session").await.status, 200);
    let done = actions(&second).await;
    for action in ["session.end", "user.change", "session.begin"] {
        assert!(done.contains(&action.to_owned()), "{action} in {done:?}");
    }
    let listed = second.get("/v1/audit-entries?limit=1").await;
    let last = &listed.body["items"][0];
    assert!(
        last["actor"].as_str().unwrap().starts_with("user "),
        "{last}"
    );
    assert!(
        last["credential"].as_str().unwrap().starts_with("session "),
        "{last}"
    );
    assert_eq!(last["trace_id"].as_str().unwrap().len(), 32);
    system.finish().await;
}

async fn a_request_of_another_page_changes_nothing(world: World) {
    let public = ("PUBLIC_URL".to_owned(), "http://127.0.0.1:8080".to_owned());
    let setup = Setup {
        environment: vec![public],
        ..Setup::default()
    };
    let system = System::start_with(world, setup).await;
    let password = system.user(&system.account_id, ADA, "owner").await;
    let ada = system.logged_in(ADA, &password).await;
    let session = ada.session().unwrap().clone();
    let contact = json!({ "name": "Books", "email": "books@musterwerk.example", "field": "to" });
    let path = "/v1/billing-contacts";
    let without = ada.with_session(Session {
        csrf: None,
        ..session.clone()
    });
    let wrong = ada.with_session(Session {
        csrf: Some("0".repeat(64)),
        ..session.clone()
    });
    for client in [without, wrong] {
        for (method, path) in [
            (Method::POST, path),
            (Method::PATCH, "/v1/me"),
            (Method::DELETE, "/v1/session"),
            (Method::PUT, "/v1/me/password"),
        ] {
            let refused = client.with_body(method.clone(), path, &contact).await;
            assert_eq!(refused.problem(), "cross-site-request", "{method} {path}");
        }
        // What changes nothing needs no token.
        assert_eq!(client.get(path).await.status, 200);
    }
    // Not even with the token.
    let host = ada.base().strip_prefix("http://").unwrap().to_owned();
    for (name, value, allowed) in [
        ("origin", "https://evil.example".to_owned(), false),
        ("origin", "null".to_owned(), false),
        ("origin", format!("http://{host}.evil.example"), false),
        ("sec-fetch-site", "cross-site".to_owned(), false),
        ("sec-fetch-site", "same-site".to_owned(), false),
        ("origin", format!("http://{host}"), true),
        ("origin", "http://127.0.0.1:8080".to_owned(), true),
        ("sec-fetch-site", "same-origin".to_owned(), true),
    ] {
        let request = ada.request(Method::PATCH, "/v1/me").header(name, &value);
        let answer = ada.send(request.json(&json!({}))).await;
        let expected = if allowed { 200 } else { 403 };
        assert_eq!(answer.status, expected, "{name}: {value}");
        // Nor is anybody logged in by another page, as whomever.
        let body = json!({ "email": ADA, "password": password });
        let nobody = system.client.with_session(Session::default());
        let request = nobody.request(Method::POST, "/v1/session");
        let answer = nobody.send(request.header(name, &value).json(&body)).await;
        let expected = if allowed { 201 } else { 403 };
        assert_eq!(answer.status, expected, "{name}: {value}");
    }
    // A key is no cookie: a page of another origin may use one that it has.
    let request = system.client.request(Method::POST, path);
    let request = request
        .header("origin", "https://shop.example")
        .json(&contact);
    assert_eq!(system.client.send(request).await.status, 201);
    system.finish().await;
}

async fn over_https_cookies_are_for_this_host_alone(world: World) {
    let origin = "https://portal.example";
    let setup = Setup {
        environment: vec![("PUBLIC_URL".to_owned(), format!("{origin}/"))],
        ..Setup::default()
    };
    let system = System::start_with(world, setup).await;
    let password = system.user(&system.account_id, ADA, "owner").await;
    let nobody = system.client.with_session(Session::default());
    let answer = nobody.log_in(ADA, &password).await;
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies.len(), 2);
    for cookie in cookies {
        let cookie = cookie.to_str().unwrap();
        // What browsers ask of the prefix (RFC 6265bis §4.1.3.2).
        assert!(cookie.starts_with("__Host-"), "{cookie}");
        assert!(
            cookie.contains("; Secure") && cookie.contains("; Path=/;"),
            "{cookie}"
        );
        assert!(!cookie.to_lowercase().contains("domain"), "{cookie}");
    }
    let ada = nobody.keeping(&answer);
    let request = ada
        .request(Method::PATCH, "/v1/me")
        .header("origin", origin);
    assert_eq!(ada.send(request.json(&json!({}))).await.status, 200);
    // A cookie without the prefix may come from a neighbour of the host.
    let token = ada.session().unwrap().cookies[0].clone();
    let bare = token.strip_prefix("__Host-").unwrap().to_owned();
    let bare = ada.with_session(Session {
        cookies: vec![bare],
        csrf: None,
    });
    assert_eq!(bare.get("/v1/session").await.problem(), "unauthorized");
    system.finish().await;
}

async fn guessing_is_slowed_down(world: World) {
    let system = System::start(world).await;
    let password = system.user(&system.account_id, ADA, "owner").await;
    let ada = system.logged_in(ADA, &password).await;
    let stranger = system.client.with_session(Session::default());
    let mut tried = 0;
    let refused = loop {
        let answer = stranger.log_in(ADA, "not this one, surely").await;
        if answer.status == 429 {
            break answer;
        }
        assert_eq!(answer.status, 401);
        tried += 1;
        assert!(tried < 40, "nobody stops a stranger who guesses");
    };
    assert!(!refused.header("retry-after").is_empty());
    // Not even with the right one: that would tell.
    assert_eq!(stranger.log_in(ADA, &password).await.status, 429);
    // From the browser that Ada has logged in from before she does so again.
    let again = ada.log_in(ADA, &password).await;
    assert_eq!(again.status, 201, "{again:?}");
    // The browser of somebody else is no such thing.
    let bob = "bob@musterwerk.example";
    let bob = system.user(&system.account_id, bob, "billing").await;
    let bob = ada.log_in("bob@musterwerk.example", &bob).await;
    let bob = system.client.with_session(Session::default()).keeping(&bob);
    assert_eq!(bob.log_in(ADA, &password).await.status, 429);
    let listed = system.flow(&["user", "list"]).await;
    assert!(listed.contains("FAILED LOG-INS"), "{listed}");
    system.finish().await;
}

async fn another_password_ends_the_other_sessions(world: World) {
    let system = System::start(world).await;
    let password = system.user(&system.account_id, ADA, "owner").await;
    let ada = system.logged_in(ADA, &password).await;
    let other = system.logged_in(ADA, &password).await;
    let path = "/v1/me/password";
    let change = |current: &str, new: &str| {
        let body = json!({ "current_password": current, "password": new });
        let ada = ada.clone();
        async move { ada.with_body(Method::PUT, path, &body).await }
    };
    assert_eq!(
        change("wrong", PASSWORD).await.wrong_fields(),
        ["current_password"]
    );
    assert_eq!(
        change("", "short").await.wrong_fields(),
        ["current_password", "password"]
    );
    let changed = change(&password, PASSWORD).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let renewed = ada.keeping(&changed);
    ends(&other, "the other session to end").await;
    ends(&ada, "the old token to end").await;
    assert_eq!(renewed.get("/v1/me").await.status, 200);
    assert_eq!(other.log_in(ADA, &password).await.status, 401);
    system.logged_in(ADA, PASSWORD).await;
    eventually("to be told", async || {
        let texts = system.texts_to(ADA).await;
        texts
            .iter()
            .any(|text| text.contains("password was changed"))
            .then_some(())
    })
    .await;
    assert!(
        actions(&renewed)
            .await
            .contains(&"user.password_change".to_owned())
    );
    system.finish().await;
}

async fn a_session_ends_by_itself(world: World) {
    let system = System::start(world).await;
    let password = system.user(&system.account_id, ADA, "owner").await;
    let db = system.db().await;
    for end in [
        "UPDATE session SET expires_at = created_at",
        "UPDATE session SET last_seen_at = '2020-01-01T00:00:00+00:00'",
        "UPDATE \"user\" SET active = FALSE",
    ] {
        let ada = system.logged_in(ADA, &password).await;
        assert_eq!(ada.get("/v1/session").await.status, 200);
        db.execute_unprepared(end).await.unwrap();
        ends(&ada, end).await;
    }
    // Whoever is switched off does not get in again.
    let nobody = system.client.with_session(Session::default());
    assert_eq!(nobody.log_in(ADA, &password).await.status, 401);
    system.finish().await;
}
