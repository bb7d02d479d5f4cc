//! Objects of kinds that CustomResourceDefinitions bring: they own and are owned like others, and come and go by kinds.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::TryStreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, PartialObjectMeta};
use kube::core::GroupVersionKind;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::task::{AbortHandle, JoinSet};

use super::driver::Shared;
use super::graph::Item;
use crate::objects::uid;
use crate::queue::Queue;

/// A custom kind, as objects are asked for by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CustomKind {
    pub(super) resource: ApiResource,
    pub(super) namespaced: bool,
}

impl CustomKind {
    /// The kind of an established definition, in its stored version or, if that is not served, in another.
    fn of(definition: &CustomResourceDefinition) -> Option<Self> {
        let status = definition.status.as_ref()?;
        let established = status
            .conditions
            .iter()
            .flatten()
            .any(|condition| condition.type_ == "Established" && condition.status == "True");
        let names = status.accepted_names.as_ref().filter(|_| established)?;
        let mut served = definition.spec.versions.iter().filter(|version| version.served);
        let version = served.clone().find(|version| version.storage).or_else(|| served.next())?;
        let kind = GroupVersionKind::gvk(&definition.spec.group, &version.name, &names.kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, &names.plural);
        Some(Self { resource, namespaced: definition.spec.scope == "Namespaced" })
    }
}

/// The custom kinds that there are, by the name of their definition.
#[derive(Default)]
pub(super) struct CustomKinds(Mutex<BTreeMap<String, CustomKind>>);

impl CustomKinds {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, CustomKind>> {
        // Every method leaves the map whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kind of that group and name.
    pub(super) fn find(&self, group: &str, kind: &str) -> Option<CustomKind> {
        let kinds = self.lock();
        kinds.values().find(|one| one.resource.group == group && one.resource.kind == kind).cloned()
    }
}

/// What a follower of one kind works with.
#[derive(Clone)]
struct Follower {
    client: Client,
    graph: Arc<Shared>,
    queue: Arc<Queue<String>>,
}

/// Follows the definitions, and the objects of each, for ever.
pub(super) async fn follow(
    client: Client,
    kinds: Arc<CustomKinds>,
    graph: Arc<Shared>,
    queue: Arc<Queue<String>>,
) {
    let follower = Follower { client: client.clone(), graph, queue };
    let definitions = Api::<CustomResourceDefinition>::all(client);
    let mut events = pin!(watcher(definitions, watcher::Config::default()).default_backoff());
    // Dropping the set ends all of them.
    let mut running = JoinSet::new();
    let mut followed: BTreeMap<String, AbortHandle> = BTreeMap::new();
    let mut listed = BTreeSet::new();
    loop {
        let event = match events.try_next().await {
            Ok(Some(event)) => event,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "watch of the CustomResourceDefinitions interrupted");
                continue;
            }
        };
        let (definition, there) = match event {
            Event::Init => {
                listed.clear();
                continue;
            }
            Event::InitDone => {
                let gone: Vec<String> =
                    followed.keys().filter(|name| !listed.contains(*name)).cloned().collect();
                for name in gone {
                    kinds.lock().remove(&name);
                    followed.remove(&name).iter().for_each(AbortHandle::abort);
                }
                continue;
            }
            Event::Apply(definition) | Event::InitApply(definition) => (definition, true),
            Event::Delete(definition) => (definition, false),
        };
        let name = definition.metadata.name.clone().unwrap_or_default();
        listed.insert(name.clone());
        let kind = CustomKind::of(&definition).filter(|_| there);
        let known = kinds.lock().get(&name).cloned();
        if kind == known {
            continue;
        }
        followed.remove(&name).iter().for_each(AbortHandle::abort);
        match kind {
            Some(kind) => {
                kinds.lock().insert(name.clone(), kind.clone());
                followed.insert(name, running.spawn(follower.clone().objects(kind)));
            }
            None => {
                if let Some(known) = kinds.lock().remove(&name) {
                    follower.keep_only(&known, &BTreeSet::new());
                }
            }
        }
    }
}

impl Follower {
    /// Keeps the graph equal to what the server holds of one kind, for ever.
    async fn objects(self, kind: CustomKind) {
        let api = Api::<PartialObjectMeta<DynamicObject>>::all_with(self.client.clone(), &kind.resource);
        let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
        let mut listed = BTreeSet::new();
        loop {
            match events.try_next().await {
                Ok(Some(Event::Init)) => listed.clear(),
                Ok(Some(Event::InitApply(object))) => {
                    listed.insert(uid(&object.metadata).to_owned());
                    self.apply(&kind, &object);
                }
                Ok(Some(Event::InitDone)) => {
                    self.keep_only(&kind, &listed);
                    self.judge_owned(&kind);
                }
                Ok(Some(Event::Apply(object))) => self.apply(&kind, &object),
                Ok(Some(Event::Delete(object))) => {
                    let suspects = self.graph.lock().delete(uid(&object.metadata));
                    self.suspect(suspects);
                }
                Ok(None) => return,
                Err(error) => tracing::debug!(kind = kind.resource.kind, %error, "watch interrupted"),
            }
        }
    }

    fn apply(&self, kind: &CustomKind, object: &PartialObjectMeta<DynamicObject>) {
        let item = Item::of_kind(&kind.resource, &object.metadata);
        let mut graph = self.graph.lock();
        if graph.find(&item.uid) != Some(&item) {
            let suspects = graph.apply(item);
            drop(graph);
            self.suspect(suspects);
        }
    }

    /// Takes out the objects of the kind that are not among these.
    fn keep_only(&self, kind: &CustomKind, listed: &BTreeSet<String>) {
        let mut graph = self.graph.lock();
        let resource = &kind.resource;
        let gone = graph.all(|item| {
            item.api_version == resource.api_version
                && item.kind == resource.kind
                && !listed.contains(&item.uid)
        });
        let suspects: Vec<String> = gone.iter().flat_map(|id| graph.delete(id)).collect();
        drop(graph);
        self.suspect(suspects);
    }

    /// Objects whose owners are of the kind were left alone while it was not known.
    fn judge_owned(&self, kind: &CustomKind) {
        let owned = self.graph.lock().all(|item| {
            item.owners.iter().any(|owner| {
                let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
                owner.kind == kind.resource.kind && group == kind.resource.group
            })
        });
        self.suspect(owned);
    }

    fn suspect(&self, ids: Vec<String>) {
        ids.into_iter().for_each(|id| self.queue.add(id));
    }
}
