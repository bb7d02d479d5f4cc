use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Taint};

use super::affinity::{selects, untolerated};
use super::requests::Amounts;
use crate::objects::is_deleting;

/// A node, and how full it is.
pub(crate) struct Candidate<'a> {
    pub(crate) node: &'a Node,
    /// Pods on it that have not finished.
    pub(crate) pods: usize,
    /// Of these, pods that the same object controls as the pod to be placed.
    pub(crate) siblings: usize,
    /// What they request.
    pub(crate) used: Amounts,
}

/// Why no node takes a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unschedulable {
    /// In kube-scheduler's words.
    pub(crate) message: String,
}

/// Chooses the node for a pod: of those that may take it, the one with the fewest siblings, then with the fewest pods,
/// then the first by name. Three replicas on three nodes thus get a node each.
pub(crate) fn place<'a>(pod: &Pod, candidates: &[Candidate<'a>]) -> Result<&'a str, Unschedulable> {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let requested = Amounts::requested(spec);
    let mut refusals: BTreeMap<String, usize> = BTreeMap::new();
    let mut fitting = Vec::new();
    for candidate in candidates {
        let mut reasons: Vec<String> = refusal(spec, candidate).into_iter().collect();
        if reasons.is_empty() {
            reasons.extend(shortages(requested, candidate).map(str::to_owned));
        }
        if reasons.is_empty() {
            fitting.push(candidate);
        }
        for reason in reasons {
            *refusals.entry(reason).or_default() += 1;
        }
    }
    let best = fitting.into_iter().min_by_key(|candidate| {
        (candidate.siblings, candidate.pods, candidate.node.metadata.name.as_deref().unwrap_or_default())
    });
    match best {
        Some(best) => Ok(best.node.metadata.name.as_deref().unwrap_or_default()),
        None => Err(Unschedulable { message: message(candidates.len(), &refusals) }),
    }
}

fn message(nodes: usize, refusals: &BTreeMap<String, usize>) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let mut reasons: Vec<String> =
        refusals.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    reasons.sort();
    format!("0/{nodes} nodes are available: {}.", reasons.join(", "))
}

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Why a node does not take the pod.
fn refusal(spec: &PodSpec, candidate: &Candidate<'_>) -> Option<String> {
    let node = candidate.node;
    let implied =
        |key: &str| Taint { key: key.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true)
        && untolerated(spec, &[implied(UNSCHEDULABLE)]).is_some()
    {
        return Some("node(s) were unschedulable".to_owned());
    }
    if !is_ready(node) || is_deleting(&node.metadata) {
        return Some(untolerated_text(&implied(NOT_READY)));
    }
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    // The lab's nodes carry no taint for being unready; where another controller adds one, it counts as any other.
    if let Some(taint) = untolerated(spec, taints.filter(|taint| taint.key != UNSCHEDULABLE)) {
        return Some(untolerated_text(taint));
    }
    if !selects(spec, node) {
        return Some("node(s) didn't match Pod's node affinity/selector".to_owned());
    }
    None
}

/// What the node has too little of. A pod that requests nothing of something gets along with what there is.
fn shortages(requested: Amounts, candidate: &Candidate<'_>) -> impl Iterator<Item = &'static str> {
    let allocatable = candidate.node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    let room = allocatable.and_then(|all| all.get("pods")).and_then(|pods| pods.0.parse::<usize>().ok());
    let (cpu, memory) = Amounts::allocatable(candidate.node);
    let after = candidate.used + requested;
    let lacks =
        |wanted: u128, after: u128, all: Option<u128>| wanted > 0 && all.is_some_and(|all| after > all);
    [
        ("Too many pods", room.is_some_and(|room| candidate.pods >= room)),
        ("Insufficient cpu", lacks(requested.cpu, after.cpu, cpu)),
        ("Insufficient memory", lacks(requested.memory, after.memory, memory)),
    ]
    .into_iter()
    .filter_map(|(reason, short)| short.then_some(reason))
}

fn untolerated_text(taint: &Taint) -> String {
    format!("node(s) had untolerated taint {{{}: {}}}", taint.key, taint.value.as_deref().unwrap_or_default())
}

/// The node's Ready condition is true.
pub(crate) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Whether this scheduler is the one to place the pod now.
pub(crate) fn is_ours(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let scheduler = spec.scheduler_name.as_deref().unwrap_or_default();
    let gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    spec.node_name.as_deref().unwrap_or_default().is_empty()
        && matches!(scheduler, "" | "default-scheduler")
        && !gated
        && !is_deleting(&pod.metadata)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
