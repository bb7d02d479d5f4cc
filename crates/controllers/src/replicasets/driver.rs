use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;

use super::plan::{Failure, new_pod, owned, plan, same_status, status};
use crate::context::{BY_CONTROLLER, Context, Deletion};
use crate::error::Error;
use crate::objects::{ObjectKey, controller_of, uid};
use crate::queue::{Again, Queue};
use crate::recorder::Severity;
use crate::ties::{Tie, settle, tie};

const COMPONENT: &str = "replicaset-controller";
/// ReplicaSets looked at side by side.
const WORKERS: usize = 16;
/// Pods created or deleted side by side for one ReplicaSet.
const LARGEST_BATCH: usize = 32;

/// Creations whose answer was lost, by the ReplicaSet's uid: they are repeated under the same names, so that none is
/// carried out twice. After a restart of the controllers the first list tells instead.
type Unanswered = Mutex<HashMap<String, Vec<Pod>>>;

/// Keeps the number of pods of every ReplicaSet right, for ever.
/// The stores wake it from this call on, not only once the future is polled.
pub(crate) fn run(context: Arc<Context>) -> impl Future<Output = ()> + Send {
    let queue = Queue::new();
    let wake = queue.clone();
    context.stores.replica_sets.on_change(move |change| {
        if let Some(set) = change.sides().last() {
            wake.add(ObjectKey::of(&set.metadata));
        }
    });
    let wake = queue.clone();
    let weak = Arc::downgrade(&context);
    context.stores.pods.on_change(move |change| {
        for pod in change.sides() {
            match controller_of(&pod.metadata) {
                Some(owner) if owner.kind == "ReplicaSet" => {
                    wake.add(ObjectKey::new(
                        pod.metadata.namespace.as_deref().unwrap_or_default(),
                        &owner.name,
                    ));
                }
                Some(_) => {}
                None => {
                    if let Some(context) = weak.upgrade() {
                        possible_adopters(&context, pod).for_each(|key| wake.add(key));
                    }
                }
            }
        }
    });
    let unanswered = Unanswered::default();
    async move { queue.run("replica sets", WORKERS, |key| reconcile(&context, &unanswered, key)).await }
}

/// ReplicaSets of the namespace that would choose a pod that nobody controls.
fn possible_adopters(context: &Context, pod: &Pod) -> impl Iterator<Item = ObjectKey> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let sets = context.stores.replica_sets.in_namespace(namespace);
    sets.into_iter()
        .filter(|set| {
            set.spec.as_ref().is_some_and(|spec| tie(&set.metadata, &spec.selector, pod) == Tie::Adopt)
        })
        .map(|set| ObjectKey::of(&set.metadata))
        .collect::<Vec<_>>()
        .into_iter()
}

async fn reconcile(context: &Context, unanswered: &Unanswered, key: ObjectKey) -> Result<Again, Error> {
    let Some(set) = context.stores.replica_sets.find(&key) else {
        return Ok(Again::OnEvent);
    };
    if let Some(spec) = &set.spec {
        settle::<ReplicaSet>(context, &set.metadata, &spec.selector).await?;
    }
    let id = uid(&set.metadata).to_owned();
    let pods = owned(&set, context.stores.pods.indexed(BY_CONTROLLER, &id));
    let related = related(context, &set, &pods);
    let planned = plan(&set, &pods, &related, Timestamp::now());
    let mut failure = None;
    let repeated = take(unanswered, &id);
    if planned.create > 0 {
        failure = create(context, unanswered, &set, planned.create, repeated).await.err();
    }
    for chunk in planned.delete.chunks(LARGEST_BATCH) {
        let deleted = join_all(chunk.iter().map(|pod| delete(context, &set, pod))).await;
        failure = failure.or(deleted.into_iter().find_map(Result::err).map(|error| ("FailedDelete", error)));
    }
    let again = update_status(context, &key, failure.as_ref()).await?;
    match failure {
        Some((_, error)) if !error.is_namespace_terminating() => Err(error),
        _ => Ok(again),
    }
}

