use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DeploymentStatus;
use serde_json::json;

use super::*;
use crate::deployments::progress::{Seen, is_complete, status};
use crate::deployments::revision::revision;
use crate::samples::{changed, deployment};

fn now() -> Timestamp {
    "2026-11-21T21:00:00Z".parse().unwrap()
}

/// A ReplicaSet as the server would hold it, with so many of its pods there and available.
fn stored(set: ReplicaSet, number: usize, replicas: i32, available: i32) -> Arc<ReplicaSet> {
    Arc::new(changed(
        &set,
        &json!({
            "metadata": {"uid": format!("uid-{number}"), "generation": 1,
                "creationTimestamp": format!("2026-11-21T20:00:{number:02}Z")},
            "status": {"replicas": replicas, "readyReplicas": available, "availableReplicas": available,
                "observedGeneration": 1},
        }),
    ))
}

fn with_image(deployment: &Deployment, image: &str) -> Deployment {
    changed(
        deployment,
        &json!({"spec": {"template": {"spec": {"containers": [{"name": "httpd", "image": image}]}}}}),
    )
}

fn condition<'a>(status: &'a DeploymentStatus, kind: &str) -> (&'a str, &'a str, &'a str) {
    let all = status.conditions.as_ref().unwrap();
    let found = all.iter().find(|condition| condition.type_ == kind).unwrap();
    (&found.status, found.reason.as_deref().unwrap(), found.message.as_deref().unwrap())
}

fn seen(sets: &[Arc<ReplicaSet>]) -> Seen<'_> {
    Seen { sets, created: None, failure: None, now: now() }
}

#[test]
fn the_first_replica_set_gets_all_replicas_at_once() {
    let deployment = deployment(3);
    let created = plan(&deployment, &[], false, false).create.unwrap();
    assert_eq!(replicas(&created), 3);
    assert!(created.metadata.name.as_deref().unwrap().starts_with("httpd-"));
    assert_eq!(revision(created.metadata.annotations.as_ref()), 1);
    let hash = &created.metadata.labels.as_ref().unwrap()["pod-template-hash"];
    let spec = created.spec.as_ref().unwrap();
    assert_eq!(&spec.selector.match_labels.as_ref().unwrap()["pod-template-hash"], hash);
    let sets = [stored(created, 1, 3, 3)];
    let next = plan(&deployment, &sets, false, false);
    assert!(next.create.is_none() && next.updates.is_empty());
}

#[test]
fn a_new_template_rolls_over_step_by_step() {
    let before = deployment(3);
    let old = stored(plan(&before, &[], false, false).create.unwrap(), 1, 3, 3);
    let after = with_image(&before, "nginx");
    let created = plan(&after, std::slice::from_ref(&old), false, false).create.unwrap();
    assert_eq!(replicas(&created), 1);
    assert_eq!(revision(created.metadata.annotations.as_ref()), 2);
    let sets = [old.clone(), stored(created.clone(), 2, 1, 0)];
    assert!(plan(&after, &sets, false, false).updates.is_empty());
    let sets = [old, stored(created, 2, 1, 1)];
    let step = plan(&after, &sets, false, false);
    assert_eq!(step.updates.iter().map(|update| (update.from, update.to)).collect::<Vec<_>>(), [(3, 2)]);
}

#[test]
fn recreate_waits_for_the_old_pods() {
    let before: Deployment = changed(&deployment(3), &json!({"spec": {"strategy": {"type": "Recreate"}}}));
    let created = plan(&before, &[], false, false).create.unwrap();
    let after = with_image(&before, "nginx");
    let step = plan(&after, &[stored(created.clone(), 1, 3, 3)], true, false);
    assert!(step.create.is_none());
    assert_eq!((step.updates[0].from, step.updates[0].to), (3, 0));
    let emptied = [stored(step.updates[0].set.clone(), 1, 3, 3)];
    let waiting = plan(&after, &emptied, true, false);
    assert!(waiting.create.is_none() && waiting.updates.is_empty());
    assert_eq!(replicas(&plan(&after, &emptied, false, false).create.unwrap()), 3);
}

#[test]
fn scaling_changes_the_one_active_replica_set() {
    let set = stored(plan(&deployment(3), &[], false, false).create.unwrap(), 1, 3, 3);
    let step = plan(&deployment(5), std::slice::from_ref(&set), false, false);
    assert_eq!((step.updates.len(), step.updates[0].to), (1, 5));
    let scaled = [stored(step.updates[0].set.clone(), 1, 3, 3)];
    assert!(plan(&deployment(5), &scaled, false, false).updates.is_empty());
    let step = plan(&deployment(0), &scaled, false, false);
    let emptied = [stored(step.updates[0].set.clone(), 1, 0, 0)];
    assert!(plan(&deployment(0), &emptied, false, false).updates.is_empty());
    assert_eq!(plan(&deployment(2), &emptied, false, false).updates[0].to, 2);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let set = stored(plan(&deployment(3), &[], false, false).create.unwrap(), 1, 3, 3);
    let paused: Deployment =
        changed(&with_image(&deployment(4), "nginx"), &json!({"spec": {"paused": true}}));
    let step = plan(&paused, std::slice::from_ref(&set), false, false);
    assert!(step.create.is_none());
    assert_eq!(step.updates[0].to, 4);
}

