//! Access tokens of issuers of others, told with a certified OpenID Connect server.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::canary::Canary;
use crate::support::client::{Answer, Client, small_server};
use crate::support::oidc::{AUDIENCE, Oidc};
use crate::support::process::try_flow;
use crate::support::suite::{Need, Suite};
use crate::support::system::{BOTH, Setup, System, World};
use crate::support::wait::within;

pub(super) const NEEDS: &[Need] = &[Need::Oidc];

pub(crate) fn register(suite: &mut Suite) {
    let both = (&BOTH[..], NEEDS);
    suite.story_needing(
        "a_client_of_a_foreign_issuer_acts_for_the_account_that_it_is_mapped_to",
        both,
        a_foreign_client_acts_for_its_account,
    );
    suite.story_needing(
        "tokens_that_a_foreign_issuer_would_not_issue_are_refused",
        both,
        wrong_tokens_are_refused,
    );
    suite.story_needing(
        "an_issuer_older_than_rfc_9068_is_trusted_as_it_is",
        (&[World::Embedded], NEEDS),
        an_older_issuer_is_trusted_as_it_is,
    );
}

/// A system that trusts an issuer, with times in seconds: how old keys become, how long lies between
/// two fetches, and how old they become at most.
pub(super) async fn start(world: World, times: Option<[&str; 3]>) -> (System, Oidc) {
    let names = ["MAX_AGE", "MIN_INTERVAL", "MAX_STALE"].map(|name| format!("ISSUER_KEYS_{name}"));
    let times = times.map(|times| times.map(str::to_owned));
    let mut environment: Vec<_> = names.into_iter().zip(times.into_iter().flatten()).collect();
    // Wrong tokens come from many addresses, so that none is barred.
    environment.push(("TRUSTED_PROXIES".to_owned(), "127.0.0.0/8".to_owned()));
    let setup = Setup {
        environment,
        ..Setup::default()
    };
    let system = System::start_with(world, setup).await;
    let oidc = Oidc::start(system.folder()).await;
    let trust = ["issuer", "add", &oidc.issuer, "--audience", AUDIENCE];
    system.flow(&trust).await;
    (system, oidc)
}

/// Lets a client of the issuer act for an account.
pub(super) async fn allow(system: &System, oidc: &Oidc, (client, account): (&str, &str)) {
    let allow = ["issuer", "allow", &oidc.issuer, "--client", client];
    let scopes = [
        "--account",
        account,
        "--scopes",
        "orders:read,orders:write,account:read",
    ];
    system.flow(&[&allow[..], &scopes].concat()).await;
}

/// Lists orders with a token, from an address of its own.
pub(super) async fn ask(client: &Client, token: &str, number: usize) -> Answer {
    let client = client.with_key(token);
    let request = client.request(Method::GET, "/v1/orders");
    let from = format!("198.18.{}.{}", number / 250, number % 250);
    client.send(request.header("x-forwarded-for", from)).await
}

