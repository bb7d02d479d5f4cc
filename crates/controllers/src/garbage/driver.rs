use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::Resource as _;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, Pod, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use tokio::task::JoinSet;

use super::custom::{CustomKind, CustomKinds, follow};
use super::graph::{Graph, Item};
use super::verdict::{ORPHAN, Verdict, judge};
use crate::context::{Context, Deletion};
use crate::error::Error;
use crate::objects::{ObjectKey, uid};
use crate::queue::{Again, Queue};
use crate::store::{Change, Store};

/// Objects looked at side by side.
const WORKERS: usize = 16;

/// The kinds that may own something: what their references are looked up by.
const KINDS: &[(&str, &str, &str, bool)] = &[
    (Namespace::API_VERSION, Namespace::KIND, Namespace::URL_PATH_SEGMENT, false),
    (Node::API_VERSION, Node::KIND, Node::URL_PATH_SEGMENT, false),
    (Pod::API_VERSION, Pod::KIND, Pod::URL_PATH_SEGMENT, true),
    (Service::API_VERSION, Service::KIND, Service::URL_PATH_SEGMENT, true),
    (Endpoints::API_VERSION, Endpoints::KIND, Endpoints::URL_PATH_SEGMENT, true),
    (EndpointSlice::API_VERSION, EndpointSlice::KIND, EndpointSlice::URL_PATH_SEGMENT, true),
    (Deployment::API_VERSION, Deployment::KIND, Deployment::URL_PATH_SEGMENT, true),
    (ReplicaSet::API_VERSION, ReplicaSet::KIND, ReplicaSet::URL_PATH_SEGMENT, true),
    (DaemonSet::API_VERSION, DaemonSet::KIND, DaemonSet::URL_PATH_SEGMENT, true),
    (ControllerRevision::API_VERSION, ControllerRevision::KIND, ControllerRevision::URL_PATH_SEGMENT, true),
    (ServiceAccount::API_VERSION, ServiceAccount::KIND, ServiceAccount::URL_PATH_SEGMENT, true),
    (ConfigMap::API_VERSION, ConfigMap::KIND, ConfigMap::URL_PATH_SEGMENT, true),
    (Secret::API_VERSION, Secret::KIND, Secret::URL_PATH_SEGMENT, true),
    (Lease::API_VERSION, Lease::KIND, Lease::URL_PATH_SEGMENT, true),
];

#[derive(Default)]
pub(super) struct Shared(Mutex<Graph>);

impl Shared {
    // Every method of `Graph` leaves it whole.
    pub(super) fn lock(&self) -> MutexGuard<'_, Graph> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Collects garbage, for ever.
/// The stores wake it from this call on, not only once the future is polled.
pub(crate) fn run(context: Arc<Context>) -> impl Future<Output = ()> + Send {
    // Keys are uids.
    let queue = Queue::new();
    let graph = Arc::new(Shared::default());
    let stores = &context.stores;
    feed(&stores.nodes, &graph, &queue);
    feed(&stores.pods, &graph, &queue);
    feed(&stores.services, &graph, &queue);
    feed(&stores.endpoints, &graph, &queue);
    feed(&stores.slices, &graph, &queue);
    feed(&stores.deployments, &graph, &queue);
    feed(&stores.replica_sets, &graph, &queue);
    feed(&stores.daemon_sets, &graph, &queue);
    feed(&stores.controller_revisions, &graph, &queue);
    feed(&stores.service_accounts, &graph, &queue);
    feed(&stores.config_maps, &graph, &queue);
    feed(&stores.secrets, &graph, &queue);
    feed(&stores.leases, &graph, &queue);
    async move {
        let kinds = Arc::new(CustomKinds::default());
        // Dropping the set ends the task in it.
        let mut following = JoinSet::new();
        following.spawn(follow(context.client.clone(), kinds.clone(), graph.clone(), queue.clone()));
        queue.run("garbage", WORKERS, |id| reconcile(&context, &kinds, &graph, id)).await;
    }
}

fn feed<K>(store: &Store<K>, graph: &Arc<Shared>, queue: &Arc<Queue<String>>)
where
    K: kube::Resource<DynamicType = ()> + k8s_openapi::Resource + 'static,
{
    let (to_graph, to_queue) = (graph.clone(), queue.clone());
    store.on_change(move |change: &Change<'_, K>| {
        let mut graph = to_graph.lock();
        let mut suspects = Vec::new();
        let replaced = |old: &&K| change.new.is_none_or(|new| uid(new.meta()) != uid(old.meta()));
        if let Some(old) = change.old.filter(replaced) {
            suspects.extend(graph.delete(uid(old.meta())));
        }
        if let Some(new) = change.new {
            let item = Item::of::<K>(new.meta());
            // Nearly all changes leave these alone: a pod's status, a node's heartbeat.
            if graph.find(&item.uid) != Some(&item) {
                suspects.extend(graph.apply(item));
            }
        }
        suspects.into_iter().for_each(|id| to_queue.add(id));
    });
}

