//! The index, kept as the store is.

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use futures::FutureExt;
use serde_json::Value;

use super::attributes::Attributes;
use super::index::{Decision, Index, Named};
use super::user::{MASTERS, User};
use crate::store::{EventKind, Key, ListError, ListQuery, Start, Store, Subscription, WatchError};

/// What the index is made of, as the store names it.
const RESOURCES: [&str; 4] = [
    "roles.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
];

/// Decides by the roles and bindings of the store. What was written before a question is part of the answer.
pub(crate) struct Rbac {
    store: Arc<Store>,
    index: RwLock<Index>,
    /// Where the index has come to, per resource.
    feeds: Mutex<Vec<Subscription>>,
}

impl Rbac {
    /// Reads what is stored.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn new(store: Arc<Store>) -> Result<Self, ListError> {
        let (index, feeds) = load(&store)?;
        Ok(Self { store, index: RwLock::new(index), feeds: Mutex::new(feeds) })
    }

    /// Whether the user may do it.
    pub(crate) fn decide(&self, user: &User, attributes: &Attributes) -> Decision {
        if user.is_in(MASTERS) {
            return Decision { allowed: true, reason: String::new() };
        }
        self.index().decide(user, attributes)
    }

    /// The index as of now.
    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.catch_up();
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what happened since the last question: nothing, most of the time.
    fn catch_up(&self) {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lost = false;
        for feed in feeds.iter_mut() {
            // Not bound by the task's budget: an event that is there must be seen.
            while let Some(events) = tokio::task::unconstrained(feed.next()).now_or_never() {
                let Ok(events) = events else {
                    lost = !matches!(events, Err(WatchError::Closed));
                    break;
                };
                let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
                for event in events {
                    let gone = event.kind == EventKind::Deleted;
                    apply(&mut index, &event.key, (!gone).then_some(&event.object[..]));
                }
            }
        }
        if !lost {
            return;
        }
        // Nobody asked for so long that the events are no longer kept.
        match load(&self.store) {
            Ok((index, fresh)) => {
                *self.index.write().unwrap_or_else(PoisonError::into_inner) = index;
                *feeds = fresh;
            }
            Err(error) => {
                tracing::error!(%error, "roles and bindings cannot be read: what was known is used")
            }
        }
    }
}

fn load(store: &Store) -> Result<(Index, Vec<Subscription>), ListError> {
    let (mut index, mut feeds) = (Index::default(), Vec::new());
    for resource in RESOURCES {
        let query =
            ListQuery { resource, namespace: None, start: Start::Latest { at_least: 0 }, limit: None };
        let page = store.list(&query, |_| true)?;
        for record in &page.records {
            apply(&mut index, &record.key, Some(&record.json));
        }
        match store.subscribe(resource, None, page.revision) {
            Ok(feed) => feeds.push(feed),
            Err(_) => return Err(ListError::Expired { revision: page.revision }),
        }
    }
    Ok((index, feeds))
}

fn apply(index: &mut Index, key: &Key, json: Option<&[u8]>) {
    // What is stored was an object when it was written; one that is damaged gives nobody any right.
    let object: Option<Value> = json.and_then(|json| serde_json::from_slice(json).ok());
    let name: Named = (key.namespace().to_owned(), key.name().to_owned());
    if key.resource().contains("bindings.") {
        index.apply_binding(name, object.as_ref());
    } else {
        index.apply_role(name, object.as_ref());
    }
}
