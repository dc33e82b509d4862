//! Limits of requests, and what several ingresses share.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::Child;

use crate::support::client::{Client, small_server};
use crate::support::process::{Process, command};
use crate::support::suite::Suite;
use crate::support::system::{BOTH, PARTS, Setup, System, World};
use crate::support::wait::{eventually, look_again, within};

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "whoever_asks_too_often_waits_and_others_do_not",
        &BOTH,
        whoever_asks_too_often_waits,
    );
    suite.story(
        "whoever_guesses_keys_is_barred_and_neighbours_are_not",
        &BOTH,
        whoever_guesses_keys_is_barred,
    );
    suite.story(
        "several_ingresses_are_one_and_go_on_without_redis",
        &[World::Distributed],
        several_ingresses_are_one,
    );
}

/// So slow that a story sees the end of a bucket: a second for each request, two at once.
fn slow() -> Vec<(String, String)> {
    vec![("KEY_RATE".to_owned(), "1".to_owned())]
}

/// How many of so many requests are answered; the others are told when to come again.
async fn flood(clients: &[&Client], requests: usize) -> usize {
    let mut answered = 0;
    for index in 0..requests {
        let answer = clients[index % clients.len()].get("/v1/offerings").await;
        match answer.status.as_u16() {
            200 => answered += 1,
            429 => {
                assert_eq!(answer.problem(), "too-many-requests");
                let wait: u64 = answer.header("retry-after").parse().unwrap();
                assert!((1..=2).contains(&wait), "{answer:?}");
                assert_eq!(answer.header("ratelimit-remaining"), "0");
            }
            other => panic!("{other}: {answer:?}"),
        }
    }
    answered
}

async fn whoever_asks_too_often_waits(world: World) {
    let setup = Setup {
        environment: slow(),
        ..Setup::default()
    };
    let system = System::start_with(world, setup).await;
    let (_, other) = system.account("Quiet", &["--country", "DE"]).await;
    let first = system.client.get("/v1/offerings").await;
    assert_eq!(first.header("ratelimit-limit"), "2");
    assert_eq!(first.header("ratelimit-remaining"), "1");
    assert!(
        ["1", "2"].contains(&first.header("ratelimit-reset")),
        "{first:?}"
    );
    let answered = flood(&[&system.client], 15).await;
    assert!((1..10).contains(&answered), "{answered}");
    // Another account, and another key of this one, have buckets of their own.
    assert_eq!(other.get("/v1/offerings").await.status, 200);
    let create = ["key", "create", "--account", &system.account_id];
    let second = system.client.with_key(system.flow(&create).await.trim());
    assert_eq!(second.get("/v1/offerings").await.status, 200);
    // Whoever waits is let in again.
    eventually("the bucket to fill", async || {
        let answer = system.client.get("/v1/offerings").await;
        (answer.status == 200).then_some(())
    })
    .await;
    system.finish().await;
}

async fn whoever_guesses_keys_is_barred(world: World) {
    let setup = Setup {
        environment: vec![("TRUSTED_PROXIES".to_owned(), "127.0.0.0/8".to_owned())],
        ..Setup::default()
    };
    let system = System::start_with(world, setup).await;
    assert_eq!(system.client.get("/v1/orders").await.status, 200);
    let create = ["key", "create", "--account", &system.account_id];
    let leaked = system.client.with_key(system.flow(&create).await.trim());
    assert_eq!(leaked.get("/v1/orders").await.status, 200);
    let mut barred = None;
    for guess in 0..60 {
        let wrong = system
            .client
            .with_key(&format!("cf_{guess:016x}_{guess:064x}"));
        let answer = wrong.get("/v1/orders").await;
        match answer.status.as_u16() {
            401 => assert!(barred.is_none(), "let in again at guess {guess}"),
            429 => {
                barred.get_or_insert(guess);
                assert!(!answer.header("retry-after").is_empty());
            }
            other => panic!("{other}"),
        }
    }
    assert!((25..=40).contains(&barred.unwrap()), "barred at {barred:?}");
    // Somebody at the same address whose key was used before goes on.
    assert_eq!(system.client.get("/v1/orders").await.status, 200);
    // But not with a key that is revoked meanwhile, however much is guessed beside it.
    system.flow(&["key", "revoke", leaked.key()]).await;
    let wrong = system.client.with_key(&format!("cf_{:016x}_{:064x}", 0, 0));
    within(
        Duration::from_secs(5),
        "the key to be revoked",
        async || {
            while wrong.get("/v1/orders").await.status != 429 {}
            (leaked.get("/v1/orders").await.status != 200).then_some(())
        },
    )
    .await;
    // Somebody else behind the same balancer is somebody else, with a key that nobody has seen yet.
    let fresh = system.client.with_key(system.flow(&create).await.trim());
    let request = fresh.request(Method::GET, "/v1/orders");
    let answer = fresh
        .send(request.header("x-forwarded-for", "192.0.2.7"))
        .await;
    assert_eq!(answer.status, 200);
    system.finish().await;
}

