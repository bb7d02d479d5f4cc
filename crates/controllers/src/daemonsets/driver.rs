use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;

use super::back_off::{BackOff, Place};
use super::plan::{live_hashes, new_pod, node_of, plan, status};
use super::revision::{Step, step, surplus};
use crate::context::{BY_CONTROLLER, Context, Deletion};
use crate::error::Error;
use crate::objects::{ObjectKey, controller_of, is_deleting, pod_phase, uid};
use crate::queue::{Again, Queue};
use crate::recorder::Severity;
use crate::ties::{Tie, settle, tie};

const COMPONENT: &str = "daemonset-controller";
/// DaemonSets looked at side by side.
const WORKERS: usize = 4;
/// Pods created or deleted side by side for one DaemonSet.
const LARGEST_BATCH: usize = 32;

/// Keeps a pod of every DaemonSet on every node that it is for, for ever.
/// The stores wake it from this call on, not only once the future is polled.
pub(crate) fn run(context: Arc<Context>) -> impl Future<Output = ()> + Send {
    let queue = Queue::new();
    let wake = queue.clone();
    context.stores.daemon_sets.on_change(move |change| {
        if let Some(set) = change.sides().last() {
            wake.add(ObjectKey::of(&set.metadata));
        }
    });
    let wake = queue.clone();
    let weak = Arc::downgrade(&context);
    context.stores.pods.on_change(move |change| {
        for pod in change.sides() {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            match controller_of(&pod.metadata) {
                Some(owner) if owner.kind == "DaemonSet" => wake.add(ObjectKey::new(namespace, &owner.name)),
                Some(_) => {}
                None => {
                    let Some(context) = weak.upgrade() else { continue };
                    let sets = context.stores.daemon_sets.in_namespace(namespace);
                    let adopters = sets.iter().filter(|set| {
                        let spec = set.spec.as_ref();
                        spec.is_some_and(|spec| tie(&set.metadata, &spec.selector, pod) == Tie::Adopt)
                    });
                    adopters.for_each(|set| wake.add(ObjectKey::of(&set.metadata)));
                }
            }
        }
    });
    let wake = queue.clone();
    let weak = Arc::downgrade(&context);
    context.stores.nodes.on_change(move |change| {
        // Heartbeats change neither labels nor taints.
        let place = |node: &k8s_openapi::api::core::v1::Node| {
            (node.metadata.labels.clone(), node.spec.clone(), is_deleting(&node.metadata))
        };
        if change.old.map(place) != change.new.map(place)
            && let Some(context) = weak.upgrade()
        {
            let sets = context.stores.daemon_sets.all();
            sets.iter().for_each(|set| wake.add(ObjectKey::of(&set.metadata)));
        }
    });
    let failures = Failures::default();
    async move { queue.run("daemon sets", WORKERS, |key| reconcile(&context, &failures, key)).await }
}

/// Which pods have failed where; a restart forgets it.
type Failures = Mutex<BackOff>;

async fn reconcile(context: &Context, failures: &Failures, key: ObjectKey) -> Result<Again, Error> {
    let Some(set) = context.stores.daemon_sets.find(&key).filter(|set| !is_deleting(&set.metadata)) else {
        return Ok(Again::OnEvent);
    };
    if let Some(spec) = &set.spec {
        settle::<DaemonSet>(context, &set.metadata, &spec.selector).await?;
    }
    keep_history(context, &set).await?;
    let (nodes, now) = (context.stores.nodes.all(), Timestamp::now());
    let planned = {
        let known = failures.lock().unwrap_or_else(PoisonError::into_inner);
        plan(&set, &nodes, &pods_of(context, &set), |node| known.left(&place(&set, node), now), now)
    };
    let mut failure = None;
    for pod in &planned.ended {
        tell_end(context, failures, &set, pod, now);
        failure = failure.or(delete(context, &set, pod).await.err());
    }
    for chunk in planned.delete.chunks(LARGEST_BATCH) {
        let deleted = join_all(chunk.iter().map(|pod| delete(context, &set, pod))).await;
        failure = failure.or(deleted.into_iter().find_map(Result::err));
    }
    for chunk in planned.create.chunks(LARGEST_BATCH) {
        let created = join_all(chunk.iter().map(|node| create(context, &set, node))).await;
        failure = failure.or(created.into_iter().find_map(Result::err));
    }
    let next = update_status(context, &key).await?;
    match failure {
        Some(error) if !error.is_namespace_terminating() => Err(error),
        _ => Ok(next
            .into_iter()
            .chain(planned.again)
            .min()
            .map_or(Again::OnEvent, |left| Again::After(Duration::try_from(left).unwrap_or_default()))),
    }
}

