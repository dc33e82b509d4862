//! OAuth clients and their access tokens (RFC 6749, RFC 6750, RFC 9068).

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::{Client, small_server};
use crate::support::database::texts;
use crate::support::jwt;
use crate::support::suite::Suite;
use crate::support::system::{BOTH, System, World};
use crate::support::wait::{eventually, within};

use super::accounts::audited;

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "a_client_gets_a_token_and_orders_with_it",
        &BOTH,
        a_client_gets_a_token_and_orders_with_it,
    );
    suite.story(
        "a_revoked_client_and_its_tokens_stop",
        &BOTH,
        a_revoked_client_and_its_tokens_stop,
    );
    suite.story(
        "a_client_secret_is_rotated_with_an_overlap",
        &BOTH,
        a_client_secret_is_rotated,
    );
    suite.story(
        "a_client_gives_nobody_more_than_it_has",
        &BOTH,
        a_client_gives_nobody_more_than_it_has,
    );
}

/// Creates a client by the API: its id and its secret.
pub(super) async fn create(client: &Client, body: &Value) -> (String, String) {
    let created = client
        .with_body(Method::POST, "/v1/oauth-clients", body)
        .await;
    assert_eq!(created.status, 201, "{created:?}");
    let own = &created.body["links"]["self"];
    assert_eq!(created.header("location"), own.as_str().unwrap());
    let text = |name: &str| created.body[name].as_str().unwrap().to_owned();
    (text("id"), text("client_secret"))
}

async fn a_client_gets_a_token_and_orders_with_it(world: World) {
    let system = System::start(world).await;
    let owner = &system.client;
    let wanted = json!({ "name": "Shop", "scopes": ["orders:read", "orders:write"] });
    let (id, secret) = create(owner, &wanted).await;
    let basic = Some((&*id, &*secret));
    let grant = ("grant_type", "client_credentials");
    let answer = owner.form("/oauth2/token", &[grant], basic).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.body["token_type"], "Bearer");
    assert_eq!(answer.body["expires_in"], 600);
    assert_eq!(answer.body["scope"], "orders:read orders:write");

    // The token is as RFC 9068 §2 says, and signed with a key that is published.
    let token = answer.body["access_token"].as_str().unwrap();
    let (header, claims) = jwt::read(token);
    assert_eq!(
        (&header["typ"], &header["alg"]),
        (&json!("at+jwt"), &json!("ES256"))
    );
    let keys = owner.with_key("").get("/.well-known/jwks.json").await;
    let keys = keys.body["keys"].as_array().unwrap();
    assert!(
        keys.iter().any(|key| key["kid"] == header["kid"]),
        "{keys:?}"
    );
    assert!(keys.iter().all(|key| key["d"].is_null()), "{keys:?}");
    let metadata = owner
        .with_key("")
        .get("/.well-known/oauth-authorization-server")
        .await;
    assert_eq!(metadata.body["issuer"], claims["iss"]);
    let endpoint = format!("{}/oauth2/token", owner.base());
    assert_eq!(metadata.body["token_endpoint"], endpoint);
    assert_eq!(claims["aud"], claims["iss"]);
    assert_eq!(
        (&claims["sub"], &claims["client_id"]),
        (&json!(id), &json!(id))
    );
    assert_eq!(claims["scope"], "orders:read orders:write");
    let time = |name: &str| claims[name].as_i64().unwrap();
    assert_eq!(time("exp") - time("iat"), 600);
    assert!((Utc::now().timestamp() - time("iat")).abs() < 60);

    // It does what it may, for its account alone.
    let shop = owner.with_key(token);
    let order = system
        .order_and_deliver(&shop, "by-token", &small_server("web"))
        .await;
    let (_, stranger) = system.account("Stranger", &["--country", "DE"]).await;
    let address = order["links"]["self"].as_str().unwrap();
    assert_eq!(stranger.get(address).await.status, 404);
    let theirs = stranger.order("theirs", &small_server("web")).await;
    assert_eq!(shop.get(theirs.header("location")).await.status, 404);
    let refused = shop.get("/v1/invoices").await;
    assert_eq!(refused.problem(), "forbidden");
    let challenge = refused.header("www-authenticate");
    assert!(
        challenge.contains("error=\"insufficient_scope\""),
        "{challenge}"
    );
    assert!(challenge.contains("scope=\"invoices:read\""), "{challenge}");

    // With less if it asks for less; the secret may come in the form too, and each token is another.
    let form = [
        grant,
        ("scope", "orders:read"),
        ("client_id", &id),
        ("client_secret", &secret),
    ];
    let less = owner.form("/oauth2/token", &form, None).await;
    assert_eq!(less.body["scope"], "orders:read");
    let reader = owner.with_key(less.body["access_token"].as_str().unwrap());
    assert_eq!(reader.get("/v1/orders").await.status, 200);
    assert_eq!(reader.order("no", &small_server("web")).await.status, 403);
    let (_, other) = jwt::read(reader.key());
    assert_ne!(other["jti"], claims["jti"]);

    // Who did it is told, and the secret is not.
    let path = format!("/v1/oauth-clients/{id}");
    let used: DateTime<Utc> = eventually("its use to be noted", async || {
        let shown = owner.get(&path).await;
        assert!(!shown.body.to_string().contains(&secret));
        shown.body["last_used_at"]
            .as_str()
            .map(|at| at.parse().unwrap())
    })
    .await;
    assert!(Utc::now() - used < TimeDelta::minutes(1));
    let trail = audited(&system, &id).await;
    assert_eq!(trail[0][0], "oauth_client.create");
    assert_eq!(trail[0][3]["name"], "Shop");
    assert!(!format!("{trail:?}").contains(&secret));
    let rows = "SELECT secret_hash || name || scopes FROM oauth_client";
    let rows = texts(&system.db().await, rows).await;
    assert!(!rows.concat().contains(&secret));
    system.finish().await;
}

