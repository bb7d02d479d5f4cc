//! What every driver works with: the stores, and writes whose answers go back into them.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, Pod, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, PostParams, Preconditions, PropagationPolicy};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::Config;
use crate::error::Error;
use crate::objects::{ObjectKey, controller_of, is_deleting, pod_is_finished, pod_node, uid};
use crate::recorder::Recorder;
use crate::selector::label_index_name;
use crate::store::{IndexBy, IndexId, Store};

/// Dependents by the uid of the object that controls them.
pub(crate) const BY_CONTROLLER: IndexId = IndexId(0);
/// Pods by the node they are bound to; finished ones are left out.
pub(crate) const PODS_BY_NODE: IndexId = IndexId(1);
/// Pods by each of their labels, see [`label_index_name`].
pub(crate) const PODS_BY_LABEL: IndexId = IndexId(2);
/// Pods that no node has been chosen for, under the empty name.
pub(crate) const PODS_UNBOUND: IndexId = IndexId(3);
/// Services by the first pair of their selector, see [`label_index_name`].
pub(crate) const SERVICES_BY_SELECTOR: IndexId = IndexId(0);
/// Slices by `namespace/service`, see [`slice_service`].
pub(crate) const SLICES_BY_SERVICE: IndexId = IndexId(0);

/// The label by which an EndpointSlice names its Service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label by which an EndpointSlice names the controller that keeps it.
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// Everything the controllers know.
pub(crate) struct Stores {
    pub(crate) namespaces: Store<Namespace>,
    pub(crate) nodes: Store<Node>,
    pub(crate) pods: Store<Pod>,
    pub(crate) services: Store<Service>,
    pub(crate) endpoints: Store<Endpoints>,
    pub(crate) slices: Store<EndpointSlice>,
    pub(crate) deployments: Store<Deployment>,
    pub(crate) replica_sets: Store<ReplicaSet>,
    pub(crate) daemon_sets: Store<DaemonSet>,
    pub(crate) controller_revisions: Store<ControllerRevision>,
    pub(crate) service_accounts: Store<ServiceAccount>,
    /// Without their data, but for those that tell pods of the authority.
    pub(crate) config_maps: Store<ConfigMap>,
    /// Without their data: only the garbage collector reads them.
    pub(crate) secrets: Store<Secret>,
    pub(crate) leases: Store<Lease>,
}

fn by_controller<K: Resource>(object: &K) -> Vec<String> {
    vec![match controller_of(object.meta()) {
        Some(owner) => owner.uid.clone(),
        None => uncontrolled_in(object.meta().namespace.as_deref().unwrap_or_default()),
    }]
}

/// The name under which [`BY_CONTROLLER`] holds the objects of a namespace that nobody controls. No uid has a slash.
pub(crate) fn uncontrolled_in(namespace: &str) -> String {
    format!("{namespace}/")
}

fn pods_by_label(pod: &Pod) -> Vec<String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let labels = pod.metadata.labels.iter().flatten();
    labels.map(|(key, value)| label_index_name(namespace, key, value)).collect()
}

fn services_by_selector(service: &Service) -> Vec<String> {
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let first = selector.and_then(BTreeMap::first_key_value);
    first.map(|(key, value)| label_index_name(namespace, key, value)).into_iter().collect()
}

/// The Service that a slice belongs to.
pub(crate) fn slice_service(slice: &EndpointSlice) -> Option<ObjectKey> {
    let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(ObjectKey::new(slice.metadata.namespace.as_deref().unwrap_or_default(), service))
}

