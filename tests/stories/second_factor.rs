//! The second factor of people: codes that change with time, and recovery codes.

use serde_json::json;

use super::sessions::{actions, ends};
use crate::support::client::Session;
use crate::support::person::Authenticator;
use crate::support::suite::Suite;
use crate::support::system::{BOTH, System, World};
use crate::support::wait::eventually;

const ADA: &str = "ada@musterwerk.example";

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "a_second_factor_is_asked_for_and_no_code_counts_twice",
        &BOTH,
        a_second_factor_is_asked_for,
    );
}

async fn a_second_factor_is_asked_for(world: World) {
    let system = System::start(world).await;
    let password = system.user(&system.account_id, ADA, "owner").await;
    let ada = system.logged_in(ADA, &password).await;
    let other = system.logged_in(ADA, &password).await;
    let path = "/v1/me/second-factor";
    let refused = ada
        .post_to(path, json!({ "password": "a wrong one" }))
        .await;
    assert_eq!(refused.wrong_fields(), ["password"]);
    let early = ada
        .post_to(&format!("{path}/confirmation"), json!({ "code": "123456" }))
        .await;
    assert_eq!(early.problem(), "conflict");
    let enrolled = ada.post_to(path, json!({ "password": password })).await;
    assert_eq!(enrolled.status, 201, "{enrolled:?}");
    let secret = enrolled.body["secret"].as_str().unwrap();
    let url = enrolled.body["url"].as_str().unwrap();
    assert!(
        url.starts_with("otpauth://totp/") && url.contains(secret),
        "{url}"
    );
    let authenticator = Authenticator::new(secret);
    // Until it is confirmed the password is enough.
    system.logged_in(ADA, &password).await;
    let confirmation = format!("{path}/confirmation");
    let wrong = ada
        .post_to(&confirmation, json!({ "code": "000000" }))
        .await;
    assert_eq!(wrong.wrong_fields(), ["code"]);
    let first = authenticator.code(0);
    let confirmed = ada.post_to(&confirmation, json!({ "code": first })).await;
    assert_eq!(confirmed.status, 200, "{confirmed:?}");
    let codes: Vec<String> =
        serde_json::from_value(confirmed.body["recovery_codes"].clone()).unwrap();
    assert_eq!(codes.len(), 10);
    // The token is another one, and who was logged in elsewhere is out.
    ends(&ada, "the old token to end").await;
    ends(&other, "the other session to end").await;
    let ada = ada.keeping(&confirmed).refreshed().await;

    // The password alone opens nothing but the way to the second factor.
    let half = system.client.with_session(Session::default());
    let half = half.keeping(&half.log_in(ADA, &password).await);
    let shown = half.get("/v1/session").await;
    assert_eq!(shown.body["second_factor_due"], true);
    assert_eq!(shown.body["accounts"], json!([]));
    for path in ["/v1/me", "/v1/orders", "/v1/users"] {
        let refused = half.get(path).await;
        assert_eq!(refused.problem(), "unauthorized", "{path}");
    }
    let give = "/v1/session/second-factor";
    let used = half.post_to(give, json!({ "code": first })).await;
    assert_eq!(used.wrong_fields(), ["code"]);
    let whole = half
        .post_to(give, json!({ "code": authenticator.code(1) }))
        .await;
    assert_eq!(whole.status, 200, "{whole:?}");
    assert_eq!(whole.body["second_factor_due"], false);
    ends(&half, "the token without the second factor to end").await;
    let whole = half.keeping(&whole);
    assert_eq!(whole.get("/v1/orders").await.status, 200);
    let again = whole.post_to(give, json!({ "code": codes[0] })).await;
    assert_eq!(again.problem(), "conflict");

    // A recovery code counts once, however it is written; even if it is sent twice at once.
    let half = system.client.with_session(Session::default());
    let one = half.keeping(&half.log_in(ADA, &password).await);
    let two = half.keeping(&half.log_in(ADA, &password).await);
    let code = codes[0].to_uppercase();
    let (one, two) = tokio::join!(
        one.post_to(give, json!({ "code": code })),
        two.post_to(give, json!({ "code": codes[0] }))
    );
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 422]);

    // New ones take their place; and without a second factor there are none.
    let renewed = ada
        .post_to("/v1/me/recovery-codes", json!({ "code": codes[1] }))
        .await;
    let new: Vec<String> = serde_json::from_value(renewed.body["recovery_codes"].clone()).unwrap();
    let removal = format!("{path}/removal");
    let old = ada.post_to(&removal, json!({ "code": codes[2] })).await;
    assert_eq!(old.wrong_fields(), ["code"]);
    let removed = ada.post_to(&removal, json!({ "code": new[0] })).await;
    assert_eq!(removed.status, 204, "{removed:?}");
    let ada = ada.keeping(&removed).refreshed().await;
    let none = ada.post_to(&removal, json!({ "code": new[1] })).await;
    assert_eq!(none.problem(), "conflict");
    system.logged_in(ADA, &password).await;
    eventually("to be told of three changes", async || {
        let texts = system.texts_to(ADA).await;
        let told = texts
            .iter()
            .filter(|text| text.contains("second factor was changed"));
        (told.count() == 3).then_some(())
    })
    .await;
    let done = actions(&ada).await;
    for action in [
        "user.second_factor_enrol",
        "user.second_factor_confirm",
        "user.second_factor_remove",
        "user.recovery_codes",
        "session.second_factor",
    ] {
        assert!(done.contains(&action.to_owned()), "{action} in {done:?}");
    }
    // Who has lost theirs asks the operator.
    let enrolled = ada.post_to(path, json!({ "password": password })).await;
    let authenticator = Authenticator::new(enrolled.body["secret"].as_str().unwrap());
    let confirmed = ada
        .post_to(&confirmation, json!({ "code": authenticator.code(0) }))
        .await;
    assert_eq!(confirmed.status, 200, "{confirmed:?}");
    system
        .flow(&["user", "reset-second-factor", "--email", ADA])
        .await;
    let listed = system
        .flow(&["user", "list", "--account", &system.account_id])
        .await;
    assert!(listed.contains(ADA) && listed.contains("owner"), "{listed}");
    let ada = system.logged_in(ADA, &password).await;
    assert_eq!(ada.get("/v1/me").await.body["second_factor"], false);
    system.finish().await;
}
