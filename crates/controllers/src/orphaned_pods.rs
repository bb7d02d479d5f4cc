//! Removes pods whose node is gone: nobody else is left who could end them (`pkg/controller/podgc`).

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;

use crate::context::{Context, Deletion, PODS_BY_NODE};
use crate::error::Error;
use crate::objects::{ObjectKey, pod_node};
use crate::queue::{Again, Queue};

/// Removes pods of nodes that no longer exist, for ever.
/// The stores wake it from this call on, not only once the future is polled.
pub(crate) fn run(context: Arc<Context>) -> impl Future<Output = ()> + Send {
    // Keys are node names.
    let queue = Queue::new();
    let wake = queue.clone();
    context.stores.nodes.on_change(move |change| {
        if let (Some(gone), None) = (change.old, change.new) {
            wake.add(gone.metadata.name.clone().unwrap_or_default());
        }
    });
    let wake = queue.clone();
    let weak = Arc::downgrade(&context);
    context.stores.pods.on_change(move |change| {
        let Some(node) = change.new.and_then(pod_node) else { return };
        if change.old.and_then(pod_node) == Some(node) {
            return;
        }
        if let Some(context) = weak.upgrade()
            && context.stores.nodes.find(&ObjectKey::new("", node)).is_none()
        {
            wake.add(node.to_owned());
        }
    });
    async move { queue.run("orphaned pods", 4, |node| reconcile(&context, node)).await }
}

async fn reconcile(context: &Context, name: String) -> Result<Again, Error> {
    let key = ObjectKey::new("", &name);
    if context.stores.nodes.find(&key).is_some() {
        return Ok(Again::OnEvent);
    }
    let pods = context.stores.pods.indexed(PODS_BY_NODE, &name);
    // The store of nodes may be behind that of pods: a node that has just been added must not lose its pods.
    if pods.is_empty() || context.read::<Node>(&key).await?.is_some() {
        return Ok(Again::OnEvent);
    }
    for pod in pods {
        tracing::info!(pod = %ObjectKey::of(&pod.metadata), node = name, "removing a pod whose node is gone");
        context.delete(pod.as_ref(), Deletion { grace_period: Some(0), foreground: false }).await?;
    }
    Ok(Again::OnEvent)
}
