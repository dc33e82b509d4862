//! Which story used which route with success, over which transport: told after a run of everything.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{LazyLock, Mutex};

use reqwest::{Method, StatusCode};

use super::openapi::{self, paths};
use super::system::World;

/// A story that is being told.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// Its name.
    pub(crate) story: String,
    /// How messages travel in its world.
    pub(crate) transport: &'static str,
}

/// The transports.
const TRANSPORTS: [&str; 2] = ["embedded", "RabbitMQ"];

tokio::task_local! {
    static TOLD: Told;
}

/// The first story that used a route over a transport.
static USED: LazyLock<Mutex<BTreeMap<(String, &'static str), String>>> =
    LazyLock::new(Mutex::default);

impl Told {
    /// A story in a world.
    pub(crate) fn new(story: &str, world: World) -> Self {
        let transport = match world {
            World::Embedded | World::EmbeddedPostgres => TRANSPORTS[0],
            World::Distributed | World::RabbitSqlite => TRANSPORTS[1],
        };
        Self {
            story: story.to_owned(),
            transport,
        }
    }

    /// Tells the story.
    pub(crate) async fn tell<F: Future>(self, story: F) -> F::Output {
        TOLD.scope(self, story).await
    }
}

/// Notes that a route was used with success.
pub(crate) fn note(method: &Method, address: &str, status: StatusCode) {
    if !status.is_success() {
        return;
    }
    let Some(path) = openapi::path_of(address) else {
        return;
    };
    // What a story does beside itself belongs to no story.
    TOLD.try_with(|told| {
        let route = (format!("{method} {path}"), told.transport);
        if let Entry::Vacant(free) = USED.lock().unwrap().entry(route) {
            free.insert(told.story.clone());
        }
    })
    .ok();
}

/// Every route, with the story that used it over each transport.
pub(crate) fn routes() -> Vec<(String, [Option<String>; 2])> {
    let used = USED.lock().unwrap();
    let operations = paths().flat_map(|(path, operations)| {
        let methods = operations.as_object().unwrap().keys();
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    operations
        .map(|route| {
            let by = TRANSPORTS.map(|transport| used.get(&(route.clone(), transport)).cloned());
            (route, by)
        })
        .collect()
}
