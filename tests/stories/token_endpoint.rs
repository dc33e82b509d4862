//! What the token endpoint refuses (RFC 6749 §5.2).

use reqwest::Method;
use serde_json::json;

use crate::support::jwt;
use crate::support::suite::Suite;
use crate::support::system::{BOTH, Setup, System, World};

use super::oauth::create;

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "the_token_endpoint_refuses_in_the_words_of_rfc_6749",
        &BOTH,
        the_token_endpoint_refuses,
    );
    suite.story(
        "whoever_guesses_client_secrets_is_barred",
        &[World::Embedded],
        whoever_guesses_is_barred,
    );
}

async fn the_token_endpoint_refuses(world: World) {
    let system = System::start(world).await;
    let client = &system.client;
    let wanted = json!({ "name": "Shop", "scopes": ["orders:read"] });
    let (id, secret) = create(client, &wanted).await;
    let grant = ("grant_type", "client_credentials");
    let (basic, wrong) = (Some((&*id, &*secret)), "cfs_0");
    let nobody = "0190a6a0-0000-7000-8000-000000000000";
    let in_form = [("client_id", &*id), ("client_secret", &*secret)];
    let in_form = [[grant].as_slice(), &in_form].concat();
    for (form, basic, error) in [
        (vec![], basic, "invalid_request"),
        (vec![("scope", "orders:read")], basic, "invalid_request"),
        (vec![grant, grant], basic, "invalid_request"),
        (in_form.clone(), basic, "invalid_request"),
        (
            vec![("grant_type", "password")],
            basic,
            "unsupported_grant_type",
        ),
        (
            vec![("grant_type", "authorization_code")],
            basic,
            "unsupported_grant_type",
        ),
        (
            vec![grant, ("scope", "orders:write")],
            basic,
            "invalid_scope",
        ),
        (
            vec![grant, ("scope", "orders:read staff:tickets")],
            basic,
            "invalid_scope",
        ),
        (vec![grant, ("scope", "nonsense")], basic, "invalid_scope"),
        (
            vec![grant, ("resource", "https://other.example")],
            basic,
            "invalid_target",
        ),
        (vec![grant], None, "invalid_client"),
        (vec![grant], Some((&*id, wrong)), "invalid_client"),
        (vec![grant], Some((&*id, "")), "invalid_client"),
        (vec![grant], Some((nobody, &*secret)), "invalid_client"),
        (vec![grant], Some(("shop", &*secret)), "invalid_client"),
    ] {
        let answer = client.form("/oauth2/token", &form, basic).await;
        let said = format!("{form:?}: {answer:?}");
        assert_eq!(answer.body["error"], error, "{said}");
        let description = answer.body["error_description"].as_str().unwrap();
        assert!(description.ends_with('.'), "{said}");
        assert_eq!(answer.header("content-type"), "application/json", "{said}");
        assert_eq!(answer.header("cache-control"), "no-store", "{said}");
        let challenge = answer.header("www-authenticate");
        match error {
            "invalid_client" => {
                assert_eq!(answer.status, 401, "{said}");
                assert!(challenge.starts_with("Basic "), "{said}");
            }
            _ => assert_eq!((answer.status.as_u16(), challenge), (400, ""), "{said}"),
        }
    }
    // Empty is as good as missing, and what is not known is passed over (RFC 6749 §3.2).
    let form = [
        grant,
        ("scope", ""),
        ("resource", client.base()),
        ("colour", "blue"),
    ];
    let answer = client.form("/oauth2/token", &form, basic).await;
    assert_eq!(answer.body["scope"], "orders:read", "{answer:?}");
    // What is no form is refused in the same words; a body that is too large is not read.
    let json = client
        .request(Method::POST, "/oauth2/token")
        .json(&json!({ "grant_type": "x" }));
    assert_eq!(client.send(json).await.body["error"], "invalid_request");
    let long = "x".repeat(100_000);
    let answer = client
        .form("/oauth2/token", &[grant, ("x", &long)], basic)
        .await;
    assert_eq!(answer.problem(), "too-large");
    system.finish().await;
}

async fn whoever_guesses_is_barred(world: World) {
    let setup = Setup {
        environment: vec![("KEY_RATE".to_owned(), "5".to_owned())],
        ..Setup::default()
    };
    let system = System::start_with(world, setup).await;
    let owner = &system.client;
    let (id, secret) = create(owner, &json!({ "name": "Shop", "scopes": ["orders:read"] })).await;
    let token = owner.token((&id, &secret), "").await;
    let grant = [("grant_type", "client_credentials")];
    let asked = async |secret: &str| {
        let answer = owner
            .form("/oauth2/token", &grant, Some((&id, secret)))
            .await;
        answer.status.as_u16()
    };
    let mut answers = Vec::new();
    for guess in 0..60 {
        answers.push(asked(&format!("cfs_{guess:064x}")).await);
    }
    let barred = answers.iter().position(|status| *status == 429).unwrap();
    assert!((25..=40).contains(&barred), "{answers:?}");
    // Whoever knows the secret goes on from the same address, and a token does.
    assert_eq!(asked(&secret).await, 200);
    assert_eq!(owner.with_key(&token).get("/v1/orders").await.status, 200);
    // One that is not signed is a guess like any other.
    let wrong = jwt::with_wrong_signature(&token);
    assert_eq!(owner.with_key(&wrong).get("/v1/orders").await.status, 429);
    // Nor may a client ask for tokens without an end.
    let mut answers = Vec::new();
    for _ in 0..30 {
        answers.push(asked(&secret).await);
    }
    assert!(answers.contains(&429), "{answers:?}");
    system.finish().await;
}
