//! What the controllers know of one kind: the objects, indexed, fed by a watch and by the answers to our own writes.
//!
//! # Why answers go in at once
//!
//! A controller that creates a pod and plans again before the watch has told it of that pod would create a second one.
//! kube-controller-manager counts "expectations" against that. Here the answer to each write is stored as if the watch had
//! brought it. Two things could go wrong, and `resourceVersion`, which orders all writes of one kind (KEP-5504), settles both:
//!
//! - the watch is behind: it brings an older state of the object later. The older state is ignored.
//! - the watch is ahead: it has already brought the object *and* its deletion. It has then seen a higher version than the
//!   answer carries, and the answer is ignored.
//!
//! An object whose deletion was answered is remembered by its uid until the watch confirms it, so that a late event
//! does not bring it back.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kube::Resource;
use tokio::sync::watch;

use crate::objects::{ObjectKey, uid};

/// One way to find objects other than by name.
pub(crate) struct IndexBy<K> {
    /// Under which names (for example owner uids) an object is to be found.
    pub(crate) keys: fn(&K) -> Vec<String>,
}

/// Which of a store's indexes to look into: the place in the list given to [`Store::new`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct IndexId(pub(crate) usize);

/// One change of one object. At least one side is there.
pub(crate) struct Change<'a, K> {
    pub(crate) old: Option<&'a K>,
    pub(crate) new: Option<&'a K>,
}

impl<'a, K> Change<'a, K> {
    /// Both states, the old one first.
    pub(crate) fn sides(&self) -> impl Iterator<Item = &'a K> + use<'a, K> {
        self.old.into_iter().chain(self.new)
    }
}

/// What was and what is; at least one side is there.
type Changed<K> = (Option<Arc<K>>, Option<Arc<K>>);