async fn a_revoked_client_and_its_tokens_stop(world: World) {
    let system = System::start(world).await;
    let owner = &system.client;
    let body = |name: &str| json!({ "name": name, "scopes": ["orders:read"] });
    let refused_at_the_endpoint = async |id: &str, secret: &str| {
        let form = [("grant_type", "client_credentials")];
        let answer = owner.form("/oauth2/token", &form, Some((id, secret))).await;
        (answer.body["error"] == "invalid_client").then_some(())
    };
    // By the API, and on the command line.
    for by_api in [true, false] {
        let (id, secret) = create(owner, &body("Shop")).await;
        let shop = owner.with_key(&owner.token((&id, &secret), "").await);
        assert_eq!(shop.get("/v1/orders").await.status, 200);
        if by_api {
            let path = format!("/v1/oauth-clients/{id}");
            for _ in 0..2 {
                let revoked = owner.send(owner.request(Method::DELETE, &path)).await;
                assert_eq!(revoked.status, 204);
            }
        } else {
            system.flow(&["oauth-client", "revoke", &id]).await;
        }
        let what = "the token and the client to stop";
        within(Duration::from_secs(5), what, async || {
            refused_at_the_endpoint(&id, &secret).await?;
            let refused = shop.get("/v1/orders").await;
            (refused.status == 401).then_some(refused)
        })
        .await;
        let refused = shop.get("/v1/orders").await;
        let challenge = refused.header("www-authenticate");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    }
    // One that ends by itself takes its tokens with it.
    let account = &system.account_id;
    let create = [
        "oauth-client",
        "create",
        "--account",
        account,
        "--scopes",
        "orders:read",
    ];
    let printed = system
        .flow(&[&create[..], &["--expires-in", "3"]].concat())
        .await;
    let (id, secret) = credentials(&printed);
    let expiring = owner.with_key(&owner.token((&id, &secret), "").await);
    assert_eq!(expiring.get("/v1/orders").await.status, 200);
    eventually("the client to expire", async || {
        (expiring.get("/v1/orders").await.status == 401).then_some(())
    })
    .await;
    eventually("the client to get no more tokens", async || {
        refused_at_the_endpoint(&id, &secret).await
    })
    .await;
    // From elsewhere there is no token; and one that was issued does not work.
    let printed = system
        .flow(&[&create[..], &["--networks", "192.0.2.0/24"]].concat())
        .await;
    let (id, secret) = credentials(&printed);
    refused_at_the_endpoint(&id, &secret).await.unwrap();
    let listed = system
        .flow(&["oauth-client", "list", "--account", account])
        .await;
    assert!(
        listed.contains(&id) && !listed.contains(&secret),
        "{listed}"
    );
    system.finish().await;
}

/// The id and the secret that the command line prints.
pub(super) fn credentials(printed: &str) -> (String, String) {
    let word = |line: &str| line.split_whitespace().last().unwrap().to_owned();
    let mut words = printed.lines().map(word);
    (words.next().unwrap(), words.next().unwrap())
}

