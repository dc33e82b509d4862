//! Access tokens of issuers of others, told with a certified OpenID Connect server.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::canary::Canary;
use crate::support::client::{Answer, Client, small_server};
use crate::support::oidc::{AUDIENCE, Oidc};
use crate::support::process::try_flow;
use crate::support::suite::{Need, Suite};
use crate::support::system::{BOTH, Setup, System, World};
use crate::support::wait::{eventually, within};

const NEEDS: &[Need] = &[Need::Oidc];

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

/// A system that trusts an issuer, with times in seconds: how old keys become, how long lies between
/// two fetches, and how old they become at most.
async fn start(world: World, times: Option<[&str; 3]>) -> (System, Oidc) {
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
async fn allow(system: &System, oidc: &Oidc, (client, account): (&str, &str)) {
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
async fn ask(client: &Client, token: &str, number: usize) -> Answer {
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
        let said = |(_, process): &(&str, crate::support::process::Process)| {
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
