use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::PostParams;

use super::plan::{Candidate, Unschedulable, is_ours, is_ready, place};
use super::ports::HostPort;
use super::requests::Amounts;
use crate::context::{BY_CONTROLLER, Context, PODS_BY_NODE, PODS_UNBOUND, Stored, api_error};
use crate::error::Error;
use crate::objects::{ObjectKey, controller_of, pod_condition, pod_is_finished, pod_node, uid};
use crate::queue::{Again, Queue};
use crate::recorder::Severity;

const COMPONENT: &str = "default-scheduler";
/// Bindings under way at the same time.
const WORKERS: usize = 32;

/// Where pods were put whose binding the store does not show yet.
#[derive(Default)]
struct Assumed(Mutex<HashMap<String, Placed>>);

struct Placed {
    node: String,
    owner: Option<String>,
    requested: Amounts,
    ports: Vec<HostPort>,
}

impl Assumed {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Placed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Places pods, for ever.
/// The stores wake it from this call on, not only once the future is polled.
pub(crate) fn run(context: Arc<Context>) -> impl Future<Output = ()> + Send {
    let queue = Queue::new();
    let assumed = Arc::new(Assumed::default());
    let (wake, settled) = (queue.clone(), assumed.clone());
    context.stores.pods.on_change(move |change| match change.new {
        Some(pod) if is_ours(pod) => wake.add(ObjectKey::of(&pod.metadata)),
        Some(pod) => {
            settled.lock().remove(uid(&pod.metadata));
        }
        None => change.sides().for_each(|pod| {
            settled.lock().remove(uid(&pod.metadata));
        }),
    });
    let wake = queue.clone();
    let weak = Arc::downgrade(&context);
    context.stores.nodes.on_change(move |change| {
        if let Some(context) = weak.upgrade()
            && matters(change.old, change.new)
        {
            let unbound = context.stores.pods.indexed(PODS_UNBOUND, "");
            unbound.iter().for_each(|pod| wake.add(ObjectKey::of(&pod.metadata)));
        }
    });
    // Room on a full node: a pod that ended or went away may let a waiting one in.
    let wake = queue.clone();
    let weak = Arc::downgrade(&context);
    context.stores.pods.on_change(move |change| {
        let ran = change.old.is_some_and(|old| pod_node(old).is_some() && !pod_is_finished(old));
        if !ran || change.new.is_some_and(|new| !pod_is_finished(new)) {
            return;
        }
        if let Some(context) = weak.upgrade() {
            let waiting = context.stores.pods.indexed(PODS_UNBOUND, "");
            waiting.iter().for_each(|pod| wake.add(ObjectKey::of(&pod.metadata)));
        }
    });
    async move { queue.run("scheduler", WORKERS, |key| reconcile(&context, &assumed, key)).await }
}

/// Whether a node's change can let waiting pods in. Heartbeats do not.
fn matters(old: Option<&Node>, new: Option<&Node>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => {
            let spec = |node: &Node| {
                node.spec.as_ref().map(|spec| (spec.unschedulable.unwrap_or(false), spec.taints.clone()))
            };
            let room = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone());
            is_ready(old) != is_ready(new)
                || spec(old) != spec(new)
                || old.metadata.labels != new.metadata.labels
                || room(old) != room(new)
        }
        (None, Some(_)) | (Some(_), None) => true,
        (None, None) => false,
    }
}

async fn reconcile(context: &Context, assumed: &Assumed, key: ObjectKey) -> Result<Again, Error> {
    let Some(pod) = context.stores.pods.find(&key).filter(|pod| is_ours(pod)) else {
        return Ok(Again::OnEvent);
    };
    match assume(context, assumed, &pod) {
        Ok(Some(node)) => bind(context, assumed, &pod, &node).await?,
        Ok(None) => {}
        Err(refused) => report(context, &pod, &refused).await?,
    }
    Ok(Again::OnEvent)
}

