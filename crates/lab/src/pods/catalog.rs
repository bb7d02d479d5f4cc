//! Which uid a pod's name means now: what the log server asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Uids by namespace and name; the newest pod of a name wins.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    uids: Arc<Mutex<BTreeMap<(String, String), String>>>,
}

impl Catalog {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), String>> {
        // A map of strings is whole at every moment.
        self.uids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the pod is here.
    pub fn insert(&self, namespace: &str, name: &str, uid: &str) {
        self.lock().insert((namespace.to_owned(), name.to_owned()), uid.to_owned());
    }

    /// Says that it has gone; a successor of the same name stays.
    pub fn remove(&self, namespace: &str, name: &str, uid: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut uids = self.lock();
        if uids.get(&key).is_some_and(|current| current == uid) {
            uids.remove(&key);
        }
    }

    /// The uid of the pod of that name.
    #[must_use]
    pub fn find(&self, namespace: &str, name: &str) -> Option<String> {
        self.lock().get(&(namespace.to_owned(), name.to_owned())).cloned()
    }
}