impl Stores {
    pub(crate) fn new() -> Self {
        Self {
            namespaces: Store::new(Vec::new()),
            nodes: Store::new(Vec::new()),
            pods: Store::new(vec![
                IndexBy { keys: by_controller },
                IndexBy {
                    keys: |pod| {
                        let node = pod_node(pod).filter(|_| !pod_is_finished(pod));
                        node.map(str::to_owned).into_iter().collect()
                    },
                },
                IndexBy { keys: pods_by_label },
                IndexBy {
                    keys: |pod| if pod_node(pod).is_none() { vec![String::new()] } else { Vec::new() },
                },
            ]),
            services: Store::new(vec![IndexBy { keys: services_by_selector }]),
            endpoints: Store::new(Vec::new()),
            slices: Store::new(vec![IndexBy {
                keys: |slice| slice_service(slice).map(|key| key.to_string()).into_iter().collect(),
            }]),
            deployments: Store::new(Vec::new()),
            replica_sets: Store::new(vec![IndexBy { keys: by_controller }]),
            daemon_sets: Store::new(Vec::new()),
            controller_revisions: Store::new(vec![IndexBy { keys: by_controller }]),
            service_accounts: Store::new(Vec::new()),
            config_maps: Store::new(Vec::new()),
            secrets: Store::new(Vec::new()),
            leases: Store::new(Vec::new()),
        }
    }

    /// Completes once the first list of every kind has arrived.
    pub(crate) async fn synced(&self) {
        self.namespaces.synced().await;
        self.nodes.synced().await;
        self.pods.synced().await;
        self.services.synced().await;
        self.endpoints.synced().await;
        self.slices.synced().await;
        self.deployments.synced().await;
        self.replica_sets.synced().await;
        self.daemon_sets.synced().await;
        self.controller_revisions.synced().await;
        self.service_accounts.synced().await;
        self.config_maps.synced().await;
        self.secrets.synced().await;
        self.leases.synced().await;
    }

    /// Forgets all handlers.
    pub(crate) fn detach(&self) {
        self.namespaces.detach();
        self.nodes.detach();
        self.pods.detach();
        self.services.detach();
        self.endpoints.detach();
        self.slices.detach();
        self.deployments.detach();
        self.replica_sets.detach();
        self.daemon_sets.detach();
        self.controller_revisions.detach();
        self.service_accounts.detach();
        self.config_maps.detach();
        self.secrets.detach();
        self.leases.detach();
    }
}

/// A kind that has a [`Store`].
pub(crate) trait Stored:
    Resource<DynamicType = ()>
    + k8s_openapi::Resource
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
{
    /// The store of this kind.
    fn store(stores: &Stores) -> &Store<Self>;
    /// The API of this kind inside a namespace (ignored by kinds of the whole cluster).
    fn api(client: &Client, namespace: &str) -> Api<Self>;
    /// The API of this kind in all namespaces.
    fn everywhere(client: &Client) -> Api<Self>;
}

macro_rules! stored {
    ($($kind:ty, $field:ident, $namespaced:expr;)*) => {$(
        impl Stored for $kind {
            fn store(stores: &Stores) -> &Store<Self> {
                &stores.$field
            }
            fn api(client: &Client, namespace: &str) -> Api<Self> {
                let open: fn(&Client, &str) -> Api<Self> = $namespaced;
                open(client, namespace)
            }
            fn everywhere(client: &Client) -> Api<Self> {
                Api::all(client.clone())
            }
        }
    )*};
}

stored! {
    Namespace, namespaces, |client, _| Api::all(client.clone());
    Node, nodes, |client, _| Api::all(client.clone());
    ConfigMap, config_maps, |client, namespace| Api::namespaced(client.clone(), namespace);
    Pod, pods, |client, namespace| Api::namespaced(client.clone(), namespace);
    Service, services, |client, namespace| Api::namespaced(client.clone(), namespace);
    Endpoints, endpoints, |client, namespace| Api::namespaced(client.clone(), namespace);
    EndpointSlice, slices, |client, namespace| Api::namespaced(client.clone(), namespace);
    Deployment, deployments, |client, namespace| Api::namespaced(client.clone(), namespace);
    ReplicaSet, replica_sets, |client, namespace| Api::namespaced(client.clone(), namespace);
    DaemonSet, daemon_sets, |client, namespace| Api::namespaced(client.clone(), namespace);
    ControllerRevision, controller_revisions, |client, namespace| Api::namespaced(client.clone(), namespace);
    ServiceAccount, service_accounts, |client, namespace| Api::namespaced(client.clone(), namespace);
}

/// How a deletion goes on with the object's dependents and the time it has.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Deletion {
    /// Seconds the object gets to end; the object's own when `None`, at once when 0.
    pub(crate) grace_period: Option<u32>,
    /// Delete dependents before the object itself instead of after it.
    pub(crate) foreground: bool,
}

