//! A watcher that resumes from the last revision it has seen, however often the server dies.

use std::collections::BTreeMap;
use std::time::Duration;

use load::{Client, Lines};
use serde_json::Value;

use super::object::{self, Resource};

/// Name of the object that ends the watches.
pub const LAST: &str = "the-last";

pub struct Watcher {
    pub resource: Resource,
    client: Client,
    last: u64,
    /// The objects as the events tell them: names and steps.
    pub state: BTreeMap<String, u64>,
    /// The name that each revision was about.
    pub revisions: BTreeMap<u64, String>,
    pub resumed: usize,
}

impl Watcher {
    /// Lists, and notes the revision. There are no objects of the test yet.
    pub async fn start(resource: Resource, client: Client) -> Self {
        let list = client.get(resource.path()).await.unwrap().json();
        let (state, revisions) = (BTreeMap::new(), BTreeMap::new());
        Self { resource, client, last: object::revision(&list), state, revisions, resumed: 0 }
    }

    /// Watches until it has seen the last object of all.
    pub async fn run(mut self) -> Self {
        while !self.state.contains_key(LAST) {
            let path = format!("{}?watch=1&resourceVersion={}", self.resource.path(), self.last);
            if let Ok(lines) = self.client.watch(&path).await {
                self.follow(lines).await;
                self.resumed += 1;
            }
            // The server is away, or at its start.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self
    }

    /// Takes events until the watch breaks.
    async fn follow(&mut self, mut lines: Lines) {
        while !self.state.contains_key(LAST)
            && let Ok(Some(line)) = lines.next().await
        {
            self.take(&serde_json::from_slice(line).expect("a whole event"));
        }
    }

    fn take(&mut self, event: &Value) {
        let (kind, object) = (event["type"].as_str().unwrap(), &event["object"]);
        assert_ne!(kind, "ERROR", "{event}");
        let revision = object::revision(object);
        assert!(revision > self.last, "{kind} of revision {revision} after {}", self.last);
        self.last = revision;
        let Some((id, seen)) = object::read(self.resource, object) else { return };
        let before = match kind {
            "DELETED" => self.state.remove(&id.name),
            _ => self.state.insert(id.name.clone(), seen.step),
        };
        assert_eq!(before.is_none(), kind == "ADDED", "{kind} of {}, which was {before:?}", id.name);
        self.revisions.insert(revision, id.name);
    }
}