/// A Redis of the story's own.
struct Redis {
    port: u16,
    process: Child,
}

impl Redis {
    async fn start(port: u16) -> Self {
        let text = port.to_string();
        let options = ["--bind", "127.0.0.1", "--port", &text, "--save", ""];
        let process = command("redis-server")
            .args(options)
            .stdout(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        eventually("Redis to answer", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .ok()
        })
        .await;
        Self { port, process }
    }
}

async fn several_ingresses_are_one(world: World) {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut redis = Redis::start(port).await;
    let mut environment = slow();
    let url = format!("redis://127.0.0.1:{}", redis.port);
    environment.push(("CACHE_URL".to_owned(), url));
    let setup = Setup {
        environment,
        idle: true,
        ..Setup::default()
    };
    let mut system = System::start_with(world, setup).await;
    // Nobody works on orders: only the ingresses know of them.
    system.start_part("ingress");
    system.find_api().await;
    let (_, arguments) = PARTS.iter().find(|(name, _)| *name == "ingress").unwrap();
    let mut second = Process::start(
        "ingress-2",
        system.folder(),
        arguments,
        system.environment(),
    );
    let base = second.address("listening on http://").await;
    let one = system.client.clone();
    let two = Client::new(&format!("http://{base}"), one.key());

    // What one accepts the other shows, and knows again.
    let accepted = one.order("k1", &small_server("web")).await;
    let location = accepted.header("location").to_owned();
    let shown = two.get(&location).await;
    assert_eq!(
        (shown.status.as_u16(), &shown.body["status"]),
        (200, &json!("accepted"))
    );
    let (_, other) = system.account("Other", &["--country", "DE"]).await;
    let other = two.with_key(other.key());
    assert_eq!(other.get(&location).await.status, 404);
    let again = eventually("the bucket to fill", async || {
        let answer = two.order("k1", &small_server("other")).await;
        (answer.status != 429).then_some(answer)
    })
    .await;
    assert_eq!(again.problem(), "idempotency-key-reused");

    // Both together let through what one would.
    let create = ["key", "create", "--account", &system.account_id];
    let key = system.flow(&create).await;
    let (one, two) = (one.with_key(key.trim()), two.with_key(key.trim()));
    let answered = flood(&[&one, &two], 10).await;
    assert!((2..=5).contains(&answered), "{answered} of 10 requests");

    // Without Redis every request is answered, and each counts by itself.
    redis.process.kill().await.unwrap();
    let key = system.flow(&create).await;
    let (one, two) = (one.with_key(key.trim()), two.with_key(key.trim()));
    assert_eq!(one.order("k2", &small_server("web")).await.status, 202);
    assert_eq!(two.get("/v1/orders").await.status, 200);
    let answered = flood(&[&one, &two], 20).await;
    assert!(answered >= 2, "{answered} of 20 requests");
    let ready = one.send(one.request(Method::GET, "/readyz")).await;
    assert_eq!(
        (ready.status.as_u16(), &ready.body["status"]),
        (200, &json!("degraded"))
    );
    assert_eq!(ready.body["checks"]["cache"], "down");

    // Once it is back it is used again.
    let _redis = Redis::start(port).await;
    let mut orders = 0;
    let began = tokio::time::Instant::now();
    loop {
        let key = system.flow(&create).await;
        let (one, two) = (one.with_key(key.trim()), two.with_key(key.trim()));
        let accepted = one
            .order(&format!("k3-{orders}"), &small_server("web"))
            .await;
        orders += 1;
        if two.get(accepted.header("location")).await.status == 200 {
            break;
        }
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "Redis is not used again"
        );
        look_again().await;
    }
    second.terminate().await;
    system.finish_quietly().await;
}
