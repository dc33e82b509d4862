//! Whom the invoices of an account go to.

use serde_json::json;

use super::sessions::actions;
use crate::support::client::small_server;
use crate::support::suite::Suite;
use crate::support::system::{BOTH, System, World};
use crate::support::wait::eventually;

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "invoices_go_to_the_contacts_and_their_copies",
        &BOTH,
        invoices_go_to_the_contacts,
    );
}

async fn invoices_go_to_the_contacts(world: World) {
    let system = System::start(world).await;
    let client = &system.client;
    let path = "/v1/billing-contacts";
    let (books, chief) = ("books@musterwerk.example", "chief@musterwerk.example");
    let contact =
        |email: &str, field: &str| json!({ "name": "Somebody", "email": email, "field": field });
    let refused = client
        .post_to(path, json!({ "email": "nobody", "field": "bcc" }))
        .await;
    assert_eq!(refused.wrong_fields(), ["name", "email", "field"]);
    let copied = client.post_to(path, contact(chief, "cc")).await;
    assert_eq!(copied.status, 201, "{copied:?}");
    let twice = client
        .post_to(path, contact(&chief.to_uppercase(), "to"))
        .await;
    assert_eq!(twice.problem(), "conflict");

    // With copies alone the invoice is for the address of the account.
    let own = client
        .get(&format!("/v1/accounts/{}", system.account_id))
        .await;
    let own = own.body["email"].as_str().unwrap().to_owned();
    let invoice = async |key: &str| {
        let order = system
            .order_and_deliver(client, key, &small_server(key))
            .await;
        let invoice = client
            .get(order["links"]["invoice"].as_str().unwrap())
            .await;
        let mut to: Vec<_> = invoice.body["deliveries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|mail| {
                assert_eq!(mail["status"], "sent");
                mail["recipient"].as_str().unwrap().to_owned()
            })
            .collect();
        to.sort_unstable();
        to
    };
    let mut expected = vec![chief.to_owned(), own.clone()];
    expected.sort_unstable();
    assert_eq!(invoice("first").await, expected);
    let added = client.post_to(path, contact(books, "to")).await;
    assert_eq!(added.status, 201, "{added:?}");
    assert_eq!(invoice("second").await, [books, chief]);

    // Everybody sees who else has it, and gets it once, with the same PDF.
    let mails = system.mail.accepted().await;
    assert_eq!(mails.len(), 4);
    let mut ids: Vec<_> = mails.iter().map(|mail| &mail.message_id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    let mut documents = Vec::new();
    for mail in mails
        .iter()
        .filter(|mail| mail.to == [books] || mail.to == [chief])
        .skip(1)
    {
        let raw = std::fs::read(system.folder().join(&mail.file)).unwrap();
        let parsed = mail_parser::MessageParser::default().parse(&raw).unwrap();
        let first = |address: Option<&mail_parser::Address<'_>>| {
            let first = address.and_then(|address| address.first()).unwrap();
            first.address().unwrap().to_owned()
        };
        assert_eq!(
            (first(parsed.to()).as_str(), first(parsed.cc()).as_str()),
            (books, chief)
        );
        documents.push(parsed.attachment(0).unwrap().contents().to_vec());
    }
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[0], documents[1]);

    // One who is refused keeps it from nobody else.
    let faults = json!([{ "at": "body", "reply": "554 5.7.1 not for this one" }]);
    system.mail.faults(faults).await;
    let order = client.order("third", &small_server("third")).await;
    eventually("one to have it and one to be refused", async || {
        let order = client.get(order.header("location")).await.body;
        let invoice = client.get(order["links"]["invoice"].as_str()?).await.body;
        let mails = invoice["deliveries"].as_array()?;
        let count = |status: &str| mails.iter().filter(|mail| mail["status"] == status).count();
        (count("sent") == 1 && count("refused") == 1).then_some(())
    })
    .await;

    // Without contacts it goes to the account again.
    for made in [&copied, &added] {
        let id = made.body["id"].as_str().unwrap();
        assert_eq!(client.delete(&format!("{path}/{id}")).await.status, 204);
        assert_eq!(
            client.delete(&format!("{path}/{id}")).await.problem(),
            "not-found"
        );
    }
    assert_eq!(client.get(path).await.body["items"], json!([]));
    assert_eq!(invoice("fourth").await, [own]);
    let done = actions(client).await;
    for action in ["billing_contact.create", "billing_contact.remove"] {
        assert!(done.contains(&action.to_owned()), "{action} in {done:?}");
    }
    system.finish().await;
}
