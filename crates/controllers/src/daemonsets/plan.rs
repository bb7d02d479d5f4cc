//! Which nodes get a pod, and which pods go. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec,
    Taint, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::revision::{HASH_LABEL, current_hash};
use crate::objects::{
    Availability, controller_reference, generated_name, is_deleting, pod_availability, pod_is_finished,
    pod_is_ready, pod_node, pod_phase,
};
use crate::scheduler::{selects, untolerated};

/// The server's count of the set's templates, and where its pods bear it (`CreatePodTemplate`).
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
const GENERATION_LABEL: &str = "pod-template-generation";

/// What every DaemonSet's pod bears, beside what its template says (`AddOrUpdateDaemonPodTolerations`).
const TOLERATIONS: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// What to do about the pods.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Nodes to make a pod for.
    pub(crate) create: Vec<String>,
    /// Pods to delete.
    pub(crate) delete: Vec<Arc<Pod>>,
    /// Pods to delete because they have ended, so that they make room for their successors.
    pub(crate) ended: Vec<Arc<Pod>>,
    /// When time alone changes the answer.
    pub(crate) again: Option<SignedDuration>,
}

/// The template's pod spec as it is on one node.
fn spec_on(set: &DaemonSet, node: &str) -> PodSpec {
    let mut spec = set.spec.as_ref().and_then(|spec| spec.template.spec.clone()).unwrap_or_default();
    let affinity = spec.affinity.get_or_insert_with(Affinity::default);
    let of_nodes = affinity.node_affinity.get_or_insert_with(NodeAffinity::default);
    of_nodes.required_during_scheduling_ignored_during_execution = Some(NodeSelector {
        node_selector_terms: vec![NodeSelectorTerm {
            match_fields: Some(vec![NodeSelectorRequirement {
                key: "metadata.name".to_owned(),
                operator: "In".to_owned(),
                values: Some(vec![node.to_owned()]),
            }]),
            ..NodeSelectorTerm::default()
        }],
    });
    tolerate(&mut spec);
    spec
}

fn tolerate(spec: &mut PodSpec) {
    let tolerations = spec.tolerations.get_or_insert_default();
    // In the node's own network a pod needs no other.
    let of_network = ("node.kubernetes.io/network-unavailable", "NoSchedule");
    let of_network = (spec.host_network == Some(true)).then_some(of_network);
    for (key, effect) in TOLERATIONS.into_iter().chain(of_network) {
        tolerations.push(Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        });
    }
}

/// A pod of the set for that node.
pub(crate) fn new_pod(set: &DaemonSet, node: &str) -> Pod {
    let described = set.spec.as_ref().and_then(|spec| spec.template.metadata.clone()).unwrap_or_default();
    let prefix = format!("{}-", set.metadata.name.as_deref().unwrap_or_default());
    let mut labels = described.labels.unwrap_or_default();
    labels.insert(HASH_LABEL.to_owned(), current_hash(set));
    let generation =
        set.metadata.annotations.as_ref().and_then(|annotations| annotations.get(TEMPLATE_GENERATION));
    labels.extend(generation.map(|generation| (GENERATION_LABEL.to_owned(), generation.clone())));
    Pod {
        metadata: ObjectMeta {
            name: Some(generated_name(&prefix)),
            generate_name: Some(prefix),
            namespace: set.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: described.annotations,
            finalizers: described.finalizers,
            owner_references: Some(vec![controller_reference::<DaemonSet>(&set.metadata)]),
            ..ObjectMeta::default()
        },
        spec: Some(spec_on(set, node)),
        status: None,
    }
}

/// The node that a pod of a set is for, bound to it or not.
pub(crate) fn node_of(pod: &Pod) -> Option<&str> {
    pod_node(pod).or_else(|| {
        let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
        let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
        let fields = required.node_selector_terms.first()?.match_fields.as_ref()?;
        fields.iter().find(|field| field.key == "metadata.name")?.values.as_ref()?.first().map(String::as_str)
    })
}

