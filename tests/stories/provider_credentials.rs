//! What we prove with at a provider: stored sealed, changed without a restart, and bound to its account.

use sea_orm::ConnectionTrait;
use serde_json::json;
use uuid::Uuid;

use crate::support::client::small_server;
use crate::support::database::{literal, texts};
use crate::support::suite::Suite;
use crate::support::system::{BOTH, System, World};
use crate::support::wait::eventually;

const FIRST: &str = "first-token-9b1f3c70";
const SECOND: &str = "second-token-4e8a02d6";
const SET: [&str; 3] = ["provider", "set-credential", "simulated"];

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "a_provider_gets_the_credential_that_is_stored_for_it",
        &BOTH,
        a_provider_gets_the_credential_that_is_stored_for_it,
    );
    suite.story(
        "a_credential_is_worth_nothing_for_another_account",
        &BOTH,
        a_credential_is_worth_nothing_for_another_account,
    );
}

/// Waits until a step of an order complains.
async fn complains(system: &System, order: &str, words: &str) {
    eventually(&format!("the order to say {words}"), async || {
        let shown = system.client.get(order).await.body;
        shown.to_string().contains(words).then_some(())
    })
    .await;
}

async fn a_provider_gets_the_credential_that_is_stored_for_it(world: World) {
    let system = System::start(world).await;
    let client = &system.client;
    system.provider.faults(json!({ "token": FIRST })).await;
    let order = client.order("first", &small_server("web")).await;
    let order = order.header("location").to_owned();
    complains(&system, &order, "refuses our credential").await;
    assert!(system.provider.created().await.is_empty());
    // No restart, and nothing to be replayed: the next attempt finds it.
    let said = system.told(&SET, &format!("{FIRST}\n")).await;
    assert!(said.contains("is stored"), "{said}");
    system.delivered(client, &order).await;

    // The provider has given us another one.
    system.provider.faults(json!({ "token": SECOND })).await;
    system.told(&SET, SECOND).await;
    system
        .order_and_deliver(client, "second", &small_server("db"))
        .await;
    assert_eq!(system.provider.created().await.len(), 2);

    // What is stored does not say it, however it is written.
    let db = system.db().await;
    let stored = texts(&db, "SELECT credential FROM provider_account").await;
    let [stored] = stored.as_slice() else {
        panic!("{stored:?}");
    };
    for token in [FIRST, SECOND] {
        let hex = data_encoding::HEXLOWER.encode(token.as_bytes());
        assert!(!stored.contains(token) && !stored.contains(&hex));
    }
    let listed = system.flow(&["provider", "list"]).await;
    assert!(listed.contains("simulated") && !listed.contains(stored.as_str()));
    let audited = "SELECT action FROM audit_entry WHERE action LIKE 'provider_account.%'";
    assert_eq!(texts(&db, audited).await.len(), 2);

    system.provider.faults(json!({})).await;
    let remove = ["provider", "remove-credential", "simulated"];
    system.flow(&remove).await;
    system
        .order_and_deliver(client, "third", &small_server("mx"))
        .await;
    system.finish().await;
}

async fn a_credential_is_worth_nothing_for_another_account(world: World) {
    let system = System::start(world).await;
    let client = &system.client;
    system.provider.faults(json!({ "token": FIRST })).await;
    system.told(&SET, FIRST).await;
    // Somebody who can write to the database has it used for an account of their own.
    let db = system.db().await;
    let id = literal(&db, Uuid::now_v7());
    let steal = format!(
        "INSERT INTO provider_account (id, provider, name, active, credential)
         SELECT {id}, provider, 'Mine', active, credential FROM provider_account"
    );
    db.execute_unprepared(&steal).await.unwrap();
    let take = format!("UPDATE provider_account SET credential = NULL WHERE id <> {id}");
    db.execute_unprepared(&take).await.unwrap();
    // Until the workers have looked again they go on with what they knew.
    eventually("an order to wait for a credential", async || {
        let key = Uuid::now_v7().to_string();
        let order = client.order(&key, &small_server("web")).await;
        let order = order.header("location").to_owned();
        eventually("an end or a complaint", async || {
            let shown = client.get(&order).await.body;
            let complains = shown.to_string().contains("was sealed for another account");
            (shown["status"] == "completed" || complains).then_some(complains)
        })
        .await
        .then_some(())
    })
    .await;
    let drop = format!("DELETE FROM provider_account WHERE id = {id}");
    db.execute_unprepared(&drop).await.unwrap();
    // The ones that wait are tried again by and by; a new one is at once.
    system.told(&SET, FIRST).await;
    system
        .order_and_deliver(client, "again", &small_server("web"))
        .await;
    system.finish_quietly().await;
}