fn place(set: &DaemonSet, node: &str) -> Place {
    (uid(&set.metadata).to_owned(), set.metadata.generation.unwrap_or(0), node.to_owned())
}

/// Tells that a pod has ended and will be deleted, and how long its successor has if it fails too.
fn tell_end(context: &Context, failures: &Failures, set: &DaemonSet, pod: &Pod, now: Timestamp) {
    let (key, node) = (ObjectKey::of(&pod.metadata), node_of(pod).unwrap_or_default());
    let (severity, reason, message) = if pod_phase(pod) == "Failed" {
        failures.lock().unwrap_or_else(PoisonError::into_inner).failed(place(set, node), now);
        let message = format!("Found failed daemon pod {key} on node {node}, will try to kill it");
        (Severity::Warning, "FailedDaemonPod", message)
    } else {
        let message = format!("Found succeeded daemon pod {key} on node {node}, will try to delete it");
        (Severity::Normal, "SucceededDaemonPod", message)
    };
    context.recorder.record(COMPONENT, set, severity, reason, message);
}

fn pods_of(context: &Context, set: &DaemonSet) -> Vec<Arc<Pod>> {
    context.stores.pods.indexed(BY_CONTROLLER, uid(&set.metadata))
}

/// Sees to it that the present template has a revision, and that there are not too many old ones.
async fn keep_history(context: &Context, set: &DaemonSet) -> Result<(), Error> {
    let history = context.stores.controller_revisions.indexed(BY_CONTROLLER, uid(&set.metadata));
    match step(set, &history) {
        Step::Settled => {}
        Step::Create(revision) => match context.create(&*revision).await {
            // An earlier try of ours got through; the watch brings it, or has.
            Err(error) if error.is_already_exists() || error.is_namespace_terminating() => {}
            other => other?,
        },
        Step::Raise(revision) => context.update(&*revision).await?,
    }
    for old in surplus(set, &history, &live_hashes(&pods_of(context, set))) {
        context.delete(old.as_ref(), Deletion::default()).await?;
    }
    Ok(())
}

async fn create(context: &Context, set: &DaemonSet, node: &str) -> Result<(), Error> {
    let pod = new_pod(set, node);
    let name = pod.metadata.name.clone().unwrap_or_default();
    let created = context.create(&pod).await;
    let (severity, reason, message) = match &created {
        Ok(()) => (Severity::Normal, "SuccessfulCreate", format!("Created pod: {name}")),
        Err(error) if error.is_namespace_terminating() => return created,
        Err(error) => (Severity::Warning, "FailedCreate", format!("Error creating: {error}")),
    };
    context.recorder.record(COMPONENT, set, severity, reason, message);
    created
}

async fn delete(context: &Context, set: &DaemonSet, pod: &Pod) -> Result<(), Error> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let deleted = context.delete(pod, Deletion::default()).await;
    let (severity, reason, message) = match &deleted {
        Ok(()) => (Severity::Normal, "SuccessfulDelete", format!("Deleted pod: {name}")),
        Err(error) => (Severity::Warning, "FailedDelete", format!("Error deleting: {error}")),
    };
    context.recorder.record(COMPONENT, set, severity, reason, message);
    deleted
}

/// Counts again, since pods may have come or gone just now, and writes the status when it says something new.
async fn update_status(context: &Context, key: &ObjectKey) -> Result<Option<SignedDuration>, Error> {
    let Some(set) = context.stores.daemon_sets.find(key) else { return Ok(None) };
    let (wanted, next) = status(&set, &context.stores.nodes.all(), &pods_of(context, &set), Timestamp::now());
    if set.status.as_ref() != Some(&wanted) {
        let mut changed = set.as_ref().clone();
        changed.status = Some(wanted);
        context.update_status(&changed).await?;
    }
    Ok(next)
}
