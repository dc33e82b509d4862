//! Accounts and API keys, over HTTP.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::{Client, small_server};
use crate::support::database::texts;
use crate::support::process::try_flow;
use crate::support::suite::Suite;
use crate::support::system::{BOTH, System, World};
use crate::support::wait::{eventually, within};

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "a_key_is_created_used_rotated_and_revoked",
        &BOTH,
        a_key_is_created_used_rotated_and_revoked,
    );
    suite.story(
        "a_key_gives_nobody_more_than_it_has",
        &BOTH,
        a_key_gives_nobody_more_than_it_has,
    );
    suite.story(
        "a_key_works_from_its_networks_only",
        &BOTH,
        a_key_works_from_its_networks_only,
    );
    suite.story(
        "keys_are_worth_nothing_without_the_pepper",
        &BOTH,
        keys_are_worth_nothing_without_the_pepper,
    );
    suite.story(
        "an_account_is_changed_and_everybody_sees_who_did_it",
        &BOTH,
        an_account_is_changed,
    );
}

/// The audit trail of something: action, actor, before and after.
pub(super) async fn audited(system: &System, subject: &str) -> Vec<Value> {
    let sql = format!(
        "SELECT '[\"' || action || '\",\"' || actor || '\",' || coalesce(before, 'null') || ',' \
         || coalesce(after, 'null') || ',\"' || coalesce(trace_id, '') || '\"]' \
         FROM audit_entry WHERE subject = '{subject}' ORDER BY at"
    );
    let rows = texts(&system.db().await, &sql).await;
    rows.iter()
        .map(|row| serde_json::from_str(row).unwrap())
        .collect()
}

async fn create(client: &Client, body: &Value) -> (Client, Value) {
    let created = client.with_body(Method::POST, "/v1/api-keys", body).await;
    assert_eq!(created.status, 201, "{created:?}");
    let key = created.body["key"].as_str().unwrap();
    assert_eq!(
        created.header("location"),
        created.body["links"]["self"].as_str().unwrap()
    );
    (client.with_key(key), created.body)
}