type Handler<K> = Box<dyn Fn(&Change<'_, K>) + Send + Sync>;

/// All objects of one kind.
pub(crate) struct Store<K> {
    inner: RwLock<Inner<K>>,
    handlers: RwLock<Vec<Handler<K>>>,
    /// Held from a change until its handlers were called, so that they see changes in their order.
    order: Mutex<()>,
    synced: watch::Sender<bool>,
}

struct Inner<K> {
    objects: BTreeMap<ObjectKey, Arc<K>>,
    indexes: Vec<Index<K>>,
    /// The highest version that the watch has brought.
    seen: u64,
    /// Uids of objects that were deleted by us, and of whose end the watch has not told yet.
    gone: HashSet<String>,
}

struct Index<K> {
    by: IndexBy<K>,
    entries: HashMap<String, BTreeSet<ObjectKey>>,
}

impl<K: Resource> Store<K> {
    /// An empty store with these indexes.
    pub(crate) fn new(indexes: Vec<IndexBy<K>>) -> Self {
        let indexes = indexes.into_iter().map(|by| Index { by, entries: HashMap::new() }).collect();
        Self {
            inner: RwLock::new(Inner { objects: BTreeMap::new(), indexes, seen: 0, gone: HashSet::new() }),
            handlers: RwLock::default(),
            order: Mutex::default(),
            synced: watch::Sender::new(false),
        }
    }

    /// Calls `handler` after each change from now on. It must be quick, since it runs in the watch, and write to no store.
    pub(crate) fn on_change(&self, handler: impl Fn(&Change<'_, K>) + Send + Sync + 'static) {
        self.handlers.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(handler));
    }

    /// Forgets the handlers, and with them what they hold on to.
    pub(crate) fn detach(&self) {
        self.handlers.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Completes once the first list has arrived.
    pub(crate) async fn synced(&self) {
        // An error means that the sender is gone, which is part of `self`.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// The object of that name.
    pub(crate) fn find(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.read().objects.get(key).cloned()
    }

    /// All objects, ordered by namespace and name.
    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.read().objects.values().cloned().collect()
    }

    /// All objects of a namespace, ordered by name.
    pub(crate) fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let first = ObjectKey::new(namespace, "");
        self.read()
            .objects
            .range(first..)
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// The objects that an index holds under `name`, ordered by namespace and name.
    pub(crate) fn indexed(&self, index: IndexId, name: &str) -> Vec<Arc<K>> {
        let inner = self.read();
        let Some(keys) = inner.indexes.get(index.0).and_then(|index| index.entries.get(name)) else {
            return Vec::new();
        };
        keys.iter().filter_map(|key| inner.objects.get(key).cloned()).collect()
    }

    /// How many objects an index holds under `name`.
    pub(crate) fn count(&self, index: IndexId, name: &str) -> usize {
        let inner = self.read();
        inner.indexes.get(index.0).and_then(|index| index.entries.get(name)).map_or(0, BTreeSet::len)
    }

    /// Takes in an object that the watch has brought.
    pub(crate) fn apply_watched(&self, object: K) {
        let version = version_of(&object);
        self.change(|inner| {
            inner.seen = inner.seen.max(version);
            if inner.gone.contains(uid(object.meta())) || inner.holds_newer(&object, version) {
                return None;
            }
            Some(inner.put(Arc::new(object)))
        });
    }

    /// Takes in the end of an object that the watch has told.
    pub(crate) fn delete_watched(&self, object: &K) {
        let key = ObjectKey::of(object.meta());
        let id = uid(object.meta());
        self.change(|inner| {
            inner.seen = inner.seen.max(version_of(object));
            inner.gone.remove(id);
            inner.take(&key, id)
        });
    }

    /// Notes that the watch has brought everything up to `version`.
    pub(crate) fn note_version(&self, version: &str) {
        let version = parse_version(Some(version));
        let mut inner = self.write();
        inner.seen = inner.seen.max(version);
    }

    /// Takes in the whole list, as of `version`.
    pub(crate) fn replace(&self, objects: Vec<K>, version: &str) {
        let version = parse_version(Some(version));
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = {
            let mut inner = self.write();
            // A server that went back in time was restored from an older copy: what we wrote since is not there.
            let restored = version < inner.seen;
            inner.seen = version;
            let listed: HashSet<String> =
                objects.iter().map(|object| uid(object.meta()).to_owned()).collect();
            inner.gone.retain(|id| !restored && listed.contains(id));
            let mut changes = Vec::new();
            let vanished: Vec<(ObjectKey, String)> = inner
                .objects
                .iter()
                .filter(|(_, object)| !listed.contains(uid(object.meta())))
                .filter(|(_, object)| restored || version_of(object.as_ref()) <= version)
                .map(|(key, object)| (key.clone(), uid(object.meta()).to_owned()))
                .collect();
            changes.extend(vanished.iter().filter_map(|(key, id)| inner.take(key, id)));
            for object in objects {
                let newer = !restored && inner.holds_newer(&object, version_of(&object));
                if !newer && !inner.gone.contains(uid(object.meta())) {
                    changes.push(inner.put(Arc::new(object)));
                }
            }
            changes
        };
        changes.iter().for_each(|(old, new)| self.notify(old.as_deref(), new.as_deref()));
        self.synced.send_replace(true);
    }

    /// Takes in the answer to a write of ours, unless the watch is already ahead of it.
    pub(crate) fn apply_written(&self, object: K) {
        let version = version_of(&object);
        self.change(|inner| {
            let stale = version <= inner.seen
                || inner.gone.contains(uid(object.meta()))
                || inner.holds_newer(&object, version);
            (!stale).then(|| inner.put(Arc::new(object)))
        });
    }

    /// Takes in the answer to a deletion of ours: the object is gone.
    pub(crate) fn delete_written(&self, key: &ObjectKey, id: &str) {
        self.change(|inner| {
            let taken = inner.take(key, id)?;
            inner.gone.insert(id.to_owned());
            Some(taken)
        });
    }

    fn change(&self, act: impl FnOnce(&mut Inner<K>) -> Option<Changed<K>>) {
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = act(&mut self.write());
        if let Some((old, new)) = changed {
            self.notify(old.as_deref(), new.as_deref());
        }
    }

    fn notify(&self, old: Option<&K>, new: Option<&K>) {
        let change = Change { old, new };
        for handler in self.handlers.read().unwrap_or_else(PoisonError::into_inner).iter() {
            handler(&change);
        }
    }

    // A panic while the lock is held would leave single index entries out of date at worst; going on is better.
    fn read(&self) -> RwLockReadGuard<'_, Inner<K>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner<K>> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Resource> Inner<K> {
    fn holds_newer(&self, object: &K, version: u64) -> bool {
        let held = self.objects.get(&ObjectKey::of(object.meta()));
        held.is_some_and(|held| version_of(held.as_ref()) >= version)
    }

    fn put(&mut self, object: Arc<K>) -> Changed<K> {
        let key = ObjectKey::of(object.meta());
        let old = self.objects.insert(key.clone(), object.clone());
        for index in &mut self.indexes {
            if let Some(old) = &old {
                index.remove(&key, old);
            }
            for name in (index.by.keys)(&object) {
                index.entries.entry(name).or_default().insert(key.clone());
            }
        }
        (old, Some(object))
    }

    /// Takes the object out, if it is still the one with that uid.
    fn take(&mut self, key: &ObjectKey, id: &str) -> Option<Changed<K>> {
        if uid(self.objects.get(key)?.meta()) != id {
            return None;
        }
        let old = self.objects.remove(key)?;
        self.indexes.iter_mut().for_each(|index| index.remove(key, &old));
        Some((Some(old), None))
    }
}

impl<K> Index<K> {
    fn remove(&mut self, key: &ObjectKey, object: &K) {
        for name in (self.by.keys)(object) {
            if let Some(keys) = self.entries.get_mut(&name) {
                keys.remove(key);
                if keys.is_empty() {
                    self.entries.remove(&name);
                }
            }
        }
    }
}

fn version_of<K: Resource>(object: &K) -> u64 {
    parse_version(object.meta().resource_version.as_deref())
}

fn parse_version(version: Option<&str>) -> u64 {
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
