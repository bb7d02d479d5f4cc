use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::plan::{evicting, plan};
use crate::context::{Context, Deletion, PODS_BY_NODE};
use crate::error::Error;
use crate::objects::{ObjectKey, pod_node};
use crate::queue::{Again, Queue};
use crate::recorder::Severity;

const COMPONENT: &str = "taint-eviction-controller";
/// Nodes looked at side by side.
const WORKERS: usize = 4;

/// Evicts pods, for ever.
/// The stores wake it from this call on, not only once the future is polled.
pub(crate) fn run(context: Arc<Context>) -> impl Future<Output = ()> + Send {
    // Keys are node names.
    let queue = Queue::new();
    let wake = queue.clone();
    context.stores.nodes.on_change(move |change| {
        let taints = |node| evicting(node).into_iter().cloned().collect::<Vec<Taint>>();
        let (old, new) =
            (change.old.map(taints).unwrap_or_default(), change.new.map(taints).unwrap_or_default());
        if old != new
            && let Some(node) = change.new
        {
            wake.add(node.metadata.name.clone().unwrap_or_default());
        }
    });
    let wake = queue.clone();
    let weak = Arc::downgrade(&context);
    context.stores.pods.on_change(move |change| {
        let Some(name) = change.new.and_then(pod_node) else { return };
        let stay = |pod: &Pod| (pod_node(pod).map(str::to_owned), tolerations(pod).to_vec());
        if change.old.map(stay) == change.new.map(stay) {
            return;
        }
        if let Some(context) = weak.upgrade()
            && let Some(node) = context.stores.nodes.find(&ObjectKey::new("", name))
            && !evicting(&node).is_empty()
        {
            wake.add(name.to_owned());
        }
    });
    async move { queue.run("taint eviction", WORKERS, |node| reconcile(&context, node)).await }
}

fn tolerations(pod: &Pod) -> &[Toleration] {
    pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default()
}

async fn reconcile(context: &Context, name: String) -> Result<Again, Error> {
    let Some(node) = context.stores.nodes.find(&ObjectKey::new("", &name)) else {
        return Ok(Again::OnEvent);
    };
    let planned = plan(&node, &context.stores.pods.indexed(PODS_BY_NODE, &name), Timestamp::now());
    let mut failed = None;
    for pod in &planned.evict {
        // One pod's trouble does not hold up the others.
        failed = evict(context, pod).await.err().or(failed);
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(planned
            .again
            .map_or(Again::OnEvent, |left| Again::After(Duration::try_from(left).unwrap_or_default()))),
    }
}

async fn evict(context: &Context, pod: &Pod) -> Result<(), Error> {
    let key = ObjectKey::of(&pod.metadata);
    tracing::info!(pod = %key, node = pod_node(pod), "evicting a pod from a tainted node");
    let message = format!("Marking for deletion Pod {key}");
    context.recorder.record(COMPONENT, pod, Severity::Normal, "TaintManagerEviction", message);
    match context.update_status(&targeted(pod, Timestamp::now())).await {
        Err(error) if error.is_not_found() => return Ok(()),
        written => written?,
    }
    context.delete(pod, Deletion::default()).await
}

/// The pod with the condition that says why it goes (KEP-3329).
fn targeted(pod: &Pod, now: Timestamp) -> Pod {
    let mut changed = pod.clone();
    let conditions = changed.status.get_or_insert_default().conditions.get_or_insert_default();
    conditions.retain(|condition| condition.type_ != "DisruptionTarget");
    conditions.push(PodCondition {
        type_: "DisruptionTarget".to_owned(),
        status: "True".to_owned(),
        reason: Some("DeletionByTaintManager".to_owned()),
        message: Some("Taint manager: deleting due to NoExecute taint".to_owned()),
        last_transition_time: Some(Time(now)),
        ..PodCondition::default()
    });
    changed
}