async fn a_client_secret_is_rotated(world: World) {
    let system = System::start(world).await;
    let owner = &system.client;
    let (id, first) = create(owner, &json!({ "name": "Shop", "scopes": ["orders:read"] })).await;
    let before = owner.token((&id, &first), "").await;
    let rotations = format!("/v1/oauth-clients/{id}/rotations");
    let rotate = async |seconds: u32| {
        let overlap = json!({ "overlap_seconds": seconds });
        let rotated = owner.with_body(Method::POST, &rotations, &overlap).await;
        assert_eq!(rotated.status, 201, "{rotated:?}");
        assert_eq!(rotated.body["id"], id.as_str());
        rotated.body["client_secret"].as_str().unwrap().to_owned()
    };
    let grant = [("grant_type", "client_credentials")];
    let works = async |secret: &str| {
        let answer = owner
            .form("/oauth2/token", &grant, Some((&id, secret)))
            .await;
        answer.status == 200
    };
    let second = rotate(3).await;
    assert!(works(&first).await && works(&second).await);
    eventually("the old secret to stop", async || {
        (!works(&first).await).then_some(())
    })
    .await;
    assert!(works(&second).await);
    // Tokens are of the client and not of its secret.
    let shop = owner.with_key(&before);
    assert_eq!(shop.get("/v1/orders").await.status, 200);
    // Of three secrets the oldest stops at once, and without an overlap the old one.
    let third = rotate(3600).await;
    let fourth = rotate(0).await;
    assert!(works(&fourth).await);
    assert!(!works(&third).await && !works(&second).await && !works(&first).await);
    let wrong = json!({ "overlap_seconds": -1 });
    let refused = owner.with_body(Method::POST, &rotations, &wrong).await;
    assert_eq!(refused.wrong_fields(), ["overlap_seconds"]);
    system.flow(&["oauth-client", "revoke", &id]).await;
    let refused = owner.with_body(Method::POST, &rotations, &json!({})).await;
    assert_eq!(refused.problem(), "conflict");
    let trail = audited(&system, &id).await;
    let actions: Vec<_> = trail
        .iter()
        .map(|entry| entry[0].as_str().unwrap())
        .collect();
    let rotated = "oauth_client.rotate";
    let expected = [
        "oauth_client.create",
        rotated,
        rotated,
        rotated,
        "oauth_client.revoke",
    ];
    assert_eq!(actions, expected);
    system.finish().await;
}

async fn a_client_gives_nobody_more_than_it_has(world: World) {
    let system = System::start(world).await;
    let owner = &system.client;
    let rich = json!({ "name": "Rich", "scopes": ["orders:read", "orders:write"] });
    let (rich, _) = create(owner, &rich).await;
    let in_an_hour = Utc::now() + TimeDelta::hours(1);
    let admin = json!({
        "name": "Admin",
        "scopes": ["keys:read", "keys:write"],
        "networks": ["127.0.0.0/8"],
        "expires_at": in_an_hour,
    });
    let key = owner.with_body(Method::POST, "/v1/api-keys", &admin).await;
    let key = owner.with_key(key.body["key"].as_str().unwrap());
    // Neither more scopes, nor for longer, nor from elsewhere: by an API key…
    let more = json!({
        "name": "More",
        "scopes": ["keys:read", "orders:write"],
        "networks": ["127.0.0.1", "192.0.2.0/24"],
        "expires_at": in_an_hour + TimeDelta::hours(1),
    });
    let refused = key
        .with_body(Method::POST, "/v1/oauth-clients", &more)
        .await;
    assert_eq!(
        refused.wrong_fields(),
        ["scopes[1]", "networks[1]", "expires_at"]
    );
    let rotations = format!("/v1/oauth-clients/{rich}/rotations");
    let refused = key.with_body(Method::POST, &rotations, &json!({})).await;
    assert_eq!(refused.problem(), "forbidden");
    let less = json!({ "name": "Less", "scopes": ["keys:read", "keys:write"] });
    let (id, secret) = create(&key, &less).await;
    let shown = owner.get(&format!("/v1/oauth-clients/{id}")).await.body;
    assert_eq!(shown["networks"], json!(["127.0.0.0/8"]));
    let end: DateTime<Utc> = shown["expires_at"].as_str().unwrap().parse().unwrap();
    assert!((end - in_an_hour).abs() < TimeDelta::seconds(1));
    // … and by a token: what it makes ends with it.
    let token = owner.token((&id, &secret), "").await;
    let (_, claims) = jwt::read(&token);
    let child = json!({ "name": "Child", "scopes": ["keys:read"] });
    for path in ["/v1/api-keys", "/v1/oauth-clients"] {
        let made = owner
            .with_key(&token)
            .with_body(Method::POST, path, &child)
            .await;
        assert_eq!(made.status, 201, "{made:?}");
        let end: DateTime<Utc> = made.body["expires_at"].as_str().unwrap().parse().unwrap();
        assert_eq!(json!(end.timestamp()), claims["exp"]);
        let actor = format!("oauth_client {id}");
        assert_eq!(made.body["created_by"], actor);
        let trail = audited(&system, made.body["id"].as_str().unwrap()).await;
        assert_eq!(trail[0][1], actor);
    }
    let refused = json!({ "name": "x", "scopes": [], "expires_at": "2020-01-01T00:00:00Z" });
    let refused = owner
        .with_body(Method::POST, "/v1/oauth-clients", &refused)
        .await;
    assert_eq!(refused.wrong_fields(), ["scopes", "expires_at"]);
    system.finish().await;
}
