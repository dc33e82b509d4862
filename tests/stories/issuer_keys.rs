//! The keys of issuers of others: asked for rarely, rotated, and kept while their issuer is away.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::support::canary::Canary;
use crate::support::process::Process;
use crate::support::suite::Suite;
use crate::support::system::{BOTH, System, World};
use crate::support::wait::{eventually, within};

use super::foreign_issuer::{NEEDS, allow, ask, start};

pub(crate) fn register(suite: &mut Suite) {
    let both = (&BOTH[..], NEEDS);
    suite.story_needing(
        "tokens_with_unknown_keys_do_not_make_anybody_ask_the_issuer",
        both,
        unknown_keys_are_not_asked_for,
    );
    suite.story_needing(
        "a_foreign_issuer_rotates_its_keys",
        both,
        a_foreign_issuer_rotates_its_keys,
    );
    suite.story_needing(
        "known_keys_count_while_their_issuer_is_away_or_slow",
        both,
        known_keys_count_while_their_issuer_is_away,
    );
    suite.story_needing(
        "keys_from_anywhere_but_the_issuer_do_not_count",
        (&[World::Embedded], NEEDS),
        keys_from_anywhere_else_do_not_count,
    );
}

async fn unknown_keys_are_not_asked_for(world: World) {
    let (system, oidc) = start(world, None).await;
    allow(&system, &oidc, ("shop", &system.account_id)).await;
    // Many come at once when nothing is known yet: one of them asks.
    let good = oidc.token("shop", "orders:read").await;
    let first = (0..20).map(|number| ask(&system.client, &good, number));
    for answer in join_all(first).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(oidc.asked().await, 1);
    let unknown = oidc.sign(&json!({ "header": { "kid": "KID" } })).await;
    let (header, rest) = unknown.split_once('.').unwrap();
    let header = data_encoding::BASE64URL_NOPAD
        .decode(header.as_bytes())
        .unwrap();
    let header = String::from_utf8(header).unwrap();
    let flood = async |number: usize| {
        let header = header.replace("KID", &format!("unknown-{number}"));
        let header = data_encoding::BASE64URL_NOPAD.encode(header.as_bytes());
        ask(&system.client, &format!("{header}.{rest}"), number).await
    };
    for batch in 0..20 {
        let answers = (0..50).map(|number| flood(batch * 50 + number));
        for answer in join_all(answers).await {
            assert_eq!(answer.status, 401, "{answer:?}");
        }
    }
    let asked = oidc.asked().await;
    assert!(asked <= 2, "1000 tokens made us ask {asked} times");
    assert_eq!(ask(&system.client, &good, 0).await.status, 200);
    system.finish().await;
}

async fn a_foreign_issuer_rotates_its_keys(world: World) {
    let (system, oidc) = start(world, Some(["2", "1", "600"])).await;
    allow(&system, &oidc, ("shop", &system.account_id)).await;
    let client = &system.client;
    let works = async |token: &str| ask(client, token, 0).await.status == 200;
    let old = oidc.token("shop", "orders:read").await;
    assert!(works(&old).await);
    oidc.control("rotate", &json!({})).await;
    let new = oidc.token("shop", "orders:read").await;
    within(
        Duration::from_secs(60),
        "the new key to count",
        async || works(&new).await.then_some(()),
    )
    .await;
    assert!(works(&old).await, "a token that is not expired works on");
    // A key that the issuer takes back counts no more, even for tokens that were accepted with it.
    oidc.control("remove-old", &json!({})).await;
    eventually("the old key to be gone", async || {
        (!works(&old).await).then_some(())
    })
    .await;
    assert!(works(&new).await);
    system.finish().await;
}

async fn known_keys_count_while_their_issuer_is_away(world: World) {
    let (system, oidc) = start(world, Some(["1", "1", "12"])).await;
    allow(&system, &oidc, ("shop", &system.account_id)).await;
    let client = &system.client;
    let (none, known) = (json!({}), oidc.token("shop", "orders:read").await);
    let unseen = oidc.token("shop", "orders:read").await;
    // Nothing is known yet, and nobody answers: that is our trouble, and not the caller's.
    oidc.control("away", &none).await;
    let refused = ask(client, &known, 0).await;
    assert_eq!(refused.problem(), "unavailable");
    assert!(!refused.header("retry-after").is_empty());
    oidc.control("back", &none).await;
    eventually("the keys to be known", async || {
        (ask(client, &known, 0).await.status == 200).then_some(())
    })
    .await;

    // Away: what is known counts, for tokens too that nobody has seen yet, and then no more.
    oidc.control("away", &none).await;
    let failed = |system: &System| {
        let said = |(_, process): &(&str, Process)| {
            process.output().matches("cannot fetch the keys").count()
        };
        system.processes.iter().map(said).sum::<usize>()
    };
    let before = failed(&system);
    eventually("it to be asked in vain", async || {
        assert_eq!(ask(client, &known, 0).await.status, 200);
        (failed(&system) > before).then_some(())
    })
    .await;
    assert_eq!(ask(client, &unseen, 0).await.status, 200);
    eventually("the keys to be too old", async || {
        let answer = ask(client, &known, 0).await;
        assert!([200, 503].contains(&answer.status.as_u16()), "{answer:?}");
        (answer.status == 503).then_some(())
    })
    .await;
    oidc.control("back", &none).await;
    eventually("the keys to be known again", async || {
        (ask(client, &known, 0).await.status == 200).then_some(())
    })
    .await;

    // Slow: whose key is known does not wait, while somebody asks.
    let asked = oidc.control("requests", &none).await;
    oidc.fault("silent", "").await;
    eventually("it to be asked", async || {
        let began = Instant::now();
        assert_eq!(ask(client, &known, 0).await.status, 200);
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
        let again = oidc.control("requests", &none).await;
        (again["discovery"] != asked["discovery"]).then_some(())
    })
    .await;
    let began = Instant::now();
    assert_eq!(ask(client, &unseen, 0).await.status, 200);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    let unknown = oidc.sign(&json!({ "header": { "kid": "unknown" } })).await;
    let answer = ask(client, &unknown, 1).await;
    assert!([401, 503].contains(&answer.status.as_u16()), "{answer:?}");
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    system.finish().await;
}

async fn keys_from_anywhere_else_do_not_count(world: World) {
    let (system, oidc) = start(world, Some(["0", "0", "1"])).await;
    allow(&system, &oidc, ("shop", &system.account_id)).await;
    let canary = Canary::start().await;
    let at_canary = format!("http://{}/keys", canary.address);
    let token = oidc.token("shop", "orders:read").await;
    let becomes = async |status: u16, what: &str| {
        eventually(&format!("{status} with {what}"), async || {
            let answer = ask(&system.client, &token, 0).await;
            (answer.status == status).then_some(())
        })
        .await;
    };
    becomes(200, "nothing wrong").await;
    for (kind, to) in [
        ("redirect", at_canary.as_str()),
        ("impostor", ""),
        ("elsewhere", "http://192.0.2.1/keys"),
        ("elsewhere", "http://idp.example/keys"),
        ("elsewhere", "file:///etc/passwd"),
        ("elsewhere", "https://user:password@127.0.0.1/keys"),
        ("endless", ""),
    ] {
        oidc.fault(kind, to).await;
        becomes(503, kind).await;
        oidc.fault("none", "").await;
        becomes(200, "nothing wrong").await;
    }
    assert_eq!(canary.visits().await, Vec::<String>::new());
    system.finish().await;
}