impl Deletion {
    /// As request parameters that hit only the object with that uid.
    pub(crate) fn parameters(self, id: &str) -> DeleteParams {
        let policy =
            if self.foreground { PropagationPolicy::Foreground } else { PropagationPolicy::Background };
        DeleteParams {
            grace_period_seconds: self.grace_period,
            propagation_policy: Some(policy),
            preconditions: Some(Preconditions { uid: Some(id.to_owned()), resource_version: None }),
            ..DeleteParams::default()
        }
    }
}

/// Shared by all drivers.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) config: Config,
    pub(crate) stores: Stores,
    pub(crate) recorder: Recorder,
}

impl Context {
    /// Reads one object from the server itself, past the store.
    pub(crate) async fn read<K: Stored>(&self, key: &ObjectKey) -> Result<Option<K>, Error> {
        let answer = K::api(&self.client, &key.namespace).get_opt(&key.name).await;
        answer.map_err(|source| api_error::<K>("read", key, source))
    }

    /// Creates an object. When that succeeds the store knows of it.
    pub(crate) async fn create<K: Stored>(&self, object: &K) -> Result<(), Error> {
        let key = ObjectKey::of(object.meta());
        let answer = K::api(&self.client, &key.namespace).create(&PostParams::default(), object).await;
        let created = answer.map_err(|source| api_error::<K>("create", &key, source))?;
        K::store(&self.stores).apply_written(created);
        Ok(())
    }

    /// Replaces an object; a conflict if it changed since it was read.
    pub(crate) async fn update<K: Stored>(&self, object: &K) -> Result<(), Error> {
        let key = ObjectKey::of(object.meta());
        let answer =
            K::api(&self.client, &key.namespace).replace(&key.name, &PostParams::default(), object).await;
        let updated = answer.map_err(|source| api_error::<K>("update", &key, source))?;
        K::store(&self.stores).apply_written(updated);
        Ok(())
    }

    /// Replaces the status of an object; a conflict if it changed since it was read.
    pub(crate) async fn update_status<K: Stored>(&self, object: &K) -> Result<(), Error> {
        let key = ObjectKey::of(object.meta());
        let api = K::api(&self.client, &key.namespace);
        let answer = api.replace_status(&key.name, &PostParams::default(), object).await;
        let updated = answer.map_err(|source| api_error::<K>("update the status of", &key, source))?;
        K::store(&self.stores).apply_written(updated);
        Ok(())
    }

    /// Deletes exactly this object, not a later one of the same name. That it is gone already is no error.
    pub(crate) async fn delete<K: Stored>(&self, object: &K, deletion: Deletion) -> Result<(), Error> {
        let key = ObjectKey::of(object.meta());
        let id = uid(object.meta());
        let api = K::api(&self.client, &key.namespace);
        match api.delete(&key.name, &deletion.parameters(id)).await {
            Ok(answer) => match answer.left().filter(stays) {
                Some(ending) => K::store(&self.stores).apply_written(ending),
                None => K::store(&self.stores).delete_written(&key, id),
            },
            Err(source) => {
                let error = api_error::<K>("delete", &key, source);
                // A conflict means that the name belongs to another object now, or that this one changed just then.
                let gone = error.is_not_found()
                    || error.is_conflict()
                        && self.read::<K>(&key).await?.is_none_or(|found| uid(found.meta()) != id);
                if !gone {
                    return Err(error);
                }
                K::store(&self.stores).delete_written(&key, id);
            }
        }
        Ok(())
    }
}

/// Whether the answer to a deletion shows an object that is still there, ending or held by finalizers.
fn stays<K: Resource>(answer: &K) -> bool {
    let meta = answer.meta();
    let held = meta.finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty());
    is_deleting(meta) && (held || meta.deletion_grace_period_seconds.unwrap_or(0) > 0)
}

/// Wraps an answer of the server with what was asked.
pub(crate) fn api_error<K: k8s_openapi::Resource>(
    verb: &'static str,
    key: &ObjectKey,
    source: kube::Error,
) -> Error {
    Error::Api { verb, kind: K::KIND.to_owned(), key: key.clone(), source: Box::new(source) }
}
