//! Who owns whom.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::ApiResource;

use crate::objects::{ObjectKey, is_deleting, uid};

/// An object of any kind, by the uid that no other object ever has.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    /// `apps/v1` or `v1`.
    pub(crate) api_version: Cow<'static, str>,
    pub(crate) kind: Cow<'static, str>,
    pub(crate) plural: Cow<'static, str>,
    pub(crate) key: ObjectKey,
    pub(crate) uid: String,
    pub(crate) owners: Vec<OwnerReference>,
    pub(crate) finalizers: Vec<String>,
    pub(crate) deleting: bool,
}

impl Item {
    pub(crate) fn of<K: k8s_openapi::Resource>(meta: &ObjectMeta) -> Self {
        Self::with(K::API_VERSION.into(), K::KIND.into(), K::URL_PATH_SEGMENT.into(), meta)
    }

    /// An object of a kind that a CustomResourceDefinition brings.
    pub(crate) fn of_kind(resource: &ApiResource, meta: &ObjectMeta) -> Self {
        let word = |text: &str| Cow::Owned(text.to_owned());
        Self::with(word(&resource.api_version), word(&resource.kind), word(&resource.plural), meta)
    }

    fn with(
        api_version: Cow<'static, str>,
        kind: Cow<'static, str>,
        plural: Cow<'static, str>,
        meta: &ObjectMeta,
    ) -> Self {
        Self {
            api_version,
            kind,
            plural,
            key: ObjectKey::of(meta),
            uid: uid(meta).to_owned(),
            owners: meta.owner_references.clone().unwrap_or_default(),
            finalizers: meta.finalizers.clone().unwrap_or_default(),
            deleting: is_deleting(meta),
        }
    }

    pub(crate) fn has_finalizer(&self, name: &str) -> bool {
        self.finalizers.iter().any(|finalizer| finalizer == name)
    }
}

/// All objects that own or are owned, and the references between them.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    items: HashMap<String, Item>,
    dependents: HashMap<String, BTreeSet<String>>,
}

impl Graph {
    pub(crate) fn find(&self, id: &str) -> Option<&Item> {
        self.items.get(id)
    }

    /// The uids of the objects that `which` chooses, in order.
    pub(crate) fn all(&self, which: impl Fn(&Item) -> bool) -> Vec<String> {
        let mut found: Vec<String> =
            self.items.values().filter(|item| which(item)).map(|item| item.uid.clone()).collect();
        found.sort();
        found
    }

    /// The objects that name this one as an owner, ordered by uid.
    pub(crate) fn dependents(&self, id: &str) -> Vec<&Item> {
        let known = self.dependents.get(id).into_iter().flatten();
        known.filter_map(|dependent| self.items.get(dependent)).collect()
    }

    /// Takes an object in; returns the uids that must be looked at again.
    pub(crate) fn apply(&mut self, item: Item) -> Vec<String> {
        let mut suspects = vec![item.uid.clone()];
        if let Some(old) = self.items.get(&item.uid).cloned() {
            self.cut(&old);
            // Owners that wait for their dependents may have lost one by a cut reference.
            suspects.extend(old.owners.into_iter().map(|owner| owner.uid));
        }
        for owner in &item.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(item.uid.clone());
        }
        if item.deleting {
            suspects.extend(item.owners.iter().map(|owner| owner.uid.clone()));
        }
        self.items.insert(item.uid.clone(), item);
        suspects
    }

    /// Takes an object out; returns the uids that must be looked at again: its dependents, and owners that wait for it.
    pub(crate) fn delete(&mut self, id: &str) -> Vec<String> {
        let Some(item) = self.items.remove(id) else { return Vec::new() };
        self.cut(&item);
        let dependents = self.dependents.get(id).into_iter().flatten().cloned();
        item.owners.iter().map(|owner| owner.uid.clone()).chain(dependents).collect()
    }

    fn cut(&mut self, item: &Item) {
        for owner in &item.owners {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(&item.uid);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }
}