async fn a_key_is_created_used_rotated_and_revoked(world: World) {
    let system = System::start(world).await;
    let owner = &system.client;
    let in_an_hour = Utc::now() + TimeDelta::hours(1);
    let wanted = json!({
        "name": "Shop",
        "scopes": ["orders:read", "orders:write"],
        "expires_at": in_an_hour,
    });
    let (shop, key) = create(owner, &wanted).await;
    let id = key["id"].as_str().unwrap();
    let path = format!("/v1/api-keys/{id}");
    assert_eq!(
        (&key["name"], &key["last_used_at"]),
        (&json!("Shop"), &Value::Null)
    );
    // It does what it may, and no more.
    assert_eq!(shop.order("k1", &small_server("web")).await.status, 202);
    assert_eq!(shop.get("/v1/invoices").await.problem(), "forbidden");
    let secret = shop.key().rsplit('_').next().unwrap();
    let used: DateTime<Utc> = eventually("its use to be noted", async || {
        let shown = owner.get(&path).await;
        assert!(!shown.body.to_string().contains(secret));
        shown.body["last_used_at"]
            .as_str()
            .map(|at| at.parse().unwrap())
    })
    .await;
    assert!(Utc::now() - used < TimeDelta::minutes(1));
    let listed = owner.get("/v1/api-keys").await;
    assert!(!listed.body.to_string().contains(secret));
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 2);
    // One by one they are the same.
    let first = owner.get("/v1/api-keys?limit=1").await.body;
    let next = first["next"].as_str().unwrap();
    let second = owner
        .get(&format!("/v1/api-keys?limit=1&cursor={next}"))
        .await
        .body;
    let items = listed.body["items"].as_array().unwrap();
    assert_eq!(
        [&first["items"][0]["id"], &second["items"][0]["id"]],
        [&items[0]["id"], &items[1]["id"]]
    );
    assert_eq!(second["next"], Value::Null);

    // Both work while the new one is handed out; then only the new one does.
    let rotations = format!("{path}/rotations");
    let overlap = json!({ "overlap_seconds": 2 });
    let rotated = owner.with_body(Method::POST, &rotations, &overlap).await;
    assert_eq!(rotated.status, 201, "{rotated:?}");
    let new = shop.with_key(rotated.body["key"].as_str().unwrap());
    assert_eq!(rotated.body["scopes"], key["scopes"]);
    assert_eq!(new.get("/v1/orders").await.status, 200);
    assert_eq!(shop.get("/v1/orders").await.status, 200);
    eventually("the old key to end", async || {
        (shop.get("/v1/orders").await.status == 401).then_some(())
    })
    .await;
    assert_eq!(new.get("/v1/orders").await.status, 200);
    let again = owner.with_body(Method::POST, &rotations, &json!({})).await;
    assert_eq!(again.problem(), "conflict");

    // Revoked, it stops within five seconds; again is no error.
    let path = rotated.body["links"]["self"].as_str().unwrap();
    for _ in 0..2 {
        let revoked = owner.send(owner.request(Method::DELETE, path)).await;
        assert_eq!(revoked.status, 204);
    }
    within(
        Duration::from_secs(5),
        "the key to be revoked",
        async || (new.get("/v1/orders").await.status == 401).then_some(()),
    )
    .await;

    let actor = format!("api_key {}", owner.key().split('_').nth(1).unwrap());
    let new_id = rotated.body["id"].as_str().unwrap();
    let trail = [audited(&system, id).await, audited(&system, new_id).await].concat();
    let actions: Vec<_> = trail.iter().map(|entry| (&entry[0], &entry[1])).collect();
    let actor = json!(actor);
    assert_eq!(
        actions,
        [
            (&json!("api_key.create"), &actor),
            (&json!("api_key.rotate"), &actor),
            (&json!("api_key.revoke"), &actor),
        ]
    );
    assert_eq!(trail[0][3]["name"], "Shop");
    assert!(
        trail
            .iter()
            .all(|entry| entry[4].as_str().unwrap().len() == 32),
        "{trail:?}"
    );
    assert!(!format!("{trail:?}").contains(secret));
    system.finish().await;
}

async fn a_key_gives_nobody_more_than_it_has(world: World) {
    let system = System::start(world).await;
    let admin = json!({ "name": "Admin", "scopes": ["keys:read", "keys:write"] });
    let (admin, _) = create(&system.client, &admin).await;
    let (rich, _) = create(
        &system.client,
        &json!({ "name": "Rich", "scopes": ["orders:read"] }),
    )
    .await;
    let more = json!({ "name": "More", "scopes": ["keys:read", "orders:write"] });
    let refused = admin.with_body(Method::POST, "/v1/api-keys", &more).await;
    assert_eq!(refused.wrong_fields(), ["scopes[1]"]);
    // Nor for longer, nor from elsewhere: what is not said is that of the credential.
    let in_an_hour = Utc::now() + TimeDelta::hours(1);
    let bound = json!({
        "name": "Bound",
        "scopes": ["keys:read", "keys:write"],
        "networks": ["127.0.0.0/8", "192.0.2.0/24"],
        "expires_at": in_an_hour,
    });
    let (bound, shown) = create(&system.client, &bound).await;
    let (_, child) = create(&bound, &json!({ "name": "Child", "scopes": ["keys:read"] })).await;
    assert_eq!(child["networks"], shown["networks"]);
    assert_eq!(child["expires_at"], shown["expires_at"]);
    let wider = json!({
        "name": "Wider",
        "scopes": ["keys:read"],
        "networks": ["192.0.2.128/25", "192.0.0.0/16"],
        "expires_at": in_an_hour + TimeDelta::hours(1),
    });
    let refused = bound.with_body(Method::POST, "/v1/api-keys", &wider).await;
    assert_eq!(refused.wrong_fields(), ["networks[1]", "expires_at"]);
    let own = format!("{}/rotations", shown["links"]["self"].as_str().unwrap());
    let rotated = bound.with_body(Method::POST, &own, &json!({})).await;
    assert_eq!(rotated.body["expires_at"], shown["expires_at"]);
    let of_admin = admin.key().split('_').nth(1).unwrap();
    let of_admin = format!("/v1/api-keys/{of_admin}/rotations");
    let refused = bound.with_body(Method::POST, &of_admin, &json!({})).await;
    assert_eq!(refused.problem(), "forbidden");
    // Nor by rotating one that may more.
    let path = format!(
        "/v1/api-keys/{}/rotations",
        rich.key().split('_').nth(1).unwrap()
    );
    let refused = admin.with_body(Method::POST, &path, &json!({})).await;
    assert_eq!(refused.problem(), "forbidden");
    create(&admin, &json!({ "name": "Less", "scopes": ["keys:read"] })).await;

    for (body, fields) in [
        (json!({}), vec!["name", "scopes"]),
        (
            json!({ "name": "\u{0}", "scopes": [] }),
            vec!["name", "scopes"],
        ),
        (
            json!({ "name": "x", "scopes": "orders:read" }),
            vec!["scopes"],
        ),
        (
            json!({ "name": "x", "scopes": ["orders:eat", "keys:read", "keys:read"] }),
            vec!["scopes[0]", "scopes[2]"],
        ),
        (
            json!({ "name": "x", "scopes": ["keys:read"], "networks": ["10.0.0.0/8", "everywhere"],
                    "expires_at": "tomorrow", "colour": 1 }),
            vec!["networks[1]", "expires_at", "colour"],
        ),
        (
            json!({ "name": "x", "scopes": ["keys:read"], "expires_at": "2020-01-01T00:00:00Z" }),
            vec!["expires_at"],
        ),
    ] {
        let refused = admin.with_body(Method::POST, "/v1/api-keys", &body).await;
        assert_eq!(refused.wrong_fields(), fields, "{body}");
    }
    system.finish().await;
}

