use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Taint};

use super::affinity::{selects, untolerated};
use super::ports::HostPort;
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
    /// The node's ports that they have.
    pub(crate) ports: Vec<HostPort>,
}

/// Why no node takes a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unschedulable {
    /// In kube-scheduler's words.
    pub(crate) message: String,
}

/// Why one node does not take a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    reasons: Vec<String>,
    /// It would not take it either if other pods went away.
    lasting: bool,
}

/// Chooses the node for a pod: of those that may take it, the one with the fewest siblings, then with the fewest pods,
/// then the first by name. Three replicas on three nodes thus get a node each.
pub(crate) fn place<'a>(pod: &Pod, candidates: &[Candidate<'a>]) -> Result<&'a str, Unschedulable> {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let wanted = Wanted { spec, requested: Amounts::requested(spec), ports: HostPort::of(spec) };
    let mut refusals = Vec::new();
    let mut fitting = Vec::new();
    for candidate in candidates {
        match wanted.refusal(candidate) {
            None => fitting.push(candidate),
            Some(refusal) => refusals.push(refusal),
        }
    }
    let best = fitting.into_iter().min_by_key(|candidate| {
        (candidate.siblings, candidate.pods, candidate.node.metadata.name.as_deref().unwrap_or_default())
    });
    match best {
        Some(best) => Ok(best.node.metadata.name.as_deref().unwrap_or_default()),
        None => Err(Unschedulable { message: message(&refusals) }),
    }
}

/// In the words of kube-scheduler's `FitError`. The second part is its preemption's: nobody is evicted for another pod
/// here, since all pods have the same priority.
fn message(refusals: &[Refusal]) -> String {
    let nodes = refusals.len();
    if nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let reasons = counted(refusals.iter().flat_map(|refusal| refusal.reasons.iter().map(String::as_str)));
    let preemption = counted(refusals.iter().map(|refusal| match refusal.lasting {
        true => "Preemption is not helpful for scheduling",
        false => "No preemption victims found for incoming pod",
    }));
    format!(
        "0/{nodes} nodes are available: {reasons}. preemption: 0/{nodes} nodes are available: {preemption}."
    )
}

/// Each text with how often it comes, ordered as text.
fn counted<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    texts.for_each(|text| *counts.entry(text).or_default() += 1);
    let mut all: Vec<String> = counts.into_iter().map(|(text, count)| format!("{count} {text}")).collect();
    all.sort();
    all.join(", ")
}

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// What a pod asks of its node.
struct Wanted<'a> {
    spec: &'a PodSpec,
    requested: Amounts,
    ports: Vec<HostPort>,
}

impl Wanted<'_> {
    /// Why a node does not take the pod: the first of kube-scheduler's filters that says no, with all its reasons.
    fn refusal(&self, candidate: &Candidate<'_>) -> Option<Refusal> {
        if let Some(reason) = self.unwelcome(candidate.node) {
            return Some(Refusal { reasons: vec![reason], lasting: true });
        }
        if self.ports.iter().any(|port| candidate.ports.iter().any(|taken| taken.conflicts(port))) {
            let reason = "node(s) didn't have free ports for the requested pod ports".to_owned();
            return Some(Refusal { reasons: vec![reason], lasting: false });
        }
        let shortages = self.shortages(candidate);
        let lasting = shortages.iter().any(|(_, lasting)| *lasting);
        let reasons: Vec<String> = shortages.into_iter().map(|(reason, _)| reason.to_owned()).collect();
        (!reasons.is_empty()).then_some(Refusal { reasons, lasting })
    }

    /// Why the node would not take the pod even if it were empty.
    fn unwelcome(&self, node: &Node) -> Option<String> {
        let spec = self.spec;
        let implied =
            |key: &str| Taint { key: key.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
        if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true)
            && untolerated(spec, &[implied(UNSCHEDULABLE)]).is_some()
        {
            return Some("node(s) were unschedulable".to_owned());
        }
        let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        if let Some(taint) = untolerated(spec, taints) {
            return Some(untolerated_text(taint));
        }
        // Its taint is on the way.
        if !is_ready(node) || is_deleting(&node.metadata) {
            return Some(untolerated_text(&implied(NOT_READY)));
        }
        if !selects(spec, node) {
            return Some("node(s) didn't match Pod's node affinity/selector".to_owned());
        }
        None
    }

    /// What the node has too little of, and whether it would be so without any other pod. A pod that requests nothing of
    /// something gets along with what there is.
    fn shortages(&self, candidate: &Candidate<'_>) -> Vec<(&'static str, bool)> {
        let requested = self.requested;
        let allocatable = candidate.node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let room = allocatable.and_then(|all| all.get("pods")).and_then(|pods| pods.0.parse::<usize>().ok());
        let (cpu, memory) = Amounts::allocatable(candidate.node);
        let after = candidate.used + requested;
        let mut short = Vec::new();
        if let Some(room) = room.filter(|room| candidate.pods >= *room) {
            short.push(("Too many pods", room == 0));
        }
        for (reason, wanted, after, all) in [
            ("Insufficient cpu", requested.cpu, after.cpu, cpu),
            ("Insufficient memory", requested.memory, after.memory, memory),
        ] {
            if let Some(all) = all.filter(|all| wanted > 0 && after > *all) {
                short.push((reason, wanted > all));
            }
        }
        short
    }
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
