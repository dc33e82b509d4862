//! Faults at named places: a process kills itself there, and its supervisor starts it again.

use std::time::Duration;

use serde_json::json;

use crate::scene::Scene;
use crate::suite::{Choice, Suite};
use crate::support::wait::within;

/// How many orders are placed for each place and pass.
const ORDERS: usize = 20;

/// What makes a process pass a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// Any order.
    Orders,
    /// Orders whose servers cannot be made at once.
    Retries,
    /// Orders whose servers are refused.
    Refusals,
    /// SIGTERM.
    Ending,
}

/// A place in the code of a part.
type Place = (&'static str, &'static str, By);

const INGRESS: [Place; 3] = [
    ("ingress", "publish.sent", By::Orders),
    ("ingress", "publish.confirmed", By::Orders),
    ("ingress", "ingress.confirmed", By::Orders),
];
const ORDER: [Place; 7] = [
    ("order", "consume.decoded", By::Orders),
    ("order", "consume.handled", By::Orders),
    ("order", "consume.published", By::Orders),
    ("order", "publish.sent", By::Orders),
    ("order", "publish.confirmed", By::Orders),
    ("order", "order.stored", By::Orders),
    ("order", "drain", By::Ending),
];
const PROVIDER: [Place; 7] = [
    ("provider", "consume.acked", By::Orders),
    ("provider", "consume.handled", By::Orders),
    ("provider", "provision.intent", By::Orders),
    ("provider", "provision.effect", By::Orders),
    ("provider", "provision.recorded", By::Orders),
    ("provider", "retry.published", By::Retries),
    ("provider", "park.published", By::Refusals),
];
const INVOICE: [Place; 5] = [
    ("invoice", "consume.decoded", By::Orders),
    ("invoice", "invoice.numbered", By::Orders),
    ("invoice", "invoice.committed", By::Orders),
    ("invoice", "consume.published", By::Orders),
    ("parker", "parker.stored", By::Refusals),
];
const DOCUMENT: [Place; 3] = [
    ("document", "document.rendered", By::Orders),
    ("document", "consume.handled", By::Orders),
    ("document", "consume.published", By::Orders),
];
const EMAIL: [Place; 4] = [
    ("email", "mail.data_sent", By::Orders),
    ("email", "mail.accepted", By::Orders),
    ("email", "consume.handled", By::Orders),
    ("email", "consume.published", By::Orders),
];

/// One place of each pool.
const SHORT: [Place; 4] = [
    ("provider", "provision.effect", By::Orders),
    ("order", "consume.published", By::Orders),
    ("invoice", "invoice.committed", By::Orders),
    ("document", "consume.handled", By::Orders),
];

pub(crate) fn register(suite: &mut Suite) {
    suite.fault(
        Choice::Fixed,
        "1",
        "processes_are_killed_at_the_places_that_matter_most",
        async |scene: &mut Scene| {
            for (part, place, by) in SHORT {
                killed_at(scene, part, &format!("{place}:1"), by).await;
            }
        },
    );
    suite.fault(
        Choice::Full,
        "1",
        "the_ingress_is_killed_at_each_place",
        async |scene: &mut Scene| {
            killed_at_each(scene, &INGRESS).await;
        },
    );
    suite.fault(
        Choice::Full,
        "1",
        "the_order_pool_is_killed_at_each_place",
        async |scene: &mut Scene| {
            killed_at_each(scene, &ORDER).await;
        },
    );
    suite.fault(
        Choice::Full,
        "1",
        "the_provider_pool_is_killed_at_each_place",
        async |scene: &mut Scene| {
            killed_at_each(scene, &PROVIDER).await;
        },
    );
    suite.fault(
        Choice::Full,
        "1",
        "the_invoice_pool_is_killed_at_each_place",
        async |scene: &mut Scene| {
            killed_at_each(scene, &INVOICE).await;
        },
    );
    suite.fault(
        Choice::Full,
        "1",
        "the_document_pool_is_killed_at_each_place",
        async |scene: &mut Scene| {
            killed_at_each(scene, &DOCUMENT).await;
        },
    );
    suite.fault(
        Choice::Full,
        "1",
        "the_email_pool_is_killed_at_each_place",
        async |scene: &mut Scene| {
            scene.allowed.held = true;
            killed_at_each(scene, &EMAIL).await;
        },
    );
}

/// At the first and at the second pass of each place.
async fn killed_at_each(scene: &mut Scene, places: &[Place]) {
    for (part, place, by) in places {
        for pass in 1..=2 {
            killed_at(scene, part, &format!("{place}:{pass}"), *by).await;
        }
    }
}

async fn killed_at(scene: &mut Scene, part: &str, place: &str, by: By) {
    let faults = match by {
        By::Orders | By::Ending => json!({}),
        By::Retries => json!({ "create": vec![json!({ "fault": "status", "status": 503 }); 5] }),
        By::Refusals => {
            scene.allowed.parked = vec!["provider_rejected"];
            scene.allowed.replay = true;
            json!({ "create": vec![json!({ "fault": "status", "status": 403 }); 5] })
        }
    };
    scene.system.provider.faults(faults).await;
    // Ending happens once.
    let place = if by == By::Ending { "drain:1" } else { place };
    scene.parts.restart(part, &[("CRASH_AT", place)]).await;
    let before = scene.count("SELECT count(*) FROM \"order\"").await.unwrap();
    scene.orders(ORDERS, 1);
    if by == By::Ending {
        // It works by now.
        scene.stored(before + 5).await;
        scene.parts.signal(part, "TERM").await;
    }
    within(
        Duration::from_secs(90),
        &format!("{part} to die at {place}"),
        async || (scene.parts.deaths(part) == 1).then_some(()),
    )
    .await;
    assert!(
        scene.parts.was_killed(part),
        "{part} ended at {place}, but was not killed"
    );
}