/// The pods of all ReplicaSets with the same owner; this one's own when it has none.
fn related(context: &Context, set: &ReplicaSet, pods: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
    let Some(owner) = controller_of(&set.metadata) else { return pods.to_vec() };
    let siblings = context.stores.replica_sets.indexed(BY_CONTROLLER, &owner.uid);
    siblings
        .iter()
        .flat_map(|sibling| context.stores.pods.indexed(BY_CONTROLLER, uid(&sibling.metadata)))
        .collect()
}

fn take(unanswered: &Unanswered, id: &str) -> Vec<Pod> {
    unanswered.lock().unwrap_or_else(PoisonError::into_inner).remove(id).unwrap_or_default()
}

/// Creates pods in batches that double in size, so that a namespace that refuses them is asked once and not 500 times.
async fn create(
    context: &Context,
    unanswered: &Unanswered,
    set: &ReplicaSet,
    count: usize,
    mut repeated: Vec<Pod>,
) -> Result<(), (&'static str, Error)> {
    let (mut left, mut batch) = (count, 1);
    while left > 0 {
        let pods: Vec<Pod> =
            (0..batch.min(left)).map(|_| repeated.pop().unwrap_or_else(|| new_pod(set))).collect();
        let answers = join_all(pods.into_iter().map(|pod| create_one(context, unanswered, set, pod))).await;
        left -= answers.len();
        batch = (batch * 2).min(LARGEST_BATCH);
        if let Some(error) = answers.into_iter().find_map(Result::err) {
            return Err(("FailedCreate", error));
        }
    }
    Ok(())
}

async fn create_one(
    context: &Context,
    unanswered: &Unanswered,
    set: &ReplicaSet,
    pod: Pod,
) -> Result<(), Error> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    match context.create(&pod).await {
        Ok(()) => {
            context.recorder.record(
                COMPONENT,
                set,
                Severity::Normal,
                "SuccessfulCreate",
                format!("Created pod: {name}"),
            );
            Ok(())
        }
        // An earlier try of ours got through; the watch brings it, or has.
        Err(error) if error.is_already_exists() && is_ours(context, set, &pod).await? => Ok(()),
        Err(error) => {
            if error.is_outcome_unknown() {
                let mut all = unanswered.lock().unwrap_or_else(PoisonError::into_inner);
                all.entry(uid(&set.metadata).to_owned()).or_default().push(pod);
            } else if !error.is_namespace_terminating() {
                let message = format!("Error creating: {error}");
                context.recorder.record(COMPONENT, set, Severity::Warning, "FailedCreate", message);
            }
            Err(error)
        }
    }
}

async fn is_ours(context: &Context, set: &ReplicaSet, pod: &Pod) -> Result<bool, Error> {
    let Some(found) = context.read::<Pod>(&ObjectKey::of(&pod.metadata)).await? else { return Ok(false) };
    let ours = controller_of(&found.metadata).is_some_and(|owner| owner.uid == uid(&set.metadata));
    if ours {
        context.stores.pods.apply_written(found);
    }
    Ok(ours)
}

async fn delete(context: &Context, set: &ReplicaSet, pod: &Pod) -> Result<(), Error> {
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
async fn update_status(
    context: &Context,
    key: &ObjectKey,
    failure: Option<&(&'static str, Error)>,
) -> Result<Again, Error> {
    let Some(set) = context.stores.replica_sets.find(key) else { return Ok(Again::OnEvent) };
    let pods = owned(&set, context.stores.pods.indexed(BY_CONTROLLER, uid(&set.metadata)));
    let failure = failure.map(|(reason, error)| Failure { reason, message: error.to_string() });
    let (wanted, next) = status(&set, &pods, failure.as_ref(), Timestamp::now());
    if !same_status(&wanted, &set.status.clone().unwrap_or_default()) {
        let mut changed = set.as_ref().clone();
        changed.status = Some(wanted);
        context.update_status(&changed).await?;
    }
    Ok(next.map_or(Again::OnEvent, |left| Again::After(Duration::try_from(left).unwrap_or_default())))
}
