//! API keys: shown once, hashed, scoped, expiring, revoked within seconds; and other accounts.

use std::time::Duration;

use crate::support::client::{read, small_server};
use crate::support::database::texts;
use crate::support::suite::Suite;
use crate::support::system::{BOTH, System, World};
use crate::support::wait::{eventually, within};

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "wrong_revoked_and_expired_keys_are_401",
        &BOTH,
        wrong_revoked_and_expired_keys_are_401,
    );
    suite.story(
        "a_key_does_what_its_scopes_say",
        &BOTH,
        a_key_does_what_its_scopes_say,
    );
    suite.story("secrets_are_not_stored", &BOTH, secrets_are_not_stored);
}

async fn wrong_revoked_and_expired_keys_are_401(world: World) {
    let system = System::start(world).await;
    let good = system.client.key().to_owned();
    let (start, _) = good.rsplit_once('_').unwrap();
    let other_secret = format!("{start}_{}", "0".repeat(64));
    for key in [
        "",
        "cf",
        "cf_",
        "cf__",
        "nonsense",
        "cf_0000000000000000_1234",
        &other_secret,
        good.get(..good.len() - 1).unwrap(),
    ] {
        let answer = system.client.with_key(key).get("/v1/orders").await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem()),
            (401, "unauthorized"),
            "{key:?}"
        );
        assert!(
            answer.header("www-authenticate").starts_with("Bearer"),
            "{answer:?}"
        );
    }
    let http = reqwest::Method::GET;
    let without = system.client.request(http, "/v1/orders").build().unwrap();
    let mut without = without;
    without.headers_mut().remove("authorization");
    #[expect(clippy::disallowed_methods, reason = "a client without a key")]
    let answer = read(reqwest::Client::new().execute(without).await.unwrap()).await;
    assert_eq!(answer.status, 401);

    let key = system
        .flow(&[
            "key",
            "create",
            "--account",
            &system.account_id,
            "--expires-in",
            "2",
        ])
        .await;
    let expiring = system.client.with_key(key.trim());
    assert_eq!(expiring.get("/v1/orders").await.status, 200);
    eventually("the key to expire", async || {
        (expiring.get("/v1/orders").await.status == 401).then_some(())
    })
    .await;

    let key = system
        .flow(&["key", "create", "--account", &system.account_id])
        .await;
    let revoked = system.client.with_key(key.trim());
    assert_eq!(revoked.get("/v1/orders").await.status, 200);
    system.flow(&["key", "revoke", key.trim()]).await;
    within(
        Duration::from_secs(5),
        "the key to be revoked",
        async || (revoked.get("/v1/orders").await.status == 401).then_some(()),
    )
    .await;
    let listed = system
        .flow(&["key", "list", "--account", &system.account_id])
        .await;
    assert!(!listed.contains(key.trim()), "a list shows no secrets");
    assert_eq!(
        system.client.get("/v1/orders").await.status,
        200,
        "other keys go on"
    );
    system.finish().await;
}

async fn a_key_does_what_its_scopes_say(world: World) {
    let system = System::start(world).await;
    let arguments = [
        "key",
        "create",
        "--account",
        &system.account_id,
        "--scopes",
        "orders:read,invoices:read",
    ];
    let reader = system.client.with_key(system.flow(&arguments).await.trim());
    assert_eq!(reader.get("/v1/orders").await.status, 200);
    assert_eq!(reader.get("/v1/invoices").await.status, 200);
    assert_eq!(reader.get("/v1/offerings").await.status, 200);
    let refused = reader.get("/v1/resources").await;
    assert_eq!(
        (refused.status.as_u16(), refused.problem()),
        (403, "forbidden")
    );
    assert!(
        refused
            .header("www-authenticate")
            .contains("insufficient_scope")
    );
    let refused = reader.order("k", &small_server("web")).await;
    assert_eq!(refused.status, 403);
    assert!(
        refused.body["detail"]
            .as_str()
            .unwrap()
            .contains("orders:write")
    );
    system.finish().await;
}

async fn secrets_are_not_stored(world: World) {
    let system = System::start(world).await;
    system
        .order_and_deliver(&system.client, "k1", &small_server("web"))
        .await;
    let secret = system.client.key().rsplit('_').next().unwrap().to_owned();
    let rows = texts(
        &system.db().await,
        "SELECT id || name || secret_hash || scopes FROM api_key",
    )
    .await;
    assert!(!rows.is_empty() && rows.iter().all(|row| !row.contains(&secret)));
    for (name, process) in &system.processes {
        let output = process.output();
        // `flow run` prints the key of its first start; here it was created before.
        assert!(!output.contains(&secret), "{name} logs a secret");
        assert!(
            !output.contains("buchhaltung@"),
            "{name} logs a person's address"
        );
        assert!(!output.contains("Musterwerk"), "{name} logs a name");
    }
    system.finish().await;
}
