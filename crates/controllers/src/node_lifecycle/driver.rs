use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};

use super::health::{Disruption, Readiness, Sighting, seconds, silenced};
use super::taints::{self, Eviction, is_evicting};
use crate::context::{Context, PODS_BY_NODE};
use crate::error::Error;
use crate::objects::{ObjectKey, pod_condition, pod_is_ready};
use crate::queue::{Again, Queue};
use crate::recorder::Severity;

const COMPONENT: &str = "node-controller";
/// Nodes looked at side by side.
const WORKERS: usize = 4;
/// Where agents renew their leases.
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// What is known beside the API's objects; a restart forgets it, which gives every node its time again.
#[derive(Default)]
struct Known {
    nodes: HashMap<String, Watched>,
    /// The node given up last, and when the next one may be.
    given_up: Option<(String, Timestamp)>,
}

struct Watched {
    node: Arc<Node>,
    sighting: Sighting,
    /// It was ready when last looked at, and its pods count as such.
    was_ready: bool,
}

#[derive(Default)]
struct Shared(Mutex<Known>);

impl Shared {
    // Every change under the lock is whole.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches over the nodes, for ever.
/// The stores wake it from this call on, not only once the future is polled.
pub(crate) fn run(context: Arc<Context>) -> impl Future<Output = ()> + Send {
    // Keys are node names.
    let queue = Queue::new();
    let wake = queue.clone();
    let weak = Arc::downgrade(&context);
    context.stores.nodes.on_change(move |change| {
        change
            .sides()
            .last()
            .and_then(|node| node.metadata.name.clone())
            .into_iter()
            .for_each(|name| wake.add(name));
        // How much of the cluster is lost decides over every node.
        if change.old.map(Readiness::of) != change.new.map(Readiness::of)
            && let Some(context) = weak.upgrade()
        {
            let lost =
                context.stores.nodes.all().into_iter().filter(|node| Readiness::of(node) != Readiness::Ready);
            lost.filter_map(|node| node.metadata.name.clone()).for_each(|name| wake.add(name));
        }
    });
    let wake = queue.clone();
    context.stores.leases.on_change(move |change| {
        if let Some(lease) = change.new
            && lease.metadata.namespace.as_deref() == Some(LEASE_NAMESPACE)
        {
            wake.add(lease.metadata.name.clone().unwrap_or_default());
        }
    });
    let shared = Shared::default();
    async move { queue.run("node lifecycle", WORKERS, |name| reconcile(&context, &shared, name)).await }
}

async fn reconcile(context: &Context, shared: &Shared, name: String) -> Result<Again, Error> {
    let key = ObjectKey::new("", &name);
    let now = Timestamp::now();
    let Some(node) = context.stores.nodes.find(&key) else {
        if let Some(gone) = shared.lock().nodes.remove(&name) {
            say(
                context,
                &gone.node,
                "RemovingNode",
                format!("Node {name} event: Removing Node {name} from Controller"),
            );
        }
        return Ok(Again::OnEvent);
    };
    let (left, was_ready) = sight(context, shared, &node, now);
    let silent = left <= SignedDuration::ZERO;
    if silent && let Some(conditions) = silenced(&node, now) {
        let mut changed = node.as_ref().clone();
        changed.status.get_or_insert_default().conditions = Some(conditions);
        context.update_status(&changed).await?;
        tracing::warn!(node = name, "the node's agent is no longer heard of");
    }
    let node = context.stores.nodes.find(&key).unwrap_or(node);
    let readiness = Readiness::of(&node);
    if was_ready && readiness != Readiness::Ready {
        say(context, &node, "NodeNotReady", format!("Node {name} status is now: NodeNotReady"));
    }
    // A node that is heard of speaks for its pods itself, but for the moment in which it turns unready.
    if silent || was_ready && readiness != Readiness::Ready {
        mark_pods(context, &name, now).await?;
    }
    if let Some(watched) = shared.lock().nodes.get_mut(&name) {
        watched.was_ready = readiness == Readiness::Ready;
    }
    let wait = taint(context, shared, &node, now).await?;
    let again = wait.into_iter().chain((!silent).then_some(left)).min();
    Ok(again.map_or(Again::OnEvent, |left| Again::After(Duration::try_from(left).unwrap_or_default())))
}

/// Notes what the node says. How much longer it may be silent, and whether it was ready until now.
fn sight(context: &Context, shared: &Shared, node: &Arc<Node>, now: Timestamp) -> (SignedDuration, bool) {
    let name = node.metadata.name.clone().unwrap_or_default();
    let lease = context.stores.leases.find(&ObjectKey::new(LEASE_NAMESPACE, &name));
    let mut known = shared.lock();
    let watched = known.nodes.entry(name.clone()).or_insert_with(|| {
        say(
            context,
            node,
            "RegisteredNode",
            format!("Node {name} event: Registered Node {name} in Controller"),
        );
        Watched {
            node: node.clone(),
            sighting: Sighting::first(node, lease.as_deref(), now),
            was_ready: Readiness::of(node) == Readiness::Ready,
        }
    });
    watched.node = node.clone();
    watched.sighting.look(node, lease.as_deref(), now);
    (watched.sighting.left(node, &context.config.nodes, now), watched.was_ready)
}

fn say(context: &Context, node: &Node, reason: &'static str, message: String) {
    context.recorder.record(COMPONENT, node, Severity::Normal, reason, message);
}

/// Brings the node's taints in line; how long until it may be given up, when that is all that is missing.
async fn taint(
    context: &Context,
    shared: &Shared,
    node: &Node,
    now: Timestamp,
) -> Result<Option<SignedDuration>, Error> {
    let (eviction, wait) = eviction(context, shared, node, now);
    if let Some(taints) = taints::plan(node, eviction, now) {
        let mut changed = node.clone();
        changed.spec.get_or_insert_default().taints = Some(taints);
        context.update(&changed).await?;
    }
    Ok(wait)
}

fn eviction(
    context: &Context,
    shared: &Shared,
    node: &Node,
    now: Timestamp,
) -> (Eviction, Option<SignedDuration>) {
    if Readiness::of(node) == Readiness::Ready {
        return (Eviction::Wait, None);
    }
    let nodes = context.stores.nodes.all();
    let ready = nodes.iter().filter(|node| Readiness::of(node) == Readiness::Ready).count();
    let disruption = Disruption::of(ready, nodes.len() - ready);
    let Some(pause) = disruption.pause(nodes.len()) else {
        return (if disruption == Disruption::Full { Eviction::Cancel } else { Eviction::Wait }, None);
    };
    if is_evicting(node) {
        return (Eviction::Wait, None);
    }
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let mut known = shared.lock();
    match &known.given_up {
        Some((last, next)) if last != name && *next > now => (Eviction::Wait, Some(next.duration_since(now))),
        _ => {
            known.given_up = Some((name.to_owned(), now + pause));
            (Eviction::Begin, None)
        }
    }
}

/// Takes the node's pods out of their Services: nobody knows whether they serve.
async fn mark_pods(context: &Context, node: &str, now: Timestamp) -> Result<(), Error> {
    let pods = context.stores.pods.indexed(PODS_BY_NODE, node);
    let mut failed = None;
    for pod in pods.iter().filter(|pod| pod_is_ready(pod)) {
        match context.update_status(&unready(pod, now)).await {
            Ok(()) => {
                let message = "Node is not ready".to_owned();
                context.recorder.record(COMPONENT, pod.as_ref(), Severity::Warning, "NodeNotReady", message);
            }
            Err(error) if error.is_not_found() => {}
            // One pod's trouble does not keep the others in traffic.
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(()), Err)
}

/// The pod with its Ready condition false.
fn unready(pod: &Pod, now: Timestamp) -> Pod {
    let mut changed = pod.clone();
    let since = pod_condition(pod, "Ready").cloned().unwrap_or_default();
    let conditions = changed.status.get_or_insert_default().conditions.get_or_insert_default();
    for condition in conditions.iter_mut().filter(|condition| condition.type_ == "Ready") {
        *condition = PodCondition {
            status: "False".to_owned(),
            last_transition_time: Some(seconds(now)),
            ..since.clone()
        };
    }
    changed
}
