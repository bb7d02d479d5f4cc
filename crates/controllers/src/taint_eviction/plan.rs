//! Who has to go, and when. Pure: all times come from the objects, so a restart loses none.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};

use crate::objects::{is_deleting, pod_condition};
use crate::scheduler::tolerates;

/// What to do about the pods of a node.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Pods to delete now.
    pub(super) evict: Vec<Arc<Pod>>,
    /// When time alone changes the answer.
    pub(super) again: Option<SignedDuration>,
}

/// The taints that evict.
pub(super) fn evicting(node: &Node) -> Vec<&Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.filter(|taint| taint.effect == "NoExecute").collect()
}

/// Compares a node's taints with what its pods tolerate.
pub(super) fn plan(node: &Node, pods: &[Arc<Pod>], now: Timestamp) -> Plan {
    let taints = evicting(node);
    let mut plan = Plan::default();
    for pod in pods.iter().filter(|pod| !is_deleting(&pod.metadata)) {
        let Some(end) = taints.iter().filter_map(|taint| end(pod, taint)).min() else { continue };
        let left = end.duration_since(now);
        if left <= SignedDuration::ZERO {
            plan.evict.push(pod.clone());
        } else {
            plan.again = Some(plan.again.map_or(left, |known| known.min(left)));
        }
    }
    plan
}

/// When the pod has to go for that taint; `None` when it may stay. The first toleration that fits counts.
fn end(pod: &Pod, taint: &Taint) -> Option<Timestamp> {
    let tolerations = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
    let fitting: Option<&Toleration> =
        tolerations.into_iter().find(|toleration| tolerates(toleration, taint));
    let seconds = match fitting {
        None => 0,
        Some(toleration) => toleration.toleration_seconds?.max(0),
    };
    // A pod that came to a tainted node has its time from then on.
    let added = taint.time_added.as_ref().map(|time| time.0);
    let began = added.into_iter().chain(bound_at(pod)).max().unwrap_or(Timestamp::UNIX_EPOCH);
    Some(began.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX))
}

/// Since when the pod has its node.
fn bound_at(pod: &Pod) -> Option<Timestamp> {
    let scheduled = pod_condition(pod, "PodScheduled").filter(|condition| condition.status == "True");
    let scheduled = scheduled.and_then(|condition| condition.last_transition_time.as_ref());
    scheduled.or(pod.metadata.creation_timestamp.as_ref()).map(|time| time.0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::samples::{changed, ready_node, ready_pod};

    fn node(taints: Value) -> Node {
        changed(&ready_node("node1"), &json!({"spec": {"taints": taints}}))
    }

    fn pod(name: &str, tolerations: Value) -> Arc<Pod> {
        let patch = json!({
            "metadata": {"creationTimestamp": "2026-11-21T20:00:00Z"},
            "spec": {"tolerations": tolerations},
        });
        Arc::new(changed(&ready_pod(name, "node1", "10.244.1.2"), &patch))
    }

    fn names(plan: &Plan) -> Vec<&str> {
        plan.evict.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect()
    }

    fn at(text: &str) -> Timestamp {
        format!("2026-11-21T{text}Z").parse().unwrap()
    }

    #[test]
    fn who_tolerates_for_how_long() {
        let lost = node(json!([
            {"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule", "timeAdded": "2026-11-21T21:00:00Z"},
            {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": "2026-11-21T21:00:00Z"}]));
        let for_five_minutes = json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists",
            "effect": "NoExecute", "tolerationSeconds": 300}]);
        let mut leaving = (*pod("leaving", json!([]))).clone();
        leaving.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at("21:00:00")));
        let pods = [
            pod("frail", json!([])),
            pod(
                "daemon",
                json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}]),
            ),
            pod("usual", for_five_minutes),
            pod("brief", json!([{"operator": "Exists", "tolerationSeconds": 2}])),
            Arc::new(leaving),
        ];
        let first = plan(&lost, &pods, at("21:00:01"));
        assert_eq!(names(&first), ["frail"]);
        assert_eq!(first.again, Some(SignedDuration::from_secs(1)));
        let last = plan(&lost, &pods, at("21:05:00"));
        assert_eq!((names(&last), last.again), (vec!["frail", "usual", "brief"], None));
        let clean = plan(&node(json!([])), &pods, at("21:05:00"));
        assert!(clean.evict.is_empty() && clean.again.is_none());
    }

    #[test]
    fn the_shortest_time_counts_and_a_late_comer_has_its_own() {
        let tainted = node(json!([
            {"key": "a", "effect": "NoExecute", "timeAdded": "2026-11-21T19:00:00Z"},
            {"key": "b", "effect": "NoExecute", "timeAdded": "2026-11-21T19:00:00Z"}]));
        let pods = [pod(
            "p",
            json!([
            {"key": "a", "operator": "Exists", "tolerationSeconds": 60},
            {"key": "b", "operator": "Exists", "tolerationSeconds": 10}]),
        )];
        assert_eq!(plan(&tainted, &pods, at("20:00:04")).again, Some(SignedDuration::from_secs(6)));
        assert_eq!(names(&plan(&tainted, &pods, at("20:00:10"))), ["p"]);
    }
}
