//! The taints that a node bears for its state. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};

use super::health::{Readiness, condition, seconds};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
const NO_SCHEDULE: &str = "NoSchedule";
const NO_EXECUTE: &str = "NoExecute";

/// Conditions that keep new pods away while they are true.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

/// What becomes of the pods of a node that is not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Eviction {
    /// They are to go.
    Begin,
    /// Not yet; what was begun goes on.
    Wait,
    /// They stay: everything else is lost too.
    Cancel,
}

/// The taint that evicts the pods of a node in that state.
fn evicting(readiness: Readiness) -> Option<&'static str> {
    match readiness {
        Readiness::Ready => None,
        Readiness::NotReady => Some(NOT_READY),
        Readiness::Unreachable => Some(UNREACHABLE),
    }
}

/// Whether pods of the node are being evicted for its state.
pub(super) fn is_evicting(node: &Node) -> bool {
    taints_of(node)
        .iter()
        .any(|taint| taint.effect == NO_EXECUTE && [NOT_READY, UNREACHABLE].contains(&taint.key.as_str()))
}

fn taints_of(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

/// The node's taints as they should be; `None` when they are. Those of others, and the times of ours that stay, are kept.
pub(super) fn plan(node: &Node, eviction: Eviction, now: Timestamp) -> Option<Vec<Taint>> {
    let readiness = Readiness::of(node);
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    // One that has not said anything yet is not said to be unready either.
    let unready = evicting(readiness).filter(|_| condition(node, "Ready").is_some());
    wanted.extend(unready.map(|key| (key, NO_SCHEDULE)));
    let holds = |kind: &str| condition(node, kind).is_some_and(|condition| condition.status == "True");
    wanted.extend(PRESSURES.iter().filter(|(kind, _)| holds(kind)).map(|(_, key)| (*key, NO_SCHEDULE)));
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE, NO_SCHEDULE));
    }
    let evicts = match eviction {
        Eviction::Begin => true,
        Eviction::Wait => is_evicting(node),
        Eviction::Cancel => false,
    };
    wanted.extend(unready.filter(|_| evicts).map(|key| (key, NO_EXECUTE)));
    let before = taints_of(node);
    let mut after: Vec<Taint> = before
        .iter()
        .filter(|taint| !is_ours(taint) || wanted.contains(&(taint.key.as_str(), taint.effect.as_str())))
        .cloned()
        .collect();
    for (key, effect) in wanted {
        if !after.iter().any(|taint| taint.key == key && taint.effect == effect) {
            after.push(Taint {
                key: key.to_owned(),
                effect: effect.to_owned(),
                time_added: Some(seconds(now)),
                value: None,
            });
        }
    }
    (after != before).then_some(after)
}

fn is_ours(taint: &Taint) -> bool {
    let key = taint.key.as_str();
    match taint.effect.as_str() {
        NO_SCHEDULE => {
            [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&key)
                || PRESSURES.iter().any(|(_, ours)| *ours == key)
        }
        NO_EXECUTE => [NOT_READY, UNREACHABLE].contains(&key),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::samples::{changed, ready_node};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn node(ready: &str, spec: Value) -> Node {
        let conditions = json!([{"type": "Ready", "status": ready}]);
        changed(&ready_node("node1"), &json!({"spec": spec, "status": {"conditions": conditions}}))
    }

    fn shown(taints: Option<Vec<Taint>>) -> Option<Vec<String>> {
        Some(taints?.iter().map(|taint| format!("{}:{}", taint.key, taint.effect)).collect())
    }

    /// The node with the plan carried out.
    fn after(node: &Node, eviction: Eviction, now: i64) -> Node {
        let mut node = node.clone();
        if let Some(taints) = plan(&node, eviction, at(now)) {
            node.spec.get_or_insert_default().taints = Some(taints);
        }
        node
    }

    fn set_ready(node: &Node, ready: &str) -> Node {
        changed(node, &json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}}))
    }

    #[test]
    fn a_lost_node_is_tainted_and_one_that_comes_back_is_clean() {
        let lost = node("Unknown", json!({"taints": [{"key": "gpu", "effect": "NoSchedule"}]}));
        let waiting = after(&lost, Eviction::Wait, 1);
        let said = |node: &Node| shown(node.spec.clone().unwrap().taints).unwrap_or_default();
        assert_eq!(said(&waiting), ["gpu:NoSchedule", "node.kubernetes.io/unreachable:NoSchedule"]);
        let tainted = after(&waiting, Eviction::Begin, 2);
        assert_eq!(said(&tainted)[2], "node.kubernetes.io/unreachable:NoExecute");
        assert_eq!(plan(&tainted, Eviction::Wait, at(9)), None, "what was begun goes on, with its time");
        assert_eq!(plan(&tainted, Eviction::Begin, at(9)), None);
        let unready = after(&set_ready(&tainted, "False"), Eviction::Wait, 3);
        assert_eq!(
            said(&unready)[1..],
            ["node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"]
        );
        assert_eq!(said(&after(&set_ready(&tainted, "True"), Eviction::Begin, 4)), ["gpu:NoSchedule"]);
    }

    #[test]
    fn nobody_is_evicted_while_all_are_lost() {
        let tainted = after(&node("Unknown", json!({})), Eviction::Begin, 1);
        let kept = plan(&tainted, Eviction::Cancel, at(2));
        assert_eq!(shown(kept), Some(vec!["node.kubernetes.io/unreachable:NoSchedule".to_owned()]));
    }

    #[test]
    fn a_cordoned_node_says_so_and_pressure_too() {
        let mut cordoned = node("True", json!({"unschedulable": true}));
        let conditions = cordoned.status.get_or_insert_default().conditions.get_or_insert_default();
        conditions.push(changed(&json!({}), &json!({"type": "DiskPressure", "status": "True"})));
        assert_eq!(
            shown(plan(&cordoned, Eviction::Begin, at(1))),
            Some(vec![
                "node.kubernetes.io/disk-pressure:NoSchedule".to_owned(),
                "node.kubernetes.io/unschedulable:NoSchedule".to_owned()
            ])
        );
        assert_eq!(plan(&node("True", json!({})), Eviction::Begin, at(1)), None);
    }
}