async fn reconcile(
    context: &Context,
    kinds: &CustomKinds,
    graph: &Shared,
    id: String,
) -> Result<Again, Error> {
    let mut absent = Vec::new();
    loop {
        let Some((item, verdict)) = ({
            let graph = graph.lock();
            graph.find(&id).map(|item| (item.clone(), judge(&graph, item, &absent)))
        }) else {
            return Ok(Again::OnEvent);
        };
        match verdict {
            Verdict::Keep => return Ok(Again::OnEvent),
            Verdict::LookUp(unknown) => {
                for owner in item.owners.iter().filter(|owner| unknown.contains(&owner.uid)) {
                    if exists(context, kinds, &item, owner).await? {
                        return Ok(Again::OnEvent);
                    }
                    absent.push(owner.uid.clone());
                }
            }
            other => return carry_out(context, graph, &item, other).await.map(|()| Again::OnEvent),
        }
    }
}

async fn carry_out(context: &Context, graph: &Shared, item: &Item, verdict: Verdict) -> Result<(), Error> {
    let known = |ids: Vec<String>| -> Vec<Item> {
        let graph = graph.lock();
        ids.iter().filter_map(|id| graph.find(id).cloned()).collect()
    };
    match verdict {
        Verdict::Keep | Verdict::LookUp(_) => {}
        Verdict::Delete { foreground } => {
            tracing::info!(kind = %item.kind, object = %item.key, "deleting an object whose owners are gone");
            delete_abandoned(context, item, foreground).await?;
        }
        Verdict::Cut(owners) => {
            edit(context, item, |object| {
                object
                    .metadata
                    .owner_references
                    .iter_mut()
                    .for_each(|all| all.retain(|owner| !owners.contains(&owner.uid)));
            })
            .await?;
        }
        Verdict::DeleteDependents(ids) => {
            for dependent in known(ids) {
                delete(context, &dependent, true).await?;
            }
        }
        Verdict::LetGo(ids) => {
            for dependent in known(ids) {
                edit(context, &dependent, |object| {
                    object
                        .metadata
                        .owner_references
                        .iter_mut()
                        .for_each(|all| all.retain(|owner| owner.uid != item.uid));
                })
                .await?;
            }
            take_off(context, item, ORPHAN).await?;
        }
        Verdict::Release(finalizer) => take_off(context, item, finalizer).await?,
    }
    Ok(())
}

fn api(context: &Context, item: &Item) -> Api<DynamicObject> {
    open(context, &item.api_version, &item.kind, &item.plural, &item.key.namespace)
}

fn open(
    context: &Context,
    api_version: &str,
    kind: &str,
    plural: &str,
    namespace: &str,
) -> Api<DynamicObject> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    if namespace.is_empty() {
        Api::all_with(context.client.clone(), &resource)
    } else {
        Api::namespaced_with(context.client.clone(), namespace, &resource)
    }
}

fn failed(verb: &'static str, item: &Item, source: kube::Error) -> Error {
    Error::Api { verb, kind: item.kind.clone().into_owned(), key: item.key.clone(), source: Box::new(source) }
}

