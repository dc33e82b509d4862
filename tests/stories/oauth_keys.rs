//! The keys that sign access tokens, and tokens that they have not signed.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use data_encoding::BASE64URL_NOPAD;
use reqwest::Method;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::support::canary::Canary;
use crate::support::client::Client;
use crate::support::database::texts;
use crate::support::jwt;
use crate::support::oidc::Oidc;
use crate::support::process::{Process, try_flow};
use crate::support::suite::{Need, Suite};
use crate::support::system::{BOTH, PARTS, Setup, System, World};
use crate::support::wait::eventually;

use super::oauth::create;

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "signing_keys_are_rotated_without_a_gap",
        &BOTH,
        signing_keys_are_rotated_without_a_gap,
    );
    suite.story(
        "tokens_that_were_not_issued_here_are_refused",
        &BOTH,
        tokens_that_were_not_issued_here_are_refused,
    );
    suite.story_needing(
        "a_token_is_what_another_library_expects",
        (&[World::Embedded], &[Need::Oidc]),
        a_token_is_what_another_library_expects,
    );
    suite.story("a_token_expires", &BOTH, a_token_expires);
    suite.story(
        "whoever_has_the_database_alone_signs_no_token",
        &BOTH,
        whoever_has_the_database_alone_signs_no_token,
    );
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
async fn shop(system: &System) -> (String, String) {
    let wanted = json!({ "name": "Shop", "scopes": ["orders:read"] });
    create(&system.client, &wanted).await
}

async fn published(client: &Client) -> Vec<String> {
    let set = client.with_key("").get("/.well-known/jwks.json").await;
    assert_eq!(set.header("cache-control"), "public, max-age=300");
    let keys = set.body["keys"].as_array().unwrap();
    let kid = |key: &Value| key["kid"].as_str().unwrap().to_owned();
    keys.iter().map(kid).collect()
}

