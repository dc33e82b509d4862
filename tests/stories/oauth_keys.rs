//! The keys that sign access tokens.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::database::texts;
use crate::support::jwt;
use crate::support::oidc::Oidc;
use crate::support::process::{Process, try_flow};
use crate::support::suite::{Need, Suite};
use crate::support::system::{BOTH, PARTS, Setup, System, World};
use crate::support::wait::{eventually, within};

use super::oauth::create;

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "signing_keys_are_rotated_without_a_gap",
        &BOTH,
        signing_keys_are_rotated_without_a_gap,
    );
    suite.story(
        "a_withdrawn_key_takes_its_tokens_with_it",
        &BOTH,
        a_withdrawn_key_takes_its_tokens_with_it,
    );
    suite.story_needing(
        "a_token_is_what_another_library_expects",
        (&[World::Embedded], &[Need::Oidc]),
        a_token_is_what_another_library_expects,
    );
    suite.story("a_token_expires", &BOTH, a_token_expires);
    suite.story(
        "a_token_of_one_ingress_works_at_another",
        &[World::Distributed],
        a_token_of_one_ingress_works_at_another,
    );
}

fn short_lived(seconds: &str) -> Setup {
    Setup {
        environment: vec![("ACCESS_TOKEN_SECONDS".to_owned(), seconds.to_owned())],
        ..Setup::default()
    }
}

/// A client of the account that may read orders.
pub(super) async fn shop(system: &System) -> (String, String) {
    let wanted = json!({ "name": "Shop", "scopes": ["orders:read"] });
    create(&system.client, &wanted).await
}

pub(super) async fn published(client: &Client) -> Vec<String> {
    let set = client.with_key("").get("/.well-known/jwks.json").await;
    assert_eq!(set.header("cache-control"), "public, max-age=300");
    let keys = set.body["keys"].as_array().unwrap();
    let kid = |key: &Value| key["kid"].as_str().unwrap().to_owned();
    keys.iter().map(kid).collect()
}

pub(super) fn kid(token: &str) -> String {
    jwt::read(token).0["kid"].as_str().unwrap().to_owned()
}

async fn signing_keys_are_rotated_without_a_gap(world: World) {
    // Tokens outlive neither the story nor the time for which a key is published.
    let system = System::start_with(world, short_lived("5")).await;
    let client = &system.client;
    let (id, secret) = shop(&system).await;
    let token = async || client.token((&id, &secret), "").await;
    let first = kid(&token().await);
    assert_eq!(published(client).await, [&*first]);
    let rotate = ["signing-key", "rotate", "--publish-for", "5"];
    system.flow(&rotate).await;
    let again = try_flow(system.folder(), &rotate, system.environment()).await;
    assert!(again.unwrap_err().contains("is published already"));

    // The new key is published while the old one signs; then it signs, and what the old one has signed
    // works on; and at last the old one is gone.
    let mut old_token = String::new();
    let mut seen_before = false;
    let second = eventually("the new key to sign", async || {
        let keys = published(client).await;
        let token = token().await;
        assert!(keys.contains(&kid(&token)) || keys.len() == 1, "{keys:?}");
        let signed_with = kid(&token);
        if signed_with == first {
            seen_before |= keys.len() == 2;
            old_token = token;
            return None;
        }
        Some(signed_with)
    })
    .await;
    assert!(
        seen_before,
        "the new key was not published before it signed"
    );
    let old = client.with_key(&old_token);
    assert_eq!(old.get("/v1/orders").await.status, 200);
    assert_eq!(published(client).await, [&*second, &*first]);
    let new = client.with_key(&token().await);
    assert_eq!(new.get("/v1/orders").await.status, 200);
    eventually("the old key to be gone", async || {
        (published(client).await == [&*second]).then_some(())
    })
    .await;
    assert_eq!(old.get("/v1/orders").await.status, 401);
    let listed = system.flow(&["signing-key", "list"]).await;
    assert!(
        listed.contains(&first) && listed.contains(&second),
        "{listed}"
    );
    let actions = "SELECT action FROM audit_entry WHERE action LIKE 'signing_key%'";
    let actions = texts(&system.db().await, actions).await;
    assert_eq!(actions, ["signing_key.rotate"]);
    system.finish().await;
}