/// Asks the server whether an owner exists. One of a kind that we do not know is taken to exist: deleting too little does
/// less harm than deleting too much.
async fn exists(
    context: &Context,
    kinds: &CustomKinds,
    item: &Item,
    owner: &OwnerReference,
) -> Result<bool, Error> {
    fn group(api_version: &str) -> &str {
        api_version.split_once('/').map_or("", |(group, _)| group)
    }
    let built_in = KINDS.iter().find(|(api_version, kind, _, _)| {
        *kind == owner.kind && group(api_version) == group(&owner.api_version)
    });
    let custom = kinds.find(group(&owner.api_version), &owner.kind);
    let (api_version, kind, plural, namespaced) = match (built_in, &custom) {
        (Some(known), _) => *known,
        (None, Some(CustomKind { resource, namespaced })) => {
            (resource.api_version.as_str(), resource.kind.as_str(), resource.plural.as_str(), *namespaced)
        }
        (None, None) => {
            tracing::debug!(kind = owner.kind, object = %item.key, "owner of an unknown kind");
            return Ok(true);
        }
    };
    let namespace = if namespaced { item.key.namespace.as_str() } else { "" };
    if namespaced && namespace.is_empty() {
        // An object of the whole cluster cannot be owned by one of a namespace; nothing tells which was meant.
        return Ok(true);
    }
    let found = open(context, api_version, kind, plural, namespace).get_opt(&owner.name).await;
    let found = found.map_err(|source| Error::Api {
        verb: "look up the owner",
        kind: kind.to_owned(),
        key: ObjectKey::new(namespace, &owner.name),
        source: Box::new(source),
    })?;
    Ok(found.is_some_and(|found| uid(&found.metadata) == owner.uid))
}

/// Deletes an object if it is as it was judged. What we know of it may be old: an owner that leaves its dependents behind
/// takes its references off them just before it goes, and the two changes come to us by different watches.
async fn delete_abandoned(context: &Context, item: &Item, foreground: bool) -> Result<(), Error> {
    let api = api(context, item);
    let found = api.get_opt(&item.key.name).await.map_err(|source| failed("read", item, source))?;
    let Some(found) = found.filter(|found| uid(&found.metadata) == item.uid) else { return Ok(()) };
    if found.metadata.owner_references.as_deref().unwrap_or_default() != item.owners {
        // The change is on its way to us, and then it is judged anew.
        return Ok(());
    }
    let mut parameters = Deletion { grace_period: None, foreground }.parameters(&item.uid);
    if let Some(preconditions) = &mut parameters.preconditions {
        preconditions.resource_version = found.metadata.resource_version;
    }
    // A conflict is tried again.
    match api.delete(&item.key.name, &parameters).await {
        Ok(_) => Ok(()),
        Err(source) => {
            let error = failed("delete", item, source);
            if error.is_not_found() { Ok(()) } else { Err(error) }
        }
    }
}

async fn delete(context: &Context, item: &Item, foreground: bool) -> Result<(), Error> {
    let parameters = Deletion { grace_period: None, foreground }.parameters(&item.uid);
    match api(context, item).delete(&item.key.name, &parameters).await {
        Ok(_) => Ok(()),
        Err(source) => {
            let error = failed("delete", item, source);
            if error.is_not_found() { Ok(()) } else { Err(error) }
        }
    }
}

/// Reads, changes and replaces an object; one that is gone or was replaced by another is left alone.
async fn edit(context: &Context, item: &Item, change: impl Fn(&mut DynamicObject)) -> Result<(), Error> {
    let api = api(context, item);
    let found = api.get_opt(&item.key.name).await.map_err(|source| failed("read", item, source))?;
    let Some(mut object) = found.filter(|found| uid(&found.metadata) == item.uid) else { return Ok(()) };
    change(&mut object);
    match api.replace(&item.key.name, &PostParams::default(), &object).await {
        Ok(_) => Ok(()),
        Err(source) => {
            let error = failed("update", item, source);
            if error.is_not_found() { Ok(()) } else { Err(error) }
        }
    }
}

async fn take_off(context: &Context, item: &Item, finalizer: &str) -> Result<(), Error> {
    edit(context, item, |object| {
        object.metadata.finalizers.iter_mut().for_each(|all| all.retain(|held| held != finalizer));
    })
    .await
}
