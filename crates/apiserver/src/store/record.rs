//! What the store keeps: keys, objects and events.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;
use serde::Deserialize;

/// Name of an object: resource (`pods`, `deployments.apps`), namespace (empty for cluster-wide ones) and name.
///
/// Ordered by resource, namespace, name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// The parts must not hold NUL, which divides them on disk; names from paths are checked before.
    pub fn new(resource: &str, namespace: &str, name: &str) -> Self {
        Self(format!("{resource}\0{namespace}\0{name}"))
    }

    /// `pods`, `deployments.apps`.
    pub fn resource(&self) -> &str {
        self.part(0)
    }

    /// Empty for objects outside namespaces.
    pub fn namespace(&self) -> &str {
        self.part(1)
    }

    /// Name of the object.
    pub fn name(&self) -> &str {
        self.part(2)
    }

    pub(super) fn encoded(&self) -> &str {
        &self.0
    }

    pub(super) fn decode(encoded: &str) -> Self {
        Self(encoded.to_owned())
    }

    /// First key and the first key after all those of a resource, or of one namespace of it.
    pub(super) fn bounds(resource: &str, namespace: Option<&str>) -> (String, String) {
        let stem = match namespace {
            Some(namespace) => format!("{resource}\0{namespace}"),
            None => resource.to_owned(),
        };
        (format!("{stem}\0"), format!("{stem}\x01"))
    }

    fn part(&self, index: usize) -> &str {
        self.0.splitn(3, '\0').nth(index).unwrap_or_default()
    }
}

/// One object as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub key: Key,
    /// The revision that wrote it.
    pub revision: u64,
    /// The object, with its resourceVersion.
    pub json: Bytes,
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It is new.
    Created,
    /// It changed.
    Updated,
    /// It is gone.
    Deleted,
}

/// One write, as watchers see it.
#[derive(Debug)]
pub struct Event {
    /// The revision of the write.
    pub revision: u64,
    /// What happened.
    pub kind: EventKind,
    /// To which object.
    pub key: Key,
    /// The object after the write; for a deletion its last state, with the revision of the deletion.
    pub object: Bytes,
    /// The object before the write; `None` for a creation.
    pub previous: Option<Bytes>,
    /// Unix time of the write in milliseconds.
    pub(super) time: i64,
    facts: Mutex<Facts>,
}

/// What selectors look at, read from the object's bytes once for all watchers.
#[derive(Debug, Default)]
struct Facts {
    labels: Option<(Labels, Labels)>,
    fields: BTreeMap<String, (String, String)>,
}

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

impl Event {
    pub(super) fn new(
        revision: u64,
        kind: EventKind,
        key: Key,
        object: Bytes,
        previous: Option<Bytes>,
        time: i64,
    ) -> Self {
        Self { revision, kind, key, object, previous, time, facts: Mutex::default() }
    }

    /// Calls `judge` with the labels before and after the event. Before a creation there are none.
    pub fn with_labels<T>(&self, judge: impl FnOnce(&Labels, &Labels) -> T) -> T {
        let mut facts = self.facts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (before, after) = facts.labels.get_or_insert_with(|| {
            (self.previous.as_deref().map(labels_of).unwrap_or_default(), labels_of(&self.object))
        });
        judge(before, after)
    }

    /// Calls `judge` with a field's value before and after the event, read by `extract` when nobody has yet.
    pub fn with_field<T>(
        &self,
        field: &str,
        extract: impl Fn(&[u8]) -> String,
        judge: impl FnOnce(&str, &str) -> T,
    ) -> T {
        let mut facts = self.facts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((before, after)) = facts.fields.get(field) {
            return judge(before, after);
        }
        let before = self.previous.as_deref().map(&extract).unwrap_or_default();
        let after = extract(&self.object);
        let result = judge(&before, &after);
        facts.fields.insert(field.to_owned(), (before, after));
        result
    }

    /// Bytes that the event holds in memory and on disk.
    pub(super) fn size(&self) -> usize {
        self.object.len() + self.previous.as_ref().map_or(0, Bytes::len) + self.key.encoded().len()
    }
}

/// The labels of a stored object; none when it cannot be read.
pub fn labels_of(json: &[u8]) -> Labels {
    #[derive(Deserialize)]
    struct Object {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        #[serde(default)]
        labels: Labels,
    }
    serde_json::from_slice(json).map(|object: Object| object.metadata.labels).unwrap_or_default()
}
