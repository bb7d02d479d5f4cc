//! Which of a ReplicaSet's pods go first when there are too many, as `ActivePodsWithRanks` of Kubernetes'
//! `pkg/controller/controller_utils.go` orders them.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::objects::{pod_is_active, pod_is_ready, pod_node, pod_phase, pod_ready_since, uid};

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The first `count` of `active` to delete. `related` are all pods of the ReplicaSets that share an owner with this one:
/// a node with many of them gives some up first.
pub(crate) fn first_to_go(
    active: &[Arc<Pod>],
    related: &[Arc<Pod>],
    count: usize,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|pod| pod_is_active(pod)) {
        *on_node.entry(pod_node(pod).unwrap_or_default()).or_default() += 1;
    }
    let mut ranked: Vec<(usize, &Arc<Pod>)> = active
        .iter()
        .map(|pod| (on_node.get(pod_node(pod).unwrap_or_default()).copied().unwrap_or(0), pod))
        .collect();
    ranked.sort_by(|a, b| compare(*a, *b, now));
    ranked.into_iter().take(count).map(|(_, pod)| pod.clone()).collect()
}

fn compare((rank_a, a): (usize, &Arc<Pod>), (rank_b, b): (usize, &Arc<Pod>), now: Timestamp) -> Ordering {
    pod_node(a)
        .is_some()
        .cmp(&pod_node(b).is_some())
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| pod_is_ready(a).cmp(&pod_is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| rank_b.cmp(&rank_a))
        .then_with(|| age(pod_ready_since(a), now).cmp(&age(pod_ready_since(b), now)))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| age(created(a), now).cmp(&age(created(b), now)))
        .then_with(|| uid(&a.metadata).cmp(uid(&b.metadata)))
}

fn phase_rank(pod: &Pod) -> u8 {
    match pod_phase(pod) {
        "Pending" => 0,
        "Running" => 2,
        _ => 1,
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(DELETION_COST)).and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten().map(|status| status.restart_count).max().unwrap_or(0)
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// The age in powers of two of seconds: pods of about the same age are equal, so that which one goes does not
/// always follow from the order of their creation (KEP-2185). No time counts as youngest.
fn age(since: Option<Timestamp>, now: Timestamp) -> u32 {
    match since {
        Some(since) => {
            let seconds = now.duration_since(since).as_secs().max(0);
            1 + u64::try_from(seconds).unwrap_or(0).checked_ilog2().map_or(0, |log| log + 1)
        }
        None => 0,
    }
}