async fn a_key_works_from_its_networks_only(world: World) {
    let system = System::start(world).await;
    for (networks, status) in [
        (json!(["127.0.0.0/8"]), 200),
        (json!(["192.0.2.1", "127.0.0.1"]), 200),
        (json!(["192.0.2.0/24", "2001:db8::/32"]), 401),
    ] {
        let body = json!({ "name": "Office", "scopes": ["orders:read"], "networks": networks });
        let (office, _) = create(&system.client, &body).await;
        let answer = office.get("/v1/orders").await;
        assert_eq!(answer.status, status, "{networks}");
    }
    let arguments = [
        "key",
        "create",
        "--account",
        &system.account_id,
        "--networks",
        "192.0.2.0/24",
    ];
    let elsewhere = system.client.with_key(system.flow(&arguments).await.trim());
    assert_eq!(elsewhere.get("/v1/orders").await.problem(), "unauthorized");
    // Whoever says so is no proxy of ours, and not believed.
    let request = elsewhere.request(Method::GET, "/v1/orders");
    let request = request.header("x-forwarded-for", "192.0.2.1");
    assert_eq!(elsewhere.send(request).await.problem(), "unauthorized");
    system.finish().await;
}

/// Whoever writes to the database makes no key with it, and no process goes on with another pepper.
async fn keys_are_worth_nothing_without_the_pepper(world: World) {
    let system = System::start(world).await;
    let pepper = system.folder().join("data").join("pepper");
    let secret = std::fs::read_to_string(&pepper).unwrap();
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&pepper).unwrap().permissions());
    assert_eq!(mode & 0o077, 0, "others may read the pepper");
    let db = system.db().await;
    let stored = texts(
        &db,
        "SELECT value FROM setting UNION SELECT secret_hash FROM api_key",
    )
    .await;
    assert!(stored.iter().all(|text| !secret.contains(text.as_str())));

    let create = ["key", "create", "--account", &system.account_id];
    let with = |path: &str| {
        let mut environment = system.environment().to_vec();
        environment.push(("PEPPER_FILE".to_owned(), path.to_owned()));
        environment
    };
    let missing = try_flow(system.folder(), &create, &with("elsewhere/pepper")).await;
    let missing = missing.unwrap_err();
    assert!(
        missing.contains("elsewhere/pepper") && missing.contains("PEPPER_FILE"),
        "{missing}"
    );
    assert!(!system.folder().join("elsewhere").exists());
    let other = system.folder().join("other");
    std::fs::write(&other, "0".repeat(64)).unwrap();
    let refused = try_flow(system.folder(), &create, &with("other"))
        .await
        .unwrap_err();
    assert!(
        refused.contains("is not that of this database"),
        "{refused}"
    );
    std::fs::write(&other, "salt").unwrap();
    let nonsense = try_flow(system.folder(), &create, &with("other"))
        .await
        .unwrap_err();
    assert!(nonsense.contains("64 hexadecimal digits"), "{nonsense}");
    system.finish().await;
}

