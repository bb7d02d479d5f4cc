use serde_json::json;

use super::*;
use crate::samples::{changed, ready_node, ready_pod};

fn waiting(patch: &serde_json::Value) -> Pod {
    let pod: Pod = changed(&ready_pod("p", "", ""), &json!({"spec": {"nodeName": null}}));
    changed(&pod, patch)
}

fn candidate(node: &Node, pods: usize, siblings: usize) -> Candidate<'_> {
    Candidate { node, pods, siblings, used: Amounts::default(), ports: Vec::new() }
}

#[test]
fn three_replicas_get_a_node_each() {
    let nodes = [ready_node("node1"), ready_node("node2"), ready_node("node3")];
    let mut siblings = [0, 0, 0];
    let mut chosen = Vec::new();
    for _ in 0..3 {
        let candidates: Vec<_> = nodes
            .iter()
            .zip(siblings)
            .map(|(node, siblings)| candidate(node, 10 + siblings, siblings))
            .collect();
        let node = place(&waiting(&json!({})), &candidates).unwrap().to_owned();
        siblings[nodes.iter().position(|at| at.metadata.name.as_deref() == Some(&node)).unwrap()] += 1;
        chosen.push(node);
    }
    assert_eq!(chosen, ["node1", "node2", "node3"]);
}

#[test]
fn siblings_weigh_more_than_a_full_node() {
    let nodes = [ready_node("node1"), ready_node("node2")];
    let pod = waiting(&json!({}));
    assert_eq!(place(&pod, &[candidate(&nodes[0], 1, 1), candidate(&nodes[1], 90, 0)]), Ok("node2"));
    assert_eq!(place(&pod, &[candidate(&nodes[0], 5, 1), candidate(&nodes[1], 4, 1)]), Ok("node2"));
}

#[test]
fn the_refusal_names_every_reason_as_kubernetes_does() {
    let cordoned: Node = changed(&ready_node("node1"), &json!({"spec": {"unschedulable": true}}));
    let down: Node = changed(
        &ready_node("node2"),
        &json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}),
    );
    let full = ready_node("node3");
    let tainted: Node = changed(
        &ready_node("node4"),
        &json!({"spec": {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}}),
    );
    let refused = place(
        &waiting(&json!({})),
        &[
            candidate(&cordoned, 0, 0),
            candidate(&down, 0, 0),
            candidate(&full, 110, 0),
            candidate(&tainted, 0, 0),
        ],
    )
    .unwrap_err();
    assert_eq!(
        refused.message,
        "0/4 nodes are available: 1 Too many pods, 1 node(s) had untolerated taint {gpu: yes}, 1 node(s) had \
         untolerated taint {node.kubernetes.io/not-ready: }, 1 node(s) were unschedulable. preemption: 0/4 nodes are \
         available: 1 No preemption victims found for incoming pod, 3 Preemption is not helpful for scheduling."
    );
    assert_eq!(place(&waiting(&json!({})), &[]).unwrap_err().message, "no nodes available to schedule pods");
}

#[test]
fn selectors_and_affinity_are_honoured() {
    let nodes = [ready_node("node1"), ready_node("node2")];
    let candidates = || [candidate(&nodes[0], 0, 0), candidate(&nodes[1], 0, 0)];
    let chosen = waiting(&json!({"spec": {"nodeSelector": {"kubernetes.io/hostname": "node2"}}}));
    assert_eq!(place(&chosen, &candidates()), Ok("node2"));
    let affinity = |operator: &str, value: &str| {
        waiting(
            &json!({"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": operator, "values": [value]}]}]}}}}}),
        )
    };
    assert_eq!(place(&affinity("NotIn", "node1"), &candidates()), Ok("node2"));
    let nowhere = place(&affinity("In", "node9"), &candidates()).unwrap_err();
    assert_eq!(
        nowhere.message,
        "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. preemption: 0/2 nodes are \
         available: 2 Preemption is not helpful for scheduling."
    );
}

#[test]
fn requests_must_fit_beside_those_of_others() {
    let small: Node =
        changed(&ready_node("node1"), &json!({"status": {"allocatable": {"cpu": "2", "memory": "1Gi"}}}));
    let asks = |requests: serde_json::Value| {
        waiting(&json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}}))
    };
    let used = Amounts { cpu: 1500, memory: 0 };
    let there = || [Candidate { used, ..candidate(&small, 1, 0) }];
    assert_eq!(place(&asks(json!({"cpu": "500m", "memory": "1Gi"})), &there()), Ok("node1"));
    assert_eq!(
        place(&asks(json!({"cpu": "501m", "memory": "2Gi"})), &there()).unwrap_err().message,
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory. preemption: 0/1 nodes are available: 1 \
         Preemption is not helpful for scheduling."
    );
    assert_eq!(
        place(&asks(json!({"cpu": "501m"})), &there()).unwrap_err().message,
        "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims \
         found for incoming pod."
    );
    let full = [Candidate { used: Amounts { cpu: 9000, memory: 0 }, ..candidate(&small, 1, 0) }];
    assert_eq!(place(&waiting(&json!({})), &full), Ok("node1"), "what asks for nothing gets along");
}

#[test]
fn a_port_of_a_node_is_for_one_pod() {
    let nodes = [ready_node("node1"), ready_node("node2")];
    let asking = waiting(&json!({"spec": {"containers": [
        {"name": "c", "ports": [{"containerPort": 80, "hostPort": 8080, "protocol": "TCP"}]}]}}));
    let taken = || HostPort::of(asking.spec.as_ref().unwrap());
    let first = Candidate { ports: taken(), ..candidate(&nodes[0], 0, 0) };
    assert_eq!(place(&asking, &[first, candidate(&nodes[1], 5, 0)]), Ok("node2"));
    let both = [0, 1].map(|at: usize| Candidate { ports: taken(), ..candidate(&nodes[at], 0, 0) });
    assert_eq!(
        place(&asking, &both).unwrap_err().message,
        "0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports. preemption: 0/2 nodes \
         are available: 2 No preemption victims found for incoming pod."
    );
    assert!(place(&waiting(&json!({})), &both).is_ok());
}

#[test]
fn tolerations_let_a_pod_in() {
    let tainted: Node = changed(
        &ready_node("node1"),
        &json!({"spec": {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}}),
    );
    let with = |toleration: serde_json::Value| waiting(&json!({"spec": {"tolerations": [toleration]}}));
    assert!(place(&with(json!({"key": "gpu", "operator": "Exists"})), &[candidate(&tainted, 0, 0)]).is_ok());
    assert!(place(&with(json!({"key": "gpu", "value": "yes"})), &[candidate(&tainted, 0, 0)]).is_ok());
    assert!(place(&with(json!({"key": "gpu", "value": "no"})), &[candidate(&tainted, 0, 0)]).is_err());
    assert!(place(&with(json!({"operator": "Exists"})), &[candidate(&tainted, 0, 0)]).is_ok());
}

#[test]
fn only_pods_that_wait_for_this_scheduler_are_placed() {
    assert!(is_ours(&waiting(&json!({}))));
    assert!(!is_ours(&ready_pod("bound", "node1", "10.244.1.2")));
    assert!(!is_ours(&waiting(&json!({"spec": {"schedulerName": "mine"}}))));
    assert!(!is_ours(&waiting(&json!({"spec": {"schedulingGates": [{"name": "later"}]}}))));
}