/// Chooses a node and counts the pod there at once, so that the next pod sees it. `None` when the pod was placed before.
fn assume(context: &Context, assumed: &Assumed, pod: &Pod) -> Result<Option<String>, Unschedulable> {
    let mut placed = assumed.lock();
    if placed.contains_key(uid(&pod.metadata)) {
        return Ok(None);
    }
    let owner = controller_of(&pod.metadata).map(|owner| owner.uid.clone());
    let mut siblings: BTreeMap<String, usize> = BTreeMap::new();
    if let Some(owner) = &owner {
        let running = context.stores.pods.indexed(BY_CONTROLLER, owner);
        for node in running.iter().filter(|pod| !pod_is_finished(pod)).filter_map(|pod| pod_node(pod)) {
            *siblings.entry(node.to_owned()).or_default() += 1;
        }
    }
    let mut coming: BTreeMap<&str, (usize, Amounts, Vec<HostPort>)> = BTreeMap::new();
    for other in placed.values() {
        let there = coming.entry(&other.node).or_default();
        there.0 += 1;
        there.1 += other.requested;
        there.2.extend(other.ports.iter().cloned());
        if owner.is_some() && other.owner == owner {
            *siblings.entry(other.node.clone()).or_default() += 1;
        }
    }
    let requested = pod.spec.as_ref().map(Amounts::requested).unwrap_or_default();
    let wanted_ports = pod.spec.as_ref().map(HostPort::of).unwrap_or_default();
    let nodes = context.stores.nodes.all();
    let candidates: Vec<Candidate<'_>> = nodes
        .iter()
        .map(|node| {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            let there = context.stores.pods.count(PODS_BY_NODE, name);
            let (coming, assumed, mut ports) = coming.get(name).cloned().unwrap_or_default();
            // Adding up what all pods of a node request is for those who ask for something.
            let used = if requested.is_nothing() { assumed } else { assumed + used(context, name) };
            if !wanted_ports.is_empty() {
                ports.extend(ports_of(context, name));
            }
            let siblings = siblings.get(name).copied().unwrap_or(0);
            Candidate { node, pods: there + coming, siblings, used, ports }
        })
        .collect();
    let node = place(pod, &candidates)?.to_owned();
    placed.insert(
        uid(&pod.metadata).to_owned(),
        Placed { node: node.clone(), owner, requested, ports: wanted_ports },
    );
    Ok(Some(node))
}

/// What the pods on a node request that have not finished.
fn used(context: &Context, node: &str) -> Amounts {
    let pods = context.stores.pods.indexed(PODS_BY_NODE, node);
    let specs = pods.iter().filter(|pod| !pod_is_finished(pod)).filter_map(|pod| pod.spec.as_ref());
    specs.map(Amounts::requested).fold(Amounts::default(), |all, one| all + one)
}

/// The ports of a node that its pods have that have not finished.
fn ports_of(context: &Context, node: &str) -> Vec<HostPort> {
    let pods = context.stores.pods.indexed(PODS_BY_NODE, node);
    pods.iter().filter_map(|pod| pod.spec.as_ref()).flat_map(HostPort::of).collect()
}

async fn bind(context: &Context, assumed: &Assumed, pod: &Pod, node: &str) -> Result<(), Error> {
    let key = ObjectKey::of(&pod.metadata);
    let binding = Binding {
        metadata: ObjectMeta {
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            uid: pod.metadata.uid.clone(),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        },
    };
    let api = Pod::api(&context.client, &key.namespace);
    // The node may be at work on the pod before we have the answer: the event goes before the node's.
    let began = Timestamp::now();
    let answer: Result<serde_json::Value, kube::Error> =
        api.create_subresource("binding", &key.name, &PostParams::default(), &binding).await;
    match answer {
        Ok(_) => {
            let message = format!("Successfully assigned {key} to {node}");
            context.recorder.record_at(COMPONENT, pod, Severity::Normal, "Scheduled", message, began);
            // The event that ends the assumption may have come before the assumption was made.
            let waits = context.stores.pods.find(&key).filter(|held| is_ours(held));
            if waits.is_none_or(|held| uid(&held.metadata) != uid(&pod.metadata)) {
                assumed.lock().remove(uid(&pod.metadata));
            }
            Ok(())
        }
        Err(source) => {
            assumed.lock().remove(uid(&pod.metadata));
            let error = api_error::<Pod>("bind", &key, source);
            // Gone, or bound by an earlier try of ours: the watch tells which.
            if error.is_not_found() { Ok(()) } else { Err(error) }
        }
    }
}

/// Tells on the pod why it waits.
async fn report(context: &Context, pod: &Pod, refused: &Unschedulable) -> Result<(), Error> {
    let known = pod_condition(pod, "PodScheduled");
    if known
        .is_some_and(|known| known.status == "False" && known.message.as_deref() == Some(&refused.message))
    {
        return Ok(());
    }
    context.recorder.record(COMPONENT, pod, Severity::Warning, "FailedScheduling", refused.message.clone());
    let since =
        known.filter(|known| known.status == "False").and_then(|known| known.last_transition_time.clone());
    let condition = PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some("Unschedulable".to_owned()),
        message: Some(refused.message.clone()),
        last_transition_time: Some(since.unwrap_or(Time(Timestamp::now()))),
        ..PodCondition::default()
    };
    let mut changed = pod.clone();
    let conditions = changed.status.get_or_insert_default().conditions.get_or_insert_default();
    conditions.retain(|condition| condition.type_ != "PodScheduled");
    conditions.push(condition);
    context.update_status(&changed).await
}