async fn an_account_is_changed(world: World) {
    let system = System::start(world).await;
    let client = &system.client;
    let path = format!("/v1/accounts/{}", system.account_id);
    let listed = client.get("/v1/accounts").await;
    assert_eq!(listed.body["items"][0]["id"], system.account_id.as_str());
    let before = client.get(&path).await;

    let first = system
        .order_and_deliver(client, "before", &small_server("web-1"))
        .await;
    let patch = json!({ "name": "Neuwerk GmbH", "city": "Bonn", "locale": "en", "vat_id": null });
    let change = |etag: &str, patch: &Value| {
        let request = client
            .request(Method::PATCH, &path)
            .header("if-match", etag);
        client.send(request.json(patch))
    };
    let etag = before.header("etag").to_owned();
    let changed = change(&etag, &patch).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(changed.body["name"], "Neuwerk GmbH");
    assert_eq!(changed.body["vat_id"], Value::Null);
    assert_eq!(changed.body["street"], before.body["street"]);
    assert_eq!(
        client.get(&path).await.header("etag"),
        changed.header("etag")
    );
    // Somebody who has not seen this is told so.
    let late = change(&etag, &json!({ "city": "Ulm" })).await;
    assert_eq!(
        (late.status.as_u16(), late.problem()),
        (412, "changed-meanwhile")
    );

    let wrong = json!({
        "name": null, "email": "nobody", "country": "Germany", "locale": "tlh",
        "time_zone": "Mars/Olympus", "currency": "USD", "payment_terms_days": 90, "kind": "person",
    });
    let refused = change("*", &wrong).await;
    let mut fields = refused.wrong_fields();
    fields.sort_unstable();
    let expected = [
        "country",
        "currency",
        "email",
        "kind",
        "locale",
        "name",
        "payment_terms_days",
        "time_zone",
    ];
    assert_eq!(fields, expected);
    assert_eq!(client.get(&path).await.body, changed.body);

    // What is issued says what was true then; what comes says what is true now.
    let second = system
        .order_and_deliver(client, "after", &small_server("web-2"))
        .await;
    let content = |order: &Value| {
        let order = order["id"].as_str().unwrap().to_owned();
        let db = system.db();
        async move {
            let db = db.await;
            let order = crate::support::database::literal(&db, order.parse().unwrap());
            let sql = format!("SELECT content FROM invoice WHERE order_id = {order}");
            texts(&db, &sql).await.remove(0)
        }
    };
    let (old, new) = (content(&first).await, content(&second).await);
    assert!(old.contains("Musterwerk") && !old.contains("Neuwerk"));
    assert!(new.contains("Neuwerk") && new.contains("Bonn") && !new.contains("Musterwerk"));

    let trail = audited(&system, &system.account_id).await;
    let entry = &trail[0];
    assert_eq!(entry[0], "account.change");
    assert_eq!(
        (&entry[2]["city"], &entry[3]["city"]),
        (&before.body["city"], &json!("Bonn"))
    );
    assert_eq!(trail.len(), 1, "{trail:?}");
    // The customer reads the same.
    let shown = client
        .get(&format!("/v1/audit-entries?subject={}", system.account_id))
        .await;
    let items = shown.body["items"].as_array().unwrap();
    assert_eq!(items.len(), 1);
    assert_eq!(
        (&items[0]["before"], &items[0]["after"]),
        (&entry[2], &entry[3])
    );
    assert_eq!(items[0]["trace_id"], changed.header("x-trace-id"));
    system.finish().await;
}
