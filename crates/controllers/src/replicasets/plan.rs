use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::ranking::first_to_go;
use crate::objects::{
    Availability, controller_of, controller_reference, generated_name, is_deleting, pod_availability,
    pod_is_active, pod_is_ready, uid,
};
use crate::selector::has_all;

/// Pods created or deleted for one ReplicaSet in one go, as in Kubernetes (`BurstReplicas`).
const BURST: usize = 500;

/// What to do about the number of pods.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) create: usize,
    pub(crate) delete: Vec<Arc<Pod>>,
}

/// The number of pods that a ReplicaSet wants.
pub(crate) fn wanted_replicas(set: &ReplicaSet) -> usize {
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    usize::try_from(wanted).unwrap_or(0)
}

/// The pods of `candidates` that the ReplicaSet controls.
pub(crate) fn owned(set: &ReplicaSet, candidates: Vec<Arc<Pod>>) -> Vec<Arc<Pod>> {
    let id = uid(&set.metadata);
    candidates
        .into_iter()
        .filter(|pod| controller_of(&pod.metadata).is_some_and(|owner| owner.uid == id))
        .collect()
}

/// Compares what is with what is wanted. `pods` are those that the ReplicaSet controls, `related` those of the
/// ReplicaSets with the same owner.
pub(crate) fn plan(set: &ReplicaSet, pods: &[Arc<Pod>], related: &[Arc<Pod>], now: Timestamp) -> Plan {
    if is_deleting(&set.metadata) {
        return Plan::default();
    }
    let wanted = wanted_replicas(set);
    let active: Vec<Arc<Pod>> = pods.iter().filter(|pod| pod_is_active(pod)).cloned().collect();
    if active.len() < wanted {
        return Plan { create: (wanted - active.len()).min(BURST), delete: Vec::new() };
    }
    let surplus = (active.len() - wanted).min(BURST);
    Plan { create: 0, delete: first_to_go(&active, related, surplus, now) }
}

/// A pod as the ReplicaSet's template describes it, with a new name.
pub(crate) fn new_pod(set: &ReplicaSet) -> Pod {
    let template = set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
    let described = template.metadata.unwrap_or_default();
    let prefix = format!("{}-", set.metadata.name.as_deref().unwrap_or_default());
    Pod {
        metadata: ObjectMeta {
            name: Some(generated_name(&prefix)),
            generate_name: Some(prefix),
            namespace: set.metadata.namespace.clone(),
            labels: described.labels,
            annotations: described.annotations,
            finalizers: described.finalizers,
            owner_references: Some(vec![controller_reference::<ReplicaSet>(&set.metadata)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// The status that the ReplicaSet should have, and how long until it may change by itself. `failure` is why pods
/// could not be created or deleted.
pub(crate) fn status(
    set: &ReplicaSet,
    pods: &[Arc<Pod>],
    failure: Option<&Failure>,
    now: Timestamp,
) -> (ReplicaSetStatus, Option<SignedDuration>) {
    let spec = set.spec.clone().unwrap_or_default();
    let labels =
        spec.template.and_then(|template| template.metadata).and_then(|meta| meta.labels).unwrap_or_default();
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let mut counted = [0_i32; 4];
    let [replicas, labelled, ready, available] = &mut counted;
    let mut next: Option<SignedDuration> = None;
    for pod in pods.iter().filter(|pod| pod_is_active(pod)) {
        *replicas += 1;
        *labelled += i32::from(has_all(pod.metadata.labels.as_ref(), &labels));
        *ready += i32::from(pod_is_ready(pod));
        match pod_availability(pod, min_ready, now) {
            Availability::Available => *available += 1,
            Availability::In(left) => next = Some(next.map_or(left, |next| next.min(left))),
            Availability::NotReady => {}
        }
    }
    let [replicas, labelled, ready, available] = counted;
    let old = set.status.clone().unwrap_or_default();
    let status = ReplicaSetStatus {
        replicas,
        fully_labeled_replicas: Some(labelled),
        ready_replicas: Some(ready),
        available_replicas: Some(available),
        observed_generation: set.metadata.generation,
        conditions: conditions(old.conditions, failure, now),
        terminating_replicas: None,
    };
    (status, next)
}

/// Why the number of pods could not be made right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// `FailedCreate` or `FailedDelete`.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

fn conditions(
    old: Option<Vec<ReplicaSetCondition>>,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let mut conditions = old.unwrap_or_default();
    let known = conditions.iter().find(|condition| condition.type_ == "ReplicaFailure").cloned();
    conditions.retain(|condition| condition.type_ != "ReplicaFailure");
    if let Some(failure) = failure {
        let since = known.and_then(|known| known.last_transition_time).unwrap_or(Time(now));
        conditions.push(ReplicaSetCondition {
            type_: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            reason: Some(failure.reason.to_owned()),
            message: Some(failure.message.clone()),
            last_transition_time: Some(since),
        });
    }
    (!conditions.is_empty()).then_some(conditions)
}

/// Whether two statuses say the same; counts that are absent are zero.
pub(crate) fn same_status(a: &ReplicaSetStatus, b: &ReplicaSetStatus) -> bool {
    let counts = |status: &ReplicaSetStatus| {
        [
            Some(status.replicas),
            status.fully_labeled_replicas,
            status.ready_replicas,
            status.available_replicas,
        ]
        .map(|count| count.unwrap_or(0))
    };
    let conditions = |status: &ReplicaSetStatus| {
        let all = status.conditions.iter().flatten();
        all.map(|condition| (condition.type_.clone(), condition.message.clone())).collect::<Vec<_>>()
    };
    counts(a) == counts(b) && a.observed_generation == b.observed_generation && conditions(a) == conditions(b)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
