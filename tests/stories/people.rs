//! People: how they sign up and come in again, and what they may do.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use entity::one_time_token;
use reqwest::Method;
use schemas::link::{LinkFor, shown_id};
use sea_orm::{ConnectionTrait, EntityTrait};
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
    suite.story(
        "sign_up_can_be_switched_off",
        &[World::Embedded],
        sign_up_can_be_switched_off,
    );
    suite.story(
        "every_role_does_what_it_may",
        &BOTH,
        every_role_does_what_it_may,
    );
    suite.story(
        "a_reset_tells_nobody_who_is_known_and_ends_every_session",
        &BOTH,
        a_reset_tells_nobody,
    );
}

/// Somebody with no cookie and no key.
pub(super) fn nobody(system: &System) -> Client {
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
    let refused = nobody
        .post_to("/v1/sign-ups", json!({ "country": "Belgium" }))
        .await;
    let mut fields = refused.wrong_fields();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "city",
            "country",
            "email",
            "kind",
            "name",
            "postal_code",
            "street"
        ]
    );

    let first = nobody.post_to("/v1/sign-ups", sign_up(BOB)).await;
    assert_eq!(
        (first.status.as_u16(), &first.body),
        (202, &json!({ "status": "mailed" }))
    );
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
    assert_eq!(
        confirm(&token, "too short").await.wrong_fields(),
        ["password"]
    );
    // Twice at once it makes one account.
    let (one, two) = tokio::join!(confirm(&token, PASSWORD), confirm(&token, PASSWORD));
    let (made, other) = match one.status.as_u16() {
        201 => (one, two),
        _ => (two, one),
    };
    assert_eq!(
        (made.status.as_u16(), other.wrong_fields()),
        (201, vec!["token"])
    );
    let account = made.body["account_id"].as_str().unwrap();

    let bob = system.logged_in(BOB, PASSWORD).await;
    let shown = bob.get(&format!("/v1/accounts/{account}")).await;
    let expected = [
        ("name", "Elsewhere Ltd"),
        ("country", "BE"),
        ("email", BOB),
        ("locale", "fr"),
    ];
    for (field, value) in expected {
        assert_eq!(shown.body[field], value, "{field}");
    }
    assert_eq!(shown.body["payment_terms_days"], 14);
    let order = system
        .order_and_deliver(&bob, "bobs", &small_server("web"))
        .await;
    assert_eq!(order["status"], "completed");
    let done = actions(&bob).await;
    for action in ["account.create", "user.create"] {
        assert!(done.contains(&action.to_owned()), "{action} in {done:?}");
    }
    // To sign up again looks the same; the mail alone says what is the case.
    let again = nobody
        .post_to("/v1/sign-ups", sign_up(&BOB.to_uppercase()))
        .await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    eventually("to be told that there is an account", async || {
        let texts = system.texts_to(BOB).await;
        texts
            .iter()
            .any(|text| text.contains("déjà un compte"))
            .then_some(())
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
    let writes = [
        "orders:write",
        "resources:write",
        "invoices:write",
        "account:write",
        "keys:write",
        "tickets:write",
        "users:write",
    ];
    let technical = [
        "orders:read",
        "orders:write",
        "resources:read",
        "resources:write",
        "tickets:read",
        "tickets:write",
    ];
    HashMap::from([
        ("owner", [reads.as_slice(), &writes].concat()),
        (
            "billing",
            vec![
                "invoices:read",
                "invoices:write",
                "account:read",
                "account:write",
            ],
        ),
        ("technical", technical.into()),
        ("read-only", reads),
    ])
}

async fn every_role_does_what_it_may(world: World) {
    let system = System::start(world).await;
    for (role, scopes) in promised() {
        let person = system
            .person(
                &system.account_id,
                &format!("{role}@musterwerk.example"),
                role,
            )
            .await;
        let (mut may, mut may_not) = (0, 0);
        for (method, path, operation) in operations() {
            let mut ways = operation["security"].as_array().into_iter().flatten();
            let Some(scope) = ways.find_map(|way| way["session"][0].as_str()) else {
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
            assert_eq!(
                answer.status != 403,
                expected,
                "{role}: {method} {path}: {}",
                answer.status
            );
            *(if expected { &mut may } else { &mut may_not }) += 1;
        }
        // Nobody of a customer's is the support.
        assert!(may >= 4 && may_not >= 3, "{role}: {may} and {may_not}");
        let shown = person.get("/v1/session").await;
        let mut said: Vec<_> = shown.body["accounts"][0]["scopes"]
            .as_array()
            .unwrap()
            .iter()
            .collect();
        said.sort_by_key(|scope| scope.to_string());
        let mut scopes = scopes;
        scopes.sort_unstable();
        assert_eq!(json!(said), json!(scopes), "{role}");
    }
    system.finish().await;
}

async fn a_reset_tells_nobody(world: World) {
    let system = System::start(world).await;
    let old = system.user(&system.account_id, ADA, "owner").await;
    let ada = system.logged_in(ADA, &old).await;
    let nobody = nobody(&system);
    let reset = async |email: &str| {
        let began = Instant::now();
        let answer = nobody
            .post_to("/v1/password-resets", json!({ "email": email }))
            .await;
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
    assert_eq!(
        complete(&replaced, PASSWORD).await.wrong_fields(),
        ["token"]
    );
    // One that is over: the secret is right, the time is not.
    system.user(&system.account_id, BOB, "billing").await;
    reset(BOB).await;
    let late = system.link(BOB, "reset-password", 0).await;
    let (db, links) = (system.db().await, system.links().await);
    let id = shown_id(&late).unwrap();
    let row = async || {
        let found = one_time_token::Entity::find_by_id(id).one(&db).await;
        found.unwrap().unwrap()
    };
    assert_eq!(
        links.token(LinkFor::Token, id, row().await.expires_at),
        late
    );
    let id_of_late = literal(&db, id);
    let end = format!("UPDATE one_time_token SET expires_at = created_at WHERE id = {id_of_late}");
    db.execute_unprepared(&end).await.unwrap();
    let late = links.token(LinkFor::Token, id, row().await.expires_at);
    assert_eq!(complete(&late, PASSWORD).await.wrong_fields(), ["token"]);
    // A link is good for what it was made for.
    let body = json!({ "token": token, "password": PASSWORD });
    let elsewhere = nobody.post_to("/v1/confirmations", body).await;
    assert_eq!(elsewhere.wrong_fields(), ["token"]);
    let done = complete(&token, PASSWORD).await;
    assert_eq!(done.status, 204, "{done:?}");
    assert_eq!(
        complete(&token, "another one of mine").await.wrong_fields(),
        ["token"]
    );
    within(Duration::from_secs(5), "every session to end", async || {
        (ada.get("/v1/session").await.status == 401).then_some(())
    })
    .await;
    assert_eq!(nobody.log_in(ADA, &old).await.status, 401);
    let ada = system.logged_in(ADA, PASSWORD).await;
    eventually("to be told", async || {
        let texts = system.texts_to(ADA).await;
        texts
            .iter()
            .any(|text| text.contains("password was changed"))
            .then_some(())
    })
    .await;
    let done = actions(&ada).await;
    for action in ["user.password_reset_request", "user.password_reset"] {
        assert!(done.contains(&action.to_owned()), "{action} in {done:?}");
    }
    for mail in system.mail.accepted().await {
        assert!(
            mail.to.iter().all(|to| !to.starts_with("nobody")),
            "{mail:?}"
        );
    }
    system.finish().await;
}
