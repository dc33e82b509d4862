//! Customers who place orders while things go wrong, and do not give up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use crate::support::client::{Client, small_server};
use crate::support::wait::look_again;

/// How many customers order at once.
const CUSTOMERS: usize = 8;

/// Orders under way and what became of them.
#[derive(Default)]
pub(crate) struct Load {
    /// How many orders are to be placed.
    wanted: usize,
    /// How many were placed one by one.
    single: usize,
    progress: Arc<Progress>,
    customers: JoinSet<()>,
    /// What is ordered from now on, if not the cloud server.
    pub(crate) offering: Option<&'static str>,
}

#[derive(Default)]
struct Progress {
    requests: AtomicUsize,
    /// The order of each key that was acknowledged with 202.
    acknowledged: Mutex<BTreeMap<String, Uuid>>,
}

impl Load {
    /// Places `count` more orders, spread over `time`. Each is asked for until it is accepted.
    pub(crate) fn place(&mut self, client: &Client, count: usize, time: Duration) {
        let (first, began) = (self.wanted, Instant::now());
        self.wanted += count;
        for customer in 0..CUSTOMERS.min(count) {
            let (client, progress) = (client.clone(), self.progress.clone());
            let offering = self.offering;
            self.customers.spawn(async move {
                for nth in (customer..count).step_by(CUSTOMERS) {
                    let share = nth as f64 / count as f64;
                    sleep_until(began + time.mul_f64(share)).await;
                    let key = format!("order-{}", first + nth);
                    progress.insist(&client, &key, offering).await;
                }
            });
        }
    }

    /// Places one order under a key of its own, and waits until it is accepted.
    pub(crate) async fn place_one(&mut self, client: &Client, key: &str) -> Uuid {
        self.single += 1;
        self.progress.insist(client, key, self.offering).await;
        self.progress.acknowledged.lock().unwrap()[key]
    }

    /// Somebody else has published an order under a reference, and the broker has confirmed it.
    pub(crate) fn confirmed(&mut self, reference: &str, order: Uuid) {
        self.single += 1;
        let mut acknowledged = self.progress.acknowledged.lock().unwrap();
        acknowledged.insert(format!("partner {reference}"), order);
    }

    /// How many orders were to be placed, and how many requests that took.
    pub(crate) fn attempted(&self) -> (usize, usize) {
        let orders = self.wanted + self.single;
        (orders, self.progress.requests.load(Ordering::SeqCst))
    }

    /// The orders that were accepted.
    pub(crate) fn acknowledged(&self) -> Vec<Uuid> {
        let acknowledged = self.progress.acknowledged.lock().unwrap();
        acknowledged.values().copied().collect()
    }

    /// Waits until every order is accepted.
    pub(crate) async fn accepted(&mut self) {
        while let Some(customer) = self.customers.join_next().await {
            customer.unwrap();
        }
    }
}

impl Progress {
    /// Asks for an order until it is accepted, as a customer would who loses the connection.
    async fn insist(&self, client: &Client, key: &str, offering: Option<&str>) {
        let mut body = small_server(&format!("web-{key}"));
        if let Some(offering) = offering {
            body["offering"] = offering.into();
        }
        loop {
            self.requests.fetch_add(1, Ordering::SeqCst);
            if let Ok(answer) = client.try_order(key, &body).await
                && answer.status == 202
            {
                let id = answer.body["id"].as_str().expect("an order has an id");
                let id = id.parse().expect("a UUID");
                let known = self.acknowledged.lock().unwrap().insert(key.to_owned(), id);
                assert!(known.is_none_or(|known| known == id), "{key} is two orders");
                return;
            }
            look_again().await;
        }
    }
}