fn kid(token: &str) -> String {
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

/// A key of nobody's, and its public part as a JWK under an id.
fn foreign_key(kid: &str) -> (EcdsaKeyPair, Value) {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = pair.public_key().as_ref().to_vec();
    let part = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let jwk = json!({
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid,
        "x": part(&point[1..33]), "y": part(&point[33..]),
    });
    (pair, jwk)
}

fn es256(pair: &EcdsaKeyPair) -> impl Fn(&[u8]) -> Vec<u8> {
    |text| {
        let signature = pair.sign(&SystemRandom::new(), text).unwrap();
        signature.as_ref().to_vec()
    }
}

fn with(value: &Value, name: &str, to: &Value) -> Value {
    let mut value = value.clone();
    value[name] = to.clone();
    value
}

async fn tokens_that_were_not_issued_here_are_refused(world: World) {
    // Wrong ones are sent from many addresses, so that none is barred.
    let setup = Setup {
        environment: vec![("TRUSTED_PROXIES".to_owned(), "127.0.0.0/8".to_owned())],
        ..Setup::default()
    };
    let system = System::start_with(world, setup).await;
    let (id, secret) = shop(&system).await;
    let good = system.client.token((&id, &secret), "").await;
    let (header, claims) = jwt::read(&good);
    let signature = good.rsplit('.').next().unwrap();
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    let same = |_: &[u8]| signature.clone();
    let nothing = |_: &[u8]| Vec::new();
    let keys = system.client.get("/.well-known/jwks.json").await.body;
    let key = &keys["keys"][0];
    let point = |name: &str| BASE64URL_NOPAD.decode(key[name].as_str().unwrap().as_bytes());
    let point = [vec![4], point("x").unwrap(), point("y").unwrap()].concat();
    let canary = Canary::start().await;
    let at_canary = json!(format!("http://{}/keys", canary.address));
    let (theirs, jwk) = foreign_key(header["kid"].as_str().unwrap());
    let (_, unknown) = foreign_key("unknown");
    let of = |name: &str, value: Value| with(&header, name, &value);
    let changed = |name: &str, value: Value| jwt::make(&header, &with(&claims, name, &value), same);
    let in_an_hour = json!(claims["exp"].as_i64().unwrap() + 3600);
    let mut none = header.clone();
    none.as_object_mut().unwrap().remove("kid");
    for (what, token) in [
        ("another signature", jwt::with_wrong_signature(&good)),
        (
            "another scope",
            changed("scope", json!("orders:read orders:write")),
        ),
        (
            "another client",
            changed("client_id", json!(uuid::Uuid::now_v7())),
        ),
        ("a later end", changed("exp", in_an_hour)),
        ("no signature", jwt::make(&header, &claims, nothing)),
        (
            "none",
            jwt::make(&of("alg", json!("none")), &claims, nothing),
        ),
        (
            "None",
            jwt::make(&of("alg", json!("None")), &claims, nothing),
        ),
        (
            "no algorithm",
            jwt::make(&of("alg", Value::Null), &claims, same),
        ),
        (
            "the public key as a secret",
            jwt::make(&of("alg", json!("HS256")), &claims, jwt::hs256(&point)),
        ),
        (
            "the JWK as a secret",
            jwt::make(
                &of("alg", json!("HS256")),
                &claims,
                jwt::hs256(key.to_string().as_bytes()),
            ),
        ),
        (
            "a key of theirs",
            jwt::make(&header, &claims, es256(&theirs)),
        ),
        (
            "a key of theirs in the header",
            jwt::make(&of("jwk", jwk.clone()), &claims, es256(&theirs)),
        ),
        (
            "a key elsewhere",
            jwt::make(&of("jku", at_canary.clone()), &claims, es256(&theirs)),
        ),
        (
            "a certificate elsewhere",
            jwt::make(&of("x5u", at_canary.clone()), &claims, es256(&theirs)),
        ),
        (
            "a certificate of theirs",
            jwt::make(&of("x5c", json!(["MIIB"])), &claims, es256(&theirs)),
        ),
        (
            "an unknown key",
            jwt::make(&of("kid", unknown["kid"].clone()), &claims, same),
        ),
        ("no key", jwt::make(&none, &claims, same)),
        (
            "a path as a key",
            jwt::make(&of("kid", json!("../../etc/passwd")), &claims, same),
        ),
        (
            "another type",
            jwt::make(&of("typ", json!("JWT")), &claims, same),
        ),
        (
            "something critical",
            jwt::make(&of("crit", json!(["exp"])), &claims, same),
        ),
        ("no JSON", "bm90.bm90.bm90".to_owned()),
        ("dots", "..".to_owned()),
        ("nothing of base64", "ä.ö.ü".to_owned()),
        (
            "half of it",
            format!("{}.", good.rsplit_once('.').unwrap().0),
        ),
        ("twice the dots", format!("{good}.{good}")),
        ("something before it", format!("cf_{good}")),
        (
            "a long one",
            format!("{}.{}.{}", "a".repeat(9000), "b".repeat(9000), "c"),
        ),
    ] {
        let request = system
            .client
            .with_key(&token)
            .request(Method::GET, "/v1/orders");
        let from = format!("192.0.2.{}", token.len() % 250);
        let request = request.header("x-forwarded-for", from);
        let refused = system.client.send(request).await;
        assert_eq!(refused.problem(), "unauthorized", "{what}");
        let challenge = refused.header("www-authenticate");
        assert!(
            challenge.contains("error=\"invalid_token\""),
            "{what}: {challenge}"
        );
        assert!(!refused.body.to_string().contains(&token), "{what}");
    }
    // A megabyte of a token is no header any more.
    let huge = system.client.with_key(&"a".repeat(1_000_000));
    let huge = huge.request(Method::GET, "/v1/orders").send().await;
    assert_eq!(huge.unwrap().status(), 431);
    assert_eq!(canary.visits().await, Vec::<String>::new());
    // None of them was refused for anything else: the right one works.
    let right = system.client.with_key(&good).get("/v1/orders").await;
    assert_eq!(right.status, 200);
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

async fn whoever_has_the_database_alone_signs_no_token(world: World) {
    let mut system = System::start(world).await;
    let (id, secret) = shop(&system).await;
    let good = system.client.token((&id, &secret), "").await;
    let (header, claims) = jwt::read(&good);
    let db = system.db().await;
    // The private key is not to be read: neither as it is nor its number in the JWK of the public one.
    let rows = texts(
        &db,
        "SELECT private_key || ' ' || public_key FROM signing_key",
    )
    .await;
    let [row] = rows.as_slice() else {
        panic!("{rows:?}");
    };
    let (sealed, open) = row.split_once(' ').unwrap();
    let sealed = data_encoding::BASE64.decode(sealed.as_bytes()).unwrap();
    assert!(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &sealed[12..]).is_err());
    assert!(!open.contains("\"d\""), "{open}");

    // A key that somebody slips in is no key: nor in place of another, nor beside it.
    let (theirs, jwk) = foreign_key("theirs");
    let copy = format!(
        "INSERT INTO signing_key (id, generation, algorithm, public_key, private_key, active_from, created_at)
         SELECT 'theirs', 2, algorithm, '{jwk}', private_key, active_from, created_at FROM signing_key"
    );
    db.execute_unprepared(&copy).await.unwrap();
    let issuer = "INSERT INTO foreign_issuer (id, audience, algorithms, token_type, client_claim, seal, created_at)
         SELECT 'https://idp.example', 'x', 'ES256', 'at+jwt', 'sub', '', created_at FROM signing_key LIMIT 1";
    db.execute_unprepared(issuer).await.unwrap();
    system.kill_and_restart("ingress").await;
    assert_eq!(published(&system.client).await, [kid(&good)]);
    let own = json!({ "typ": "at+jwt", "alg": "ES256", "kid": "theirs" });
    let claims = with(&claims, "iss", &json!(system.client.base()));
    let claims = with(&claims, "aud", &json!(system.client.base()));
    let forged = system
        .client
        .with_key(&jwt::make(&own, &claims, es256(&theirs)));
    assert_eq!(forged.get("/v1/orders").await.problem(), "unauthorized");
    let foreign = with(&claims, "iss", &json!("https://idp.example"));
    let foreign = jwt::make(&own, &foreign, es256(&theirs));
    let foreign = system.client.with_key(&foreign).get("/v1/orders").await;
    // It is not even asked for its keys, which would be 503.
    assert_eq!(foreign.problem(), "unauthorized");
    let replace = format!("UPDATE signing_key SET public_key = '{jwk}'");
    db.execute_unprepared(&replace).await.unwrap();
    system.kill_and_restart("ingress").await;
    let forged = jwt::make(&header, &claims, es256(&theirs));
    let forged = system.client.with_key(&forged).get("/v1/orders").await;
    assert_eq!(forged.problem(), "unauthorized");
    // What was right still is.
    let again = system.client.token((&id, &secret), "").await;
    assert_eq!(kid(&again), kid(&good));
    let again = system.client.with_key(&again).get("/v1/orders").await;
    assert_eq!(again.status, 200);
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
