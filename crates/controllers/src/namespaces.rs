//! Deletes what is in a namespace that is being deleted, then lets the namespace go (its finalizer `kubernetes`).

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Request};
use kube::core::discovery::verbs;
use kube::discovery::{Discovery, Scope};

use crate::context::{Context, api_error};
use crate::error::Error;
use crate::objects::{ObjectKey, is_deleting};
use crate::queue::{Again, Queue};
use crate::store::{Change, Store};

const FINALIZER: &str = "kubernetes";

/// Empties and releases namespaces, for ever.
/// The stores wake it from this call on, not only once the future is polled.
pub(crate) fn run(context: Arc<Context>) -> impl Future<Output = ()> + Send {
    // Keys are names of namespaces.
    let queue = Queue::new();
    let wake = queue.clone();
    context.stores.namespaces.on_change(move |change| {
        if let Some(namespace) = change.new.filter(|namespace| is_deleting(&namespace.metadata)) {
            wake.add(namespace.metadata.name.clone().unwrap_or_default());
        }
    });
    let stores = &context.stores;
    wake_when_gone(&context, &stores.pods, &queue);
    wake_when_gone(&context, &stores.services, &queue);
    wake_when_gone(&context, &stores.endpoints, &queue);
    wake_when_gone(&context, &stores.slices, &queue);
    wake_when_gone(&context, &stores.deployments, &queue);
    wake_when_gone(&context, &stores.replica_sets, &queue);
    wake_when_gone(&context, &stores.daemon_sets, &queue);
    wake_when_gone(&context, &stores.controller_revisions, &queue);
    wake_when_gone(&context, &stores.service_accounts, &queue);
    wake_when_gone(&context, &stores.config_maps, &queue);
    wake_when_gone(&context, &stores.secrets, &queue);
    wake_when_gone(&context, &stores.leases, &queue);
    async move { queue.run("namespaces", 4, |name| reconcile(&context, name)).await }
}

/// The end of any object in a namespace that is being deleted may have been the last.
fn wake_when_gone<K: kube::Resource + 'static>(
    context: &Arc<Context>,
    store: &Store<K>,
    queue: &Arc<Queue<String>>,
) {
    let weak = Arc::downgrade(context);
    let queue = queue.clone();
    store.on_change(move |change: &Change<'_, K>| {
        let (Some(gone), None) = (change.old, change.new) else { return };
        let Some(context) = weak.upgrade() else { return };
        let name = gone.meta().namespace.clone().unwrap_or_default();
        let namespace = context.stores.namespaces.find(&ObjectKey::new("", &name));
        if namespace.is_some_and(|namespace| is_deleting(&namespace.metadata)) {
            queue.add(name);
        }
    });
}

async fn reconcile(context: &Context, name: String) -> Result<Again, Error> {
    let key = ObjectKey::new("", &name);
    let Some(namespace) = context.stores.namespaces.find(&key).filter(|found| is_deleting(&found.metadata))
    else {
        return Ok(Again::OnEvent);
    };
    if !is_held(&namespace) {
        return Ok(Again::OnEvent);
    }
    let left = empty(context, &key).await?;
    if !left.is_empty() {
        // Pods need their time to end; their last event brings the namespace back here.
        return Err(Error::Waiting { what: format!("{} in namespace {name}", left.join(", ")) });
    }
    release(context, &key, namespace.as_ref().clone()).await?;
    tracing::info!(namespace = name, "namespace emptied and released");
    Ok(Again::OnEvent)
}

fn is_held(namespace: &Namespace) -> bool {
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
    finalizers.into_iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// Asks for the deletion of everything in the namespace, of whatever kinds the server has; returns the kinds of which
/// something is still there.
async fn empty(context: &Context, key: &ObjectKey) -> Result<Vec<String>, Error> {
    let failed = |verb, source| api_error::<Namespace>(verb, key, source);
    let discovery = Discovery::new(context.client.clone())
        .run()
        .await
        .map_err(|source| failed("list the kinds for", source))?;
    let mut left = Vec::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let deletable = capabilities.scope == Scope::Namespaced
                && capabilities.supports_operation(verbs::LIST)
                && capabilities.supports_operation(verbs::DELETE);
            if !deletable {
                continue;
            }
            let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &key.name, &resource);
            let first = ListParams::default().limit(1);
            let found = api.list(&first).await.map_err(|source| failed("list the contents of", source))?;
            if found.items.is_empty() {
                continue;
            }
            let all = ListParams::default();
            let deleted = api.delete_collection(&DeleteParams::background(), &all).await;
            deleted.map_err(|source| failed("delete the contents of", source))?;
            let found = api.list(&first).await.map_err(|source| failed("list the contents of", source))?;
            if !found.items.is_empty() {
                left.push(resource.plural.clone());
            }
        }
    }
    Ok(left)
}

/// Takes the finalizer off, by the one subresource that may (`/finalize`).
async fn release(context: &Context, key: &ObjectKey, mut namespace: Namespace) -> Result<(), Error> {
    let failed = |source| api_error::<Namespace>("finalize", key, source);
    if let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    let body = serde_json::to_vec(&namespace).map_err(|source| failed(kube::Error::SerdeError(source)))?;
    let request = Request::new("/api/v1/namespaces")
        .replace_subresource("finalize", &key.name, &Default::default(), body)
        .map_err(|source| failed(kube::Error::BuildRequest(source)))?;
    match context.client.request::<serde_json::Value>(request).await.map_err(failed) {
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}