async fn a_withdrawn_key_takes_its_tokens_with_it(world: World) {
    let system = System::start(world).await;
    let client = &system.client;
    let (id, secret) = shop(&system).await;
    // The one that signs; and then one that does, while another waits to follow it.
    for successors in [0, 1] {
        let token = client.token((&id, &secret), "").await;
        let stolen = client.with_key(&token);
        assert_eq!(stolen.get("/v1/orders").await.status, 200);
        for _ in 0..successors {
            system.flow(&["signing-key", "rotate"]).await;
        }
        let withdraw = ["signing-key", "withdraw", &kid(&token)];
        system.flow(&withdraw).await;
        within(Duration::from_secs(5), "the token to stop", async || {
            (stolen.get("/v1/orders").await.status == 401).then_some(())
        })
        .await;
        let next = client.token((&id, &secret), "").await;
        assert_ne!(kid(&next), kid(&token));
        assert_eq!(published(client).await, [kid(&next)]);
        let next = client.with_key(&next);
        assert_eq!(next.get("/v1/orders").await.status, 200);
    }
    let nothing = ["signing-key", "withdraw", "nothing"];
    let refused = try_flow(system.folder(), &nothing, system.environment()).await;
    assert!(refused.unwrap_err().contains("there is no key"));
    system.finish().await;
}

async fn a_token_is_what_another_library_expects(world: World) {
    let system = System::start(world).await;
    let (id, secret) = shop(&system).await;
    let token = system.client.token((&id, &secret), "").await;
    let oidc = Oidc::start(system.folder()).await;
    let metadata = format!(
        "{}/.well-known/oauth-authorization-server",
        system.client.base()
    );
    let judge = json!({ "metadata": metadata, "token": token });
    let claims = oidc.control("judge", &judge).await;
    assert_eq!(claims, jwt::read(&token).1);
    system.finish().await;
}

async fn a_token_expires(world: World) {
    let system = System::start_with(world, short_lived("2")).await;
    let (id, secret) = shop(&system).await;
    let token = system.client.token((&id, &secret), "").await;
    let shop = system.client.with_key(&token);
    assert_eq!(shop.get("/v1/orders").await.status, 200);
    let late = eventually("the token to expire", async || {
        let answer = shop.get("/v1/orders").await;
        (answer.status == 401).then_some(answer)
    })
    .await;
    let detail = late.body["detail"].as_str().unwrap();
    assert!(detail.contains("has expired"), "{detail}");
    // One that this process has never seen is as late.
    let unseen = system.client.token((&id, &secret), "").await;
    let (_, claims) = jwt::read(&unseen);
    let end = claims["exp"].as_i64().unwrap();
    eventually("its time to pass", async || {
        (chrono::Utc::now().timestamp() > end).then_some(())
    })
    .await;
    let late = system.client.with_key(&unseen).get("/v1/orders").await;
    assert_eq!(
        (late.problem(), &late.body["detail"]),
        ("unauthorized", &json!(detail))
    );
    system.finish().await;
}

async fn a_token_of_one_ingress_works_at_another(world: World) {
    let environment = vec![(
        "PUBLIC_URL".to_owned(),
        "https://api.example.com/".to_owned(),
    )];
    let setup = Setup {
        environment,
        ..Setup::default()
    };
    let system = System::start_with(world, setup).await;
    let (_, arguments) = PARTS.iter().find(|(name, _)| *name == "ingress").unwrap();
    let folder = system.folder();
    let mut second = Process::start("ingress-2", folder, arguments, system.environment());
    let base = second.address("listening on http://").await;
    let two = Client::new(&format!("http://{base}"), "");
    // Both make the first key, and it is one.
    let (id, secret) = shop(&system).await;
    let (here, there) = tokio::join!(
        system.client.token((&id, &secret), ""),
        two.token((&id, &secret), "")
    );
    assert_eq!(kid(&here), kid(&there));
    assert_eq!(jwt::read(&here).1["iss"], "https://api.example.com");
    for (client, token) in [(&two, &here), (&system.client, &there)] {
        let answer = client.with_key(token).get("/v1/orders").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    second.terminate().await;
    system.finish().await;
}