async fn a_foreign_client_acts_for_its_account(world: World) {
    let (system, oidc) = start(world, None).await;
    let client = &system.client;
    let token = oidc.token("shop", "orders:read orders:write").await;
    let shop = client.with_key(&token);
    // Trusted is the issuer; who its clients are is another matter.
    assert_eq!(shop.get("/v1/orders").await.problem(), "unauthorized");
    allow(&system, &oidc, ("shop", &system.account_id)).await;
    within(
        Duration::from_secs(5),
        "the client to be allowed",
        async || (shop.get("/v1/orders").await.status == 200).then_some(()),
    )
    .await;
    system
        .order_and_deliver(&shop, "foreign", &small_server("web"))
        .await;

    // The token must name the scope, and the row must allow it.
    let reader = client.with_key(&oidc.token("shop", "orders:read").await);
    assert_eq!(reader.get("/v1/orders").await.status, 200);
    let greedy = client.with_key(&oidc.token("shop", "orders:read invoices:read").await);
    assert_eq!(greedy.get("/v1/orders").await.status, 200);
    for (refused, scope) in [
        (
            reader.order("no", &small_server("web")).await,
            "orders:write",
        ),
        (greedy.get("/v1/invoices").await, "invoices:read"),
    ] {
        assert_eq!(refused.problem(), "forbidden");
        let challenge = refused.header("www-authenticate");
        assert!(
            challenge.contains("error=\"insufficient_scope\""),
            "{challenge}"
        );
        assert!(
            challenge.contains(&format!("scope=\"{scope}\"")),
            "{challenge}"
        );
    }

    // Whose the orders are the row says, whatever a client lets its token say.
    let (other_account, _) = system.account("Other", &["--country", "DE"]).await;
    allow(&system, &oidc, ("other", &other_account)).await;
    let other = client.with_key(&oidc.token("other", "orders:read").await);
    let listed = other.get("/v1/orders").await;
    assert_eq!(listed.status, 200, "{listed:?}");
    assert_eq!(listed.body["items"], json!([]));
    let claims = json!({ "account_id": system.account_id, "tenant": system.account_id,
        "client_id": "other", "azp": "shop", "sub": "shop", "scope": "account:read" });
    let lying = oidc.sign(&json!({ "claims": claims })).await;
    let accounts = client.with_key(&lying).get("/v1/accounts").await;
    assert_eq!(accounts.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(accounts.body["items"][0]["id"], other_account.as_str());

    // What is taken back stops within seconds, though the tokens live on.
    system
        .flow(&["issuer", "deny", &oidc.issuer, "--client", "shop"])
        .await;
    within(
        Duration::from_secs(5),
        "the client to be denied",
        async || (shop.get("/v1/orders").await.status == 401).then_some(()),
    )
    .await;
    assert_eq!(other.get("/v1/orders").await.status, 200);
    system.flow(&["issuer", "remove", &oidc.issuer]).await;
    within(
        Duration::from_secs(5),
        "the issuer to be removed",
        async || (other.get("/v1/orders").await.status == 401).then_some(()),
    )
    .await;
    assert_eq!(system.flow(&["issuer", "list"]).await, "");

    let refused = async |arguments: &[&str]| {
        let ended = try_flow(system.folder(), arguments, system.environment()).await;
        ended.unwrap_err()
    };
    let add = [
        "issuer",
        "add",
        "https://idp.example",
        "--audience",
        "x",
        "--algorithms",
    ];
    for algorithm in ["HS256", "none", "RS256,HS512"] {
        let said = refused(&[&add[..], &[algorithm]].concat()).await;
        assert!(said.contains("is not one of"), "{said}");
    }
    let said = refused(&["issuer", "add", "http://idp.example", "--audience", "x"]).await;
    assert!(said.contains("https"), "{said}");
    let account = ["--account", &system.account_id];
    let nobody = ["issuer", "allow", "https://idp.example", "--client", "x"];
    let said = refused(&[&nobody[..], &account].concat()).await;
    assert!(said.contains("is not trusted"), "{said}");
    system.finish().await;
}

async fn wrong_tokens_are_refused(world: World) {
    let (system, oidc) = start(world, None).await;
    allow(&system, &oidc, ("shop", &system.account_id)).await;
    let canary = Canary::start().await;
    let at_canary = format!("http://{}/keys", canary.address);
    let stranger = oidc.control("stranger", &json!({})).await;
    let now = chrono::Utc::now().timestamp();
    let good = oidc.sign(&json!({})).await;
    let issuer = oidc.issuer.as_str();
    let mut number = 0;
    let mut asked = async |token: String| {
        number += 1;
        ask(&system.client, &token, number).await
    };
    assert_eq!(asked(good.clone()).await.status, 200);
    for claims in [
        json!({ "exp": now - 10 }),
        json!({ "nbf": now + 10 }),
        json!({ "aud": ["https://other.example", AUDIENCE] }),
        json!({ "jti": null, "iat": null }),
    ] {
        let token = oidc.sign(&json!({ "claims": claims })).await;
        assert_eq!(asked(token).await.status, 200, "{claims}");
    }
    let header = |header: Value| json!({ "header": header });
    let signed = |how: &str, header: Value| json!({ "header": header, "how": how });
    for wanted in [
        json!({ "claims": { "exp": now - 120 } }),
        json!({ "claims": { "exp": null } }),
        json!({ "claims": { "exp": "tomorrow" } }),
        json!({ "claims": { "nbf": now + 120 } }),
        json!({ "claims": { "nbf": "tomorrow" } }),
        json!({ "claims": { "iss": "https://idp.example" } }),
        json!({ "claims": { "iss": format!("{issuer}/") } }),
        json!({ "claims": { "iss": [issuer, "https://idp.example"] } }),
        json!({ "claims": { "iss": null } }),
        json!({ "claims": { "aud": "https://other.example" } }),
        json!({ "claims": { "aud": [] } }),
        json!({ "claims": { "aud": null } }),
        json!({ "claims": { "sub": null } }),
        json!({ "claims": { "client_id": null } }),
        json!({ "claims": { "client_id": "" } }),
        json!({ "claims": { "client_id": ["shop"] } }),
        json!({ "claims": { "client_id": "Shop" } }),
        json!({ "claims": { "client_id": "shop' OR '1'='1" } }),
        json!({ "claims": { "client_id": "x".repeat(300) } }),
        // An ID token, and a token for whatever else.
        header(json!({ "typ": "JWT" })),
        header(json!({ "typ": null })),
        header(json!({ "typ": "logout+jwt" })),
        header(json!({ "crit": ["exp"] })),
        header(json!({ "kid": null })),
        header(json!({ "kid": "unknown" })),
        // Algorithms that are not pinned: none, the public key as a secret, and one that is sound.
        signed("nothing", json!({ "alg": "none" })),
        signed("nothing", json!({})),
        signed("public-key-as-secret", json!({ "alg": "HS256" })),
        signed("rs512", json!({ "alg": "RS512" })),
        // Somebody else's key, whatever is said of it.
        signed("stranger", json!({})),
        signed("stranger", json!({ "jwk": stranger })),
        signed(
            "stranger",
            json!({ "kid": stranger["kid"], "jwk": stranger }),
        ),
        signed("stranger", json!({ "jku": at_canary })),
        signed("stranger", json!({ "x5u": at_canary })),
        signed("stranger", json!({ "x5c": ["MIIB"] })),
    ] {
        let token = oidc.sign(&wanted).await;
        let refused = asked(token.clone()).await;
        assert_eq!(refused.problem(), "unauthorized", "{wanted}");
        let challenge = refused.header("www-authenticate");
        assert!(
            challenge.contains("error=\"invalid_token\""),
            "{wanted}: {challenge}"
        );
        // A second time it is refused as well, though it was looked at before.
        assert_eq!(asked(token).await.status, 401, "{wanted}");
    }
    let huge = system
        .client
        .with_key(&format!("{good}{}", "a".repeat(1_000_000)));
    let huge = huge.request(Method::GET, "/v1/orders").send().await;
    assert_eq!(huge.unwrap().status(), 431);
    assert_eq!(canary.visits().await, Vec::<String>::new());
    assert_eq!(asked(good).await.status, 200);
    system.finish().await;
}

async fn an_older_issuer_is_trusted_as_it_is(world: World) {
    let (system, oidc) = start(world, None).await;
    let add = ["issuer", "add", &oidc.issuer, "--audience", AUDIENCE];
    let older = [
        "--token-type",
        "JWT",
        "--client-claim",
        "azp",
        "--scope-claim",
        "",
    ];
    system.flow(&[&add[..], &older].concat()).await;
    allow(&system, &oidc, ("shop", &system.account_id)).await;
    let claims = json!({ "azp": "shop", "client_id": null, "scope": null });
    let token = json!({ "header": { "typ": "JWT" }, "claims": claims });
    let token = oidc.sign(&token).await;
    assert_eq!(ask(&system.client, &token, 1).await.status, 200);
    let shop = system.client.with_key(&token);
    assert_eq!(shop.get("/v1/invoices").await.problem(), "forbidden");
    let newer = oidc.token("shop", "orders:read").await;
    assert_eq!(ask(&system.client, &newer, 2).await.status, 401);
    // What it must be like is changed for tokens too that were accepted before.
    let lists = [
        "--token-type",
        "JWT",
        "--client-claim",
        "azp",
        "--scope-claim",
        "roles",
    ];
    system.flow(&[&add[..], &lists].concat()).await;
    within(Duration::from_secs(5), "the change to count", async || {
        (shop.get("/v1/orders").await.status == 403).then_some(())
    })
    .await;
    let claims = json!({ "azp": "shop", "roles": ["orders:read", 1, "nonsense"] });
    let token = json!({ "header": { "typ": "JWT" }, "claims": claims });
    let token = oidc.sign(&token).await;
    assert_eq!(ask(&system.client, &token, 3).await.status, 200);
    system.finish().await;
}
