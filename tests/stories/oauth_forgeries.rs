//! Access tokens that were not issued here.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use data_encoding::BASE64URL_NOPAD;
use reqwest::Method;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::support::canary::Canary;
use crate::support::database::texts;
use crate::support::jwt;
use crate::support::suite::Suite;
use crate::support::system::{BOTH, Setup, System, World};

use super::oauth_keys::{kid, published, shop};

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "tokens_that_were_not_issued_here_are_refused",
        &BOTH,
        tokens_that_were_not_issued_here_are_refused,
    );
    suite.story(
        "whoever_has_the_database_alone_signs_no_token",
        &BOTH,
        whoever_has_the_database_alone_signs_no_token,
    );
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
