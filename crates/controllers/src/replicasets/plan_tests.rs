use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::samples::{changed, ready_pod, replica_set, shared};

fn now() -> Timestamp {
    "2026-11-21T21:00:00Z".parse().unwrap()
}

fn pods(count: usize) -> Vec<Arc<Pod>> {
    shared((0..count).map(|number| ready_pod(&format!("p{number:02}"), "node1", "10.244.1.2")).collect())
}

fn names(pods: &[Arc<Pod>]) -> Vec<String> {
    pods.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect()
}

#[test]
fn missing_pods_are_created_and_surplus_ones_deleted() {
    assert_eq!(plan(&replica_set(3), &pods(1), &[], now()).create, 2);
    assert_eq!(plan(&replica_set(3), &pods(3), &[], now()).create, 0);
    assert_eq!(plan(&replica_set(1), &pods(3), &pods(3), now()).delete.len(), 2);
    assert_eq!(plan(&replica_set(2000), &[], &[], now()).create, BURST);
}

#[test]
fn pods_that_end_or_have_ended_do_not_count() {
    let ending: Pod = changed(
        &ready_pod("a", "node1", "10.244.1.2"),
        &json!({"metadata": {"deletionTimestamp": "2026-11-21T20:59:00Z"}}),
    );
    let failed: Pod =
        changed(&ready_pod("b", "node1", "10.244.1.3"), &json!({"status": {"phase": "Failed"}}));
    assert_eq!(plan(&replica_set(2), &shared(vec![ending, failed]), &[], now()).create, 2);
}

#[test]
fn a_set_that_is_being_deleted_does_nothing() {
    let going = changed(&replica_set(3), &json!({"metadata": {"deletionTimestamp": "2026-11-21T20:59:00Z"}}));
    let plan = plan(&going, &pods(1), &[], now());
    assert_eq!((plan.create, plan.delete.len()), (0, 0));
}

#[test]
fn the_least_useful_pods_go_first() {
    let pod = |name: &str, patch: serde_json::Value| -> Pod {
        changed(&ready_pod(name, "node1", "10.244.1.2"), &patch)
    };
    let unbound = pod("unbound", json!({"spec": {"nodeName": null}, "status": {"phase": "Pending"}}));
    let pending = pod("pending", json!({"status": {"phase": "Pending"}}));
    let unready = pod("unready", json!({"status": {"conditions": null}}));
    let cheap = pod(
        "cheap",
        json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1"}}}),
    );
    let restarted = pod(
        "restarted",
        json!({"status": {"containerStatuses": [
            {"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 4}]}}),
    );
    let crowded = [pod("crowded", json!({"spec": {"nodeName": "node2"}}))];
    let young = pod(
        "young",
        json!({"status": {"conditions": [
        {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-21T20:59:58Z"}]}}),
    );
    let alone = pod("alone", json!({}));
    let all = shared(vec![alone, restarted, young, crowded[0].clone(), cheap, unready, pending, unbound]);
    let neighbours =
        (0..9).map(|number| pod(&format!("n{number}"), json!({"spec": {"nodeName": "node2"}}))).collect();
    let mut related = all.clone();
    related.extend(shared(neighbours));
    let plan = plan(&replica_set(0), &all, &related, now());
    assert_eq!(
        names(&plan.delete),
        ["unbound", "pending", "unready", "cheap", "crowded", "young", "restarted", "alone"]
    );
}

#[test]
fn a_pod_carries_the_template_and_its_owner() {
    let pod = new_pod(&replica_set(1));
    assert!(pod.metadata.name.as_deref().unwrap().starts_with("httpd-1-"));
    assert_eq!(pod.metadata.labels.as_ref().unwrap()["run"], "httpd");
    let owner = controller_of(&pod.metadata).unwrap();
    assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("ReplicaSet", "uid-set"));
    assert_eq!(pod.spec.unwrap().containers[0].image.as_deref(), Some("httpd"));
}

#[test]
fn the_status_counts_and_says_when_to_look_again() {
    let set: ReplicaSet = changed(&replica_set(3), &json!({"spec": {"minReadySeconds": 10}}));
    let young: Pod = changed(
        &ready_pod("young", "node1", "10.244.1.9"),
        &json!({"status": {"conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-21T20:59:56Z"}]}}),
    );
    let bare: Pod =
        changed(&ready_pod("bare", "node1", "10.244.1.8"), &json!({"metadata": {"labels": null}}));
    let pods = shared(vec![ready_pod("old", "node1", "10.244.1.7"), young, bare]);
    let (status, next) = status(&set, &pods, None, now());
    assert_eq!(status.replicas, 3);
    assert_eq!(status.fully_labeled_replicas, Some(2));
    assert_eq!(status.ready_replicas, Some(3));
    assert_eq!(status.available_replicas, Some(2));
    assert_eq!(next, Some(SignedDuration::from_secs(6)));
}

#[test]
fn a_failure_is_shown_and_taken_back() {
    let failure = Failure { reason: "FailedCreate", message: "quota".to_owned() };
    let (shown, _) = status(&replica_set(1), &[], Some(&failure), now());
    assert_eq!(shown.conditions.as_ref().unwrap()[0].message.as_deref(), Some("quota"));
    let mut set = replica_set(1);
    set.status = Some(shown.clone());
    let (healed, _) = status(&set, &[], None, now());
    assert_eq!(healed.conditions, None);
    assert!(!same_status(&healed, &shown));
}

proptest! {
    /// Whatever states the pods are in: doing what was planned leaves the wanted number, and never deletes more than
    /// the surplus.
    #[test]
    fn doing_it_leaves_the_wanted_number(wanted in 0_usize..30, states in prop::collection::vec(0_u8..5, 0..40)) {
        let pods: Vec<Arc<Pod>> = shared(states.iter().enumerate().map(|(number, state)| {
            let pod = ready_pod(&format!("p{number}"), "node1", "10.244.1.2");
            let patch = match state {
                0 => json!({"status": {"phase": "Pending", "conditions": null}}),
                1 => json!({"status": {"phase": "Failed"}}),
                2 => json!({"metadata": {"deletionTimestamp": "2026-11-21T20:59:00Z"}}),
                _ => json!({}),
            };
            changed(&pod, &patch)
        }).collect());
        let active = pods.iter().filter(|pod| pod_is_active(pod)).count();
        let plan = plan(&replica_set(wanted), &pods, &pods, now());
        prop_assert_eq!(active + plan.create - plan.delete.len(), wanted);
        prop_assert!(plan.create == 0 || plan.delete.is_empty());
        prop_assert!(plan.delete.iter().all(|pod| pod_is_active(pod)));
    }
}