/// Whether the node is to get a pod, and whether one that is there may stay.
fn belongs(set: &DaemonSet, node: &Node) -> (bool, bool) {
    let mut spec = set.spec.as_ref().and_then(|spec| spec.template.spec.clone()).unwrap_or_default();
    tolerate(&mut spec);
    if !selects(&spec, node) {
        return (false, false);
    }
    let taints: Vec<&Taint> = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).collect();
    let evicting = taints.iter().copied().filter(|taint| taint.effect == "NoExecute");
    let stays = untolerated(&spec, evicting).is_none();
    (stays && untolerated(&spec, taints).is_none(), stays)
}

fn is_current(pod: &Pod, hash: &str) -> bool {
    pod.metadata.labels.as_ref().and_then(|labels| labels.get(HASH_LABEL)).is_some_and(|label| label == hash)
}

/// How an update proceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rollout {
    /// Nodes that may be without an available pod.
    unavailable: usize,
    /// Nodes that may have two.
    surge: usize,
}

/// `None` when pods are replaced only once somebody deletes them.
fn rollout(set: &DaemonSet, nodes: usize) -> Option<Rollout> {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.clone()).unwrap_or_default();
    if strategy.type_.as_deref() == Some("OnDelete") {
        return None;
    }
    let rolling = strategy.rolling_update.unwrap_or_default();
    // Both are rounded up.
    let amount = |value: Option<&IntOrString>, default: usize| match value {
        None => default,
        Some(IntOrString::Int(number)) => usize::try_from(*number).unwrap_or(0),
        Some(IntOrString::String(text)) => {
            let percent = text.trim_end_matches('%').parse::<usize>().unwrap_or(0);
            (percent * nodes).div_ceil(100)
        }
    };
    let surge = amount(rolling.max_surge.as_ref(), 0);
    let unavailable = amount(rolling.max_unavailable.as_ref(), usize::from(surge == 0));
    // Neither would never end.
    Some(Rollout { unavailable: if surge == 0 { unavailable.max(1) } else { unavailable }, surge })
}

/// The pods of one node: of the present template and of others, without those that are on their way out.
#[derive(Debug, Default)]
struct OnNode {
    new: Vec<Arc<Pod>>,
    old: Vec<Arc<Pod>>,
    leaving: bool,
}

/// Compares what is with what is wanted. `pods` are those that the set controls; `held` says of a node how much longer a
/// failed pod has to stay on it.
pub(crate) fn plan(
    set: &DaemonSet,
    nodes: &[Arc<Node>],
    pods: &[Arc<Pod>],
    held: impl Fn(&str) -> Option<SignedDuration>,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan::default();
    if is_deleting(&set.metadata) {
        return plan;
    }
    let hash = current_hash(set);
    let mut places: BTreeMap<&str, OnNode> = BTreeMap::new();
    for pod in pods {
        let place = places.entry(node_of(pod).unwrap_or_default()).or_default();
        if is_deleting(&pod.metadata) {
            place.leaving = true;
        } else if pod_is_finished(pod) {
            place.leaving = true;
            let failed = pod_phase(pod) == "Failed";
            match node_of(pod).filter(|_| failed).and_then(&held) {
                Some(left) => plan.again = earlier(plan.again, left),
                None => plan.ended.push(pod.clone()),
            }
        } else if is_current(pod, &hash) {
            place.new.push(pod.clone());
        } else {
            place.old.push(pod.clone());
        }
    }
    let mut wanted = Vec::new();
    for node in nodes.iter().filter(|node| !is_deleting(&node.metadata)) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let mut place = places.remove(name).unwrap_or_default();
        match belongs(set, node) {
            (true, _) => {
                // Of two that do the same the older stays.
                for alike in [&mut place.new, &mut place.old] {
                    alike.sort_by_key(|pod| {
                        (pod.metadata.creation_timestamp.clone(), pod.metadata.name.clone())
                    });
                    plan.delete.extend(alike.drain(1.min(alike.len())..));
                }
                if place.new.is_empty() && place.old.is_empty() && !place.leaving {
                    plan.create.push(name.to_owned());
                }
                wanted.push((name, place));
            }
            (false, true) => {}
            (false, false) => plan.delete.extend(place.new.into_iter().chain(place.old)),
        }
    }
    // What is left is for nodes that are no more.
    plan.delete.extend(places.into_values().flat_map(|place| place.new.into_iter().chain(place.old)));
    if let Some(rollout) = rollout(set, wanted.len()) {
        roll(set, &wanted, rollout, now, &mut plan);
    }
    plan
}

