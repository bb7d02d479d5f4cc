use serde_json::json;

use super::*;

/// Nobody has failed.
fn free(_: &str) -> Option<SignedDuration> {
    None
}

fn at() -> Timestamp {
    "2026-11-21T21:00:00Z".parse().unwrap()
}

fn set(image: &str, strategy: serde_json::Value) -> DaemonSet {
    serde_json::from_value(json!({
        "metadata": {"name": "agent", "namespace": "default", "uid": "uid-ds", "generation": 1},
        "spec": {"selector": {"matchLabels": {"run": "agent"}}, "updateStrategy": strategy, "template": {
            "metadata": {"labels": {"run": "agent"}},
            "spec": {"nodeSelector": {"disk": "ssd"}, "containers": [{"name": "c", "image": image}]},
        }},
    }))
    .unwrap()
}

fn rolling(unavailable: i32, surge: i32) -> serde_json::Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}})
}

fn node(name: &str, patch: serde_json::Value) -> Arc<Node> {
    let base = json!({"metadata": {"name": name, "labels": {"disk": "ssd"}}});
    Arc::new(crate::samples::changed(&base, &patch))
}

fn nodes() -> Vec<Arc<Node>> {
    ["node1", "node2", "node3"].map(|name| node(name, json!({}))).to_vec()
}

fn pod(set: &DaemonSet, name: &str, node: &str, ready: bool) -> Arc<Pod> {
    let status = if ready { "True" } else { "False" };
    let patch = json!({
        "metadata": {"name": name, "uid": name}, "spec": {"nodeName": node},
        "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": status, "lastTransitionTime": "2026-11-21T20:00:00Z"}]},
    });
    Arc::new(crate::samples::changed(&new_pod(set, node), &patch))
}

fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
    pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect()
}

#[test]
fn every_node_that_fits_gets_one() {
    let set = set("a", rolling(1, 0));
    let mut all = nodes();
    all.push(node("node4", json!({"metadata": {"labels": {"disk": "none"}}})));
    all.push(node("node5", json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}})));
    all.push(node(
        "node6",
        json!({"spec": {"unschedulable": true,
        "taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}}),
    ));
    let pods = [pod(&set, "p1", "node1", true)];
    let plan = plan(&set, &all, &pods, free, at());
    assert_eq!(plan.create, ["node2", "node3", "node6"]);
    assert!(plan.delete.is_empty());
    let (status, _) = status(&set, &all, &pods, at());
    assert_eq!((status.desired_number_scheduled, status.current_number_scheduled), (4, 1));
    assert_eq!((status.number_ready, status.number_unavailable), (1, Some(3)));
}

#[test]
fn what_does_not_belong_goes() {
    let set = set("a", rolling(1, 0));
    let all = [node("node1", json!({})), node("node2", json!({"metadata": {"labels": {"disk": "none"}}}))];
    let pods = [
        pod(&set, "p1", "node1", true),
        pod(&set, "p1-again", "node1", true),
        pod(&set, "p2", "node2", true),
        pod(&set, "p3", "gone", true),
    ];
    let plan = plan(&set, &all, &pods, free, at());
    assert_eq!(names(&plan.delete), ["p1-again", "p2", "p3"]);
    assert!(plan.create.is_empty());
}

#[test]
fn an_update_takes_as_many_at_a_time_as_may_be_missing() {
    let (old, new) = (set("a", rolling(1, 0)), set("b", rolling(1, 0)));
    let pods = ["node1", "node2", "node3"].map(|node| pod(&old, node, node, true));
    assert_eq!(names(&plan(&new, &nodes(), &pods, free, at()).delete), ["node1"]);
    let waiting = [pod(&new, "n1", "node1", false), pods[1].clone(), pods[2].clone()];
    assert!(plan(&new, &nodes(), &waiting, free, at()).delete.is_empty());
    let ready = [pod(&new, "n1", "node1", true), pods[1].clone(), pods[2].clone()];
    assert_eq!(names(&plan(&new, &nodes(), &ready, free, at()).delete), ["node2"]);
    let broken = [pods[0].clone(), pod(&old, "broken", "node2", false), pods[2].clone()];
    assert_eq!(names(&plan(&new, &nodes(), &broken, free, at()).delete), ["broken"], "it serves nobody");
    let on_delete = set("b", json!({"type": "OnDelete"}));
    assert!(plan(&on_delete, &nodes(), &pods, free, at()).delete.is_empty());
}

#[test]
fn a_surge_starts_the_new_before_it_ends_the_old() {
    let (old, new) = (set("a", rolling(0, 1)), set("b", rolling(0, 1)));
    let mut pods = ["node1", "node2", "node3"].map(|node| pod(&old, node, node, true)).to_vec();
    let first = plan(&new, &nodes(), &pods, free, at());
    assert_eq!((first.create.as_slice(), first.delete.len()), (&["node1".to_owned()][..], 0));
    pods.push(pod(&new, "n1", "node1", false));
    let second = plan(&new, &nodes(), &pods, free, at());
    assert!(second.create.is_empty() && second.delete.is_empty());
    pods[3] = pod(&new, "n1", "node1", true);
    let third = plan(&new, &nodes(), &pods, free, at());
    assert_eq!(names(&third.delete), ["node1"]);
    assert_eq!(third.create, ["node2"]);
}

#[test]
fn one_that_has_failed_makes_room_when_its_time_is_over() {
    let set = set("a", rolling(1, 0));
    let ended = |name: &str, node: &str, phase: &str| {
        Arc::new(crate::samples::changed(
            &*pod(&set, name, node, false),
            &json!({"status": {"phase": phase}}),
        ))
    };
    let pods = [
        ended("held", "node1", "Failed"),
        ended("free", "node2", "Failed"),
        ended("done", "node3", "Succeeded"),
    ];
    let held = |node: &str| (node != "node2").then_some(SignedDuration::from_secs(4));
    let plan = plan(&set, &nodes(), &pods, held, at());
    assert_eq!(names(&plan.ended), ["free", "done"]);
    assert!(plan.create.is_empty() && plan.delete.is_empty());
    assert_eq!(plan.again, Some(SignedDuration::from_secs(4)));
}

#[test]
fn daemons_bear_what_other_pods_do_not() {
    let keys = |set: &DaemonSet| -> Vec<String> {
        let spec = new_pod(set, "node1").spec.unwrap();
        spec.tolerations.unwrap().into_iter().filter_map(|toleration| toleration.key).collect()
    };
    let plain = set("a", rolling(1, 0));
    assert_eq!(keys(&plain).len(), 6);
    let of_node: DaemonSet =
        crate::samples::changed(&plain, &json!({"spec": {"template": {"spec": {"hostNetwork": true}}}}));
    assert_eq!(keys(&of_node)[6], "node.kubernetes.io/network-unavailable");
}
