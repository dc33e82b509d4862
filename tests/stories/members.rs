//! Who acts for an account: invited, given a role, removed; and never without an owner.

use std::time::Duration;

use reqwest::Method;
use schemas::link::LinkFor;
use sea_orm::ConnectionTrait;
use serde_json::json;
use uuid::Uuid;

use super::people::nobody;
use super::sessions::actions;
use crate::support::client::Client;
use crate::support::database::literal;
use crate::support::person::PASSWORD;
use crate::support::suite::Suite;
use crate::support::system::{BOTH, System, World};
use crate::support::wait::within;

const ADA: &str = "ada@musterwerk.example";
const BOB: &str = "bob@elsewhere.example";

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "the_last_owner_stays_even_if_two_leave_at_once",
        &BOTH,
        the_last_owner_stays,
    );
    suite.story(
        "an_invitation_lets_in_whom_it_was_sent_to_and_nobody_twice",
        &BOTH,
        an_invitation_lets_in,
    );
    suite.story(
        "nobody_gives_a_role_beyond_their_own",
        &BOTH,
        nobody_gives_beyond,
    );
    suite.story(
        "one_person_acts_for_several_accounts",
        &BOTH,
        one_person_several_accounts,
    );
}

async fn the_last_owner_stays(world: World) {
    let system = System::start(world).await;
    let account = &system.account_id;
    let id = async |client: &Client| {
        client.get("/v1/me").await.body["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let ada = system.person(account, ADA, "owner").await;
    let own = format!("/v1/users/{}", id(&ada).await);
    let demotion = json!({ "role": "billing" });
    for refused in [
        ada.delete(&own).await,
        ada.with_body(Method::PATCH, &own, &demotion).await,
        // Nor does a key remove them: keys make no owners, and remove none.
        system.client.delete(&own).await,
    ] {
        assert!(
            ["conflict", "forbidden"].contains(&refused.problem()),
            "{refused:?}"
        );
    }
    // Of two who go at once one stays, each time, whichever way they go.
    for round in 0..5 {
        let email = format!("second-{round}@musterwerk.example");
        let second = system.person(account, &email, "owner").await;
        let others = format!("/v1/users/{}", id(&second).await);
        let second_goes = async {
            match round % 2 {
                0 => second.delete(&others).await,
                _ => second.with_body(Method::PATCH, &others, &demotion).await,
            }
        };
        let (first, second_gone) = tokio::join!(ada.delete(&own), second_goes);
        let mut statuses = [first.status.as_u16(), second_gone.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses[1], 409, "{statuses:?} in round {round}");
        assert!(statuses[0] < 300, "{statuses:?} in round {round}");
        let users = system.client.get("/v1/users?limit=100").await;
        let users = users.body["items"].as_array().unwrap();
        let owners = users.iter().filter(|user| user["role"] == "owner");
        assert_eq!(owners.count(), 1, "round {round}");
        if first.status == 204 {
            // Whoever is left lets her in again, so that there are two to go.
            let create = [
                "user",
                "create",
                "--account",
                account,
                "--email",
                ADA,
                "--name",
                "Ada",
            ];
            system.flow(&create).await;
            within(Duration::from_secs(5), "Ada to act again", async || {
                (ada.get("/v1/orders").await.status == 200).then_some(())
            })
            .await;
            let gone = second.delete(&others).await;
            assert_eq!(gone.status, 204, "{gone:?}");
        }
    }
    let done = actions(&system.client).await;
    assert!(done.contains(&"user.leave".to_owned()), "{done:?}");
    system.finish().await;
}

async fn invite(client: &Client, email: &str, role: &str) -> String {
    let invited = client
        .post_to("/v1/invitations", json!({ "email": email, "role": role }))
        .await;
    assert_eq!(
        (invited.status.as_u16(), &invited.body["status"]),
        (201, &json!("pending"))
    );
    assert_eq!(invited.header("location"), invited.body["links"]["self"]);
    invited.body["id"].as_str().unwrap().to_owned()
}

async fn an_invitation_lets_in(world: World) {
    let system = System::start(world).await;
    let ada = system.person(&system.account_id, ADA, "owner").await;
    let nobody = nobody(&system);
    let accept = async |token: &str| {
        let body = json!({ "token": token, "name": "Bob", "password": PASSWORD });
        nobody.post_to("/v1/invitation-acceptances", body).await
    };
    // One that is taken back, and one whose place another takes.
    let revoked = invite(&ada, BOB, "billing").await;
    let token = system.link(BOB, "accept-invitation", 0).await;
    let path = format!("/v1/invitations/{revoked}");
    for _ in 0..2 {
        assert_eq!(ada.delete(&path).await.status, 204);
    }
    assert_eq!(accept(&token).await.wrong_fields(), ["token"]);
    assert_eq!(ada.get(&path).await.body["status"], "revoked");
    invite(&ada, BOB, "technical").await;
    let replaced = system.link(BOB, "accept-invitation", 1).await;
    let id = invite(&ada, BOB, "billing").await;
    assert_eq!(accept(&replaced).await.wrong_fields(), ["token"]);
    // One that is over: the secret is right, the time is not.
    let token = system.link(BOB, "accept-invitation", 2).await;
    let over = invite(&ada, "late@elsewhere.example", "billing").await;
    let db = system.db().await;
    let id_of_over = literal(&db, over.parse().unwrap());
    let end = format!("UPDATE invitation SET expires_at = created_at WHERE id = {id_of_over}");
    let late = db.execute_unprepared(&end).await.unwrap();
    assert_eq!(late.rows_affected(), 1);
    let shown = ada.get(&format!("/v1/invitations/{over}")).await.body;
    assert_eq!(shown["status"], "expired");
    let ended = shown["expires_at"].as_str().unwrap().parse().unwrap();
    let late = system
        .links()
        .await
        .token(LinkFor::Invitation, over.parse().unwrap(), ended);
    assert_eq!(accept(&late).await.wrong_fields(), ["token"]);

    // Who has no user yet chooses a name and a password.
    let incomplete = json!({ "token": token });
    let incomplete = nobody
        .post_to("/v1/invitation-acceptances", incomplete)
        .await;
    assert_eq!(incomplete.wrong_fields(), ["name", "password"]);
    let accepted = accept(&token).await;
    assert_eq!(accepted.status, 201, "{accepted:?}");
    assert_eq!(accept(&token).await.wrong_fields(), ["token"]);
    let bob = system.logged_in(BOB, PASSWORD).await;
    assert_eq!(
        bob.get("/v1/session").await.body["accounts"][0]["role"],
        "billing"
    );
    assert_eq!(
        ada.get(&format!("/v1/invitations/{id}")).await.body["status"],
        "accepted"
    );
    assert_eq!(
        ada.delete(&format!("/v1/invitations/{id}")).await.problem(),
        "conflict"
    );
    let again = ada
        .post_to(
            "/v1/invitations",
            json!({ "email": BOB, "role": "billing" }),
        )
        .await;
    assert_eq!(again.problem(), "conflict");

    // Another role counts within seconds, and so does to be removed.
    let user = accepted.body["user_id"].as_str().unwrap();
    let path = format!("/v1/users/{user}");
    let changed = ada
        .with_body(Method::PATCH, &path, &json!({ "role": "technical" }))
        .await;
    assert_eq!(
        (changed.status.as_u16(), &changed.body["role"]),
        (200, &json!("technical"))
    );
    within(Duration::from_secs(5), "the role to count", async || {
        (bob.get("/v1/orders").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(ada.get(&path).await.body["role"], "technical");
    assert_eq!(ada.delete(&path).await.status, 204);
    within(
        Duration::from_secs(5),
        "the person to be removed",
        async || (bob.get("/v1/orders").await.status == 422).then_some(()),
    )
    .await;
    assert_eq!(bob.get("/v1/me").await.body["accounts"], json!([]));
    let done = actions(&ada).await;
    for action in [
        "invitation.create",
        "invitation.revoke",
        "invitation.accept",
        "user.role",
        "user.remove",
    ] {
        assert!(done.contains(&action.to_owned()), "{action} in {done:?}");
    }
    system.finish().await;
}

async fn nobody_gives_beyond(world: World) {
    let system = System::start(world).await;
    let ada = system.person(&system.account_id, ADA, "owner").await;
    // A key that may do everything is no owner.
    let owner = json!({ "email": BOB, "role": "owner" });
    let refused = system.client.post_to("/v1/invitations", owner).await;
    assert_eq!(refused.problem(), "forbidden");
    // One that may do less gives less.
    let scopes = [
        "users:read",
        "users:write",
        "invoices:read",
        "invoices:write",
        "account:read",
        "account:write",
    ];
    let key = json!({ "name": "Half", "scopes": scopes });
    let made = ada.post_to("/v1/api-keys", key).await;
    let half = system.client.with_key(made.body["key"].as_str().unwrap());
    for (role, allowed) in [
        ("owner", false),
        ("technical", false),
        ("read-only", false),
        ("billing", true),
    ] {
        let body = json!({ "email": format!("{role}@elsewhere.example"), "role": role });
        let answer = half.post_to("/v1/invitations", body).await;
        let expected = if allowed { 201 } else { 403 };
        assert_eq!(answer.status, expected, "{role}");
    }
    // Nor takes from who may more, nor lifts anybody.
    let tom = system
        .person(&system.account_id, "tom@musterwerk.example", "technical")
        .await;
    let id = tom.get("/v1/me").await.body["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/v1/users/{id}");
    for role in ["billing", "owner"] {
        let refused = half
            .with_body(Method::PATCH, &path, &json!({ "role": role }))
            .await;
        assert_eq!(refused.problem(), "forbidden", "{role}");
    }
    assert_eq!(half.delete(&path).await.problem(), "forbidden");
    // Whom somebody has invited who goes before it is accepted stays out.
    let second = system
        .person(&system.account_id, "second@musterwerk.example", "owner")
        .await;
    invite(&second, BOB, "owner").await;
    let token = system.link(BOB, "accept-invitation", 0).await;
    let id = second.get("/v1/me").await.body["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(ada.delete(&format!("/v1/users/{id}")).await.status, 204);
    let body = json!({ "token": token, "name": "Bob", "password": PASSWORD });
    let late = nobody(&system)
        .post_to("/v1/invitation-acceptances", body)
        .await;
    assert_eq!(late.wrong_fields(), ["token"]);
    // Everybody may go, whatever else they may.
    let id = tom.get("/v1/me").await.body["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(tom.delete(&format!("/v1/users/{id}")).await.status, 204);
    system.finish().await;
}

async fn one_person_several_accounts(world: World) {
    let system = System::start(world).await;
    let (other, _) = system.account("Elsewhere", &["--country", "BE"]).await;
    let (foreign, _) = system.account("Foreign", &["--country", "FR"]).await;
    system
        .person(&other, "owner@elsewhere.example", "owner")
        .await;
    let bob = system.person(&system.account_id, BOB, "technical").await;
    // Invited a second time, nothing is to be chosen: the person is there already.
    let owner = system
        .person(&other, "second@elsewhere.example", "owner")
        .await;
    invite(&owner, BOB, "billing").await;
    let token = system.link(BOB, "accept-invitation", 0).await;
    let accepted = nobody(&system)
        .post_to("/v1/invitation-acceptances", json!({ "token": token }))
        .await;
    assert_eq!(
        (accepted.status.as_u16(), &accepted.body["account_id"]),
        (201, &json!(other))
    );
    within(
        Duration::from_secs(5),
        "the second account to be known",
        async || {
            let shown = bob.get("/v1/session").await;
            (shown.body["accounts"].as_array()?.len() == 2).then_some(())
        },
    )
    .await;
    let unnamed = bob.get("/v1/orders").await;
    assert_eq!(unnamed.wrong_fields(), ["Account-Id"]);
    let (here, there) = (bob.acting_for(&system.account_id), bob.acting_for(&other));
    assert_eq!(here.get("/v1/orders").await.status, 200);
    assert_eq!(there.get("/v1/orders").await.problem(), "forbidden");
    assert_eq!(there.get("/v1/invoices").await.status, 200);
    let shown = there.get("/v1/accounts").await;
    assert_eq!(shown.body["items"][0]["id"], other.as_str());
    for unknown in [foreign.as_str(), &Uuid::now_v7().to_string(), "mine"] {
        let refused = bob.acting_for(unknown).get("/v1/invoices").await;
        assert_eq!(refused.problem(), "not-found", "{unknown}");
    }
    // What is done for one account stands in the audit trail of that one.
    let contact = json!({ "name": "Books", "email": "books@elsewhere.example", "field": "to" });
    assert_eq!(
        there.post_to("/v1/billing-contacts", contact).await.status,
        201
    );
    let done = "billing_contact.create".to_owned();
    assert!(actions(&owner).await.contains(&done));
    assert!(!actions(&system.client).await.contains(&done));
    system.finish().await;
}