#[test]
fn rolling_back_uses_the_old_replica_set_again() {
    let before = deployment(3);
    let first = plan(&before, &[], false, false).create.unwrap();
    let after = with_image(&before, "nginx");
    let second = plan(&after, &[stored(first.clone(), 1, 3, 3)], false, false).create.unwrap();
    let mut emptied = first;
    emptied.spec.get_or_insert_default().replicas = Some(0);
    let mut grown = second;
    grown.spec.get_or_insert_default().replicas = Some(3);
    let sets = [stored(emptied, 1, 0, 0), stored(grown, 2, 3, 3)];
    let step = plan(&before, &sets, false, false);
    assert!(step.create.is_none());
    assert_eq!(step.updates[0].to, 1);
    assert_eq!(revision(step.updates[0].set.metadata.annotations.as_ref()), 3);
}

#[test]
fn only_as_much_history_as_wanted_is_kept() {
    let limited: Deployment = changed(&deployment(3), &json!({"spec": {"revisionHistoryLimit": 1}}));
    let mut sets = Vec::new();
    for number in 0..4 {
        let of = with_image(&limited, &format!("httpd:{number}"));
        let mut set = plan(&of, &sets, false, false).create.unwrap();
        set.spec.get_or_insert_default().replicas = Some(if number == 3 { 3 } else { 0 });
        let there = if number == 3 { 3 } else { 0 };
        sets.push(stored(set, number, there, there));
    }
    let last = with_image(&limited, "httpd:3");
    assert!(plan(&last, &sets, false, false).delete.is_empty());
    let gone: Vec<_> =
        plan(&last, &sets, false, true).delete.iter().map(|set| set.metadata.uid.clone().unwrap()).collect();
    assert_eq!(gone, ["uid-0", "uid-1"]);
}

#[test]
fn the_status_tells_the_story_of_a_rollout() {
    let mut deployment = deployment(3);
    let created = plan(&deployment, &[], false, false).create.unwrap();
    let name = created.metadata.name.clone().unwrap();
    let sets = [stored(created.clone(), 1, 0, 0)];
    let (first, overdue) = status(&deployment, &Seen { created: Some(&name), ..seen(&sets) });
    assert_eq!(first.unavailable_replicas, Some(3));
    assert_eq!(
        condition(&first, "Available"),
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    );
    let made = format!("Created new replica set \"{name}\"");
    assert_eq!(condition(&first, "Progressing"), ("True", "NewReplicaSetCreated", made.as_str()));
    assert_eq!(overdue, Some(jiff::SignedDuration::from_secs(600)));
    deployment.status = Some(first);
    let sets = [stored(created.clone(), 1, 3, 2)];
    let (second, _) = status(&deployment, &seen(&sets));
    let progressing = format!("ReplicaSet \"{name}\" is progressing.");
    assert_eq!(condition(&second, "Progressing"), ("True", "ReplicaSetUpdated", progressing.as_str()));
    deployment.status = Some(second);
    let sets = [stored(created, 1, 3, 3)];
    let (third, overdue) = status(&deployment, &seen(&sets));
    assert!(is_complete(&deployment, &third));
    let done = format!("ReplicaSet \"{name}\" has successfully progressed.");
    assert_eq!(condition(&third, "Progressing"), ("True", "NewReplicaSetAvailable", done.as_str()));
    assert_eq!(condition(&third, "Available").1, "MinimumReplicasAvailable");
    assert_eq!(overdue, None);
}

#[test]
fn a_rollout_without_progress_is_called_overdue() {
    let mut deployment = deployment(3);
    let created = plan(&deployment, &[], false, false).create.unwrap();
    let sets = [stored(created, 1, 3, 0)];
    let (first, _) = status(&deployment, &seen(&sets));
    deployment.status = Some(first);
    let later = Seen { now: "2026-11-21T21:10:00Z".parse().unwrap(), ..seen(&sets) };
    let (second, overdue) = status(&deployment, &later);
    let (holds, reason, message) = condition(&second, "Progressing");
    assert_eq!((holds, reason), ("False", "ProgressDeadlineExceeded"));
    assert!(message.ends_with("has timed out progressing."));
    assert_eq!(overdue, None);
}