fn earlier(known: Option<SignedDuration>, left: SignedDuration) -> Option<SignedDuration> {
    Some(known.map_or(left, |known| known.min(left)))
}

/// Replaces pods of older templates, as far as the strategy lets it.
fn roll(set: &DaemonSet, wanted: &[(&str, OnNode)], rollout: Rollout, now: Timestamp, plan: &mut Plan) {
    let min_ready = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let mut wait: Option<SignedDuration> = None;
    let mut available = |pods: &[Arc<Pod>]| {
        pods.iter().any(|pod| match pod_availability(pod, min_ready, now) {
            Availability::Available => true,
            Availability::NotReady => false,
            Availability::In(left) => {
                wait = Some(wait.map_or(left, |known| known.min(left)));
                false
            }
        })
    };
    let mut without = 0;
    let (mut surging, mut replaceable, mut surgeable) = (0, Vec::new(), Vec::new());
    for (name, place) in wanted {
        let (new, old) = (available(&place.new), available(&place.old));
        without += usize::from(!new && !old);
        if place.old.is_empty() {
            continue;
        }
        if new || !old {
            // It has a successor, or serves nobody: no loss.
            plan.delete.extend(place.old.iter().cloned());
        } else if !place.new.is_empty() {
            surging += 1;
        } else if rollout.surge > 0 {
            surgeable.push(*name);
        } else {
            replaceable.push(&place.old);
        }
    }
    let room = rollout.unavailable.saturating_sub(without);
    plan.delete.extend(replaceable.into_iter().take(room).flatten().cloned());
    let room = rollout.surge.saturating_sub(surging);
    plan.create.extend(surgeable.into_iter().take(room).map(str::to_owned));
    plan.again = wait.map_or(plan.again, |wait| earlier(plan.again, wait));
}

/// The status that the set should have, and how long until it may change by itself.
pub(crate) fn status(
    set: &DaemonSet,
    nodes: &[Arc<Node>],
    pods: &[Arc<Pod>],
    now: Timestamp,
) -> (DaemonSetStatus, Option<SignedDuration>) {
    let hash = current_hash(set);
    let min_ready = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let mut counted = DaemonSetStatus {
        observed_generation: set.metadata.generation,
        collision_count: set.status.as_ref().and_then(|status| status.collision_count),
        conditions: set.status.as_ref().and_then(|status| status.conditions.clone()),
        ..DaemonSetStatus::default()
    };
    let (mut updated, mut available) = (0, 0);
    let mut next: Option<SignedDuration> = None;
    for node in nodes.iter().filter(|node| !is_deleting(&node.metadata)) {
        let name = node.metadata.name.as_deref();
        let here: Vec<_> =
            pods.iter().filter(|pod| node_of(pod) == name && !is_deleting(&pod.metadata)).collect();
        if !belongs(set, node).0 {
            counted.number_misscheduled += i32::from(!here.is_empty());
            continue;
        }
        counted.desired_number_scheduled += 1;
        counted.current_number_scheduled += i32::from(!here.is_empty());
        counted.number_ready += i32::from(here.iter().any(|pod| pod_is_ready(pod)));
        updated += i32::from(here.iter().any(|pod| is_current(pod, &hash)));
        let serves = here.iter().any(|pod| match pod_availability(pod, min_ready, now) {
            Availability::Available => true,
            Availability::NotReady => false,
            Availability::In(left) => {
                next = Some(next.map_or(left, |known| known.min(left)));
                false
            }
        });
        available += i32::from(serves);
    }
    let nonzero = |count: i32| (count != 0).then_some(count);
    counted.updated_number_scheduled = nonzero(updated);
    counted.number_available = nonzero(available);
    counted.number_unavailable = nonzero(counted.desired_number_scheduled - available);
    (counted, next)
}

/// The hashes that pods of the set bear.
pub(crate) fn live_hashes(pods: &[Arc<Pod>]) -> BTreeSet<String> {
    let hash = |pod: &Arc<Pod>| pod.metadata.labels.as_ref()?.get(HASH_LABEL).cloned();
    pods.iter().filter_map(hash).collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
