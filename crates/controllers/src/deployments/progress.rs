//! The status of a Deployment: counts, and the conditions Available and Progressing (`sync.go`, `progress.go`).

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::plan::{Sets, is_paused, replicas};
use super::rollout::{Strategy, wanted};

/// What a status is made from, besides the Deployment.
pub(crate) struct Seen<'a> {
    /// The ReplicaSets that the Deployment controls.
    pub(crate) sets: &'a [Arc<ReplicaSet>],
    /// The ReplicaSet that was created in this very step.
    pub(crate) created: Option<&'a str>,
    /// Why the last step failed.
    pub(crate) failure: Option<&'a str>,
    pub(crate) now: Timestamp,
}

/// The status that the Deployment should have, and when it may change by itself because progress is overdue.
pub(crate) fn status(deployment: &Deployment, seen: &Seen<'_>) -> (DeploymentStatus, Option<SignedDuration>) {
    let old = deployment.status.clone().unwrap_or_default();
    let sets = Sets::of(deployment, seen.sets);
    let sum = |count: fn(&ReplicaSet) -> i32| seen.sets.iter().map(|set| count(set)).sum::<i32>();
    let available = sum(|set| set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0));
    let count = |count: i32| Some(count);
    let updated = sets.new.and_then(|new| new.status.as_ref()).map_or(0, |status| status.replicas);
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: count(sum(|set| set.status.as_ref().map_or(0, |status| status.replicas))),
        updated_replicas: count(updated),
        ready_replicas: count(sum(|set| {
            set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)
        })),
        available_replicas: count(available),
        // Go leaves a count of zero out.
        unavailable_replicas: Some(sum(replicas) - available).filter(|count| *count > 0),
        collision_count: old.collision_count,
        terminating_replicas: None,
        conditions: old.conditions.clone(),
    };
    let mut conditions = Conditions { all: old.conditions.clone().unwrap_or_default(), now: seen.now };
    let enough = available >= Strategy::of(deployment).least_available(wanted(deployment));
    if enough {
        conditions.set(
            "Available",
            true,
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
            false,
        );
    } else {
        let message = "Deployment does not have minimum availability.";
        conditions.set("Available", false, "MinimumReplicasUnavailable", message, false);
    }
    let overdue = progress(deployment, seen, &sets, &old, &status, &mut conditions);
    match seen.failure {
        Some(message) => conditions.set("ReplicaFailure", true, "FailedCreate", message, false),
        None => replica_failure(&sets, &mut conditions),
    }
    status.conditions = Some(conditions.all);
    (status, overdue)
}

/// Whether every pod is of the present template and available (`DeploymentComplete`).
pub(crate) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = Some(wanted(deployment));
    status.updated_replicas.or(Some(0)) == wanted
        && status.replicas.or(Some(0)) == wanted
        && status.available_replicas.or(Some(0)) == wanted
        && status.observed_generation >= deployment.metadata.generation
}

fn progress(
    deployment: &Deployment,
    seen: &Seen<'_>,
    sets: &Sets<'_>,
    old: &DeploymentStatus,
    status: &DeploymentStatus,
    conditions: &mut Conditions,
) -> Option<SignedDuration> {
    let deadline =
        deployment.spec.as_ref()?.progress_deadline_seconds.filter(|deadline| *deadline != i32::MAX)?;
    let name = sets.new.and_then(|new| new.metadata.name.as_deref());
    let about = |rest: &str| match name {
        Some(name) => format!("ReplicaSet \"{name}\" {rest}"),
        None => format!("Deployment \"{}\" {rest}", deployment.metadata.name.as_deref().unwrap_or_default()),
    };
    let known = conditions.find("Progressing").cloned();
    let reason = known.as_ref().and_then(|known| known.reason.as_deref()).unwrap_or_default();
    if let Some(created) = seen.created {
        let message = format!("Created new replica set \"{created}\"");
        conditions.set("Progressing", true, "NewReplicaSetCreated", &message, true);
    } else if is_paused(deployment) {
        conditions.set_unknown("Progressing", "DeploymentPaused", "Deployment is paused");
        return None;
    } else if reason == "DeploymentPaused" {
        conditions.set_unknown("Progressing", "DeploymentResumed", "Deployment is resumed");
    } else if reason == "NewReplicaSetAvailable" && status.replicas == status.updated_replicas {
        return None;
    } else if is_complete(deployment, status) {
        let message = about("has successfully progressed.");
        conditions.set("Progressing", true, "NewReplicaSetAvailable", &message, false);
        return None;
    } else if is_progressing(old, status) {
        conditions.set("Progressing", true, "ReplicaSetUpdated", &about("is progressing."), true);
    } else if known.is_none() {
        if let Some(name) = name {
            let message = format!("Found new replica set \"{name}\"");
            conditions.set("Progressing", true, "FoundNewReplicaSet", &message, true);
        }
    } else if reason == "ProgressDeadlineExceeded" {
        return None;
    }
    let since = conditions.find("Progressing")?.last_update_time.as_ref()?.0;
    let left = SignedDuration::from_secs(i64::from(deadline)) - seen.now.duration_since(since);
    if left > SignedDuration::ZERO {
        return Some(left);
    }
    let message = about("has timed out progressing.");
    conditions.set("Progressing", false, "ProgressDeadlineExceeded", &message, false);
    None
}

/// Whether the counts went into the right direction (`DeploymentProgressing`).
fn is_progressing(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let number = |count: Option<i32>| count.unwrap_or(0);
    let outdated = |status: &DeploymentStatus| number(status.replicas) - number(status.updated_replicas);
    number(new.updated_replicas) > number(old.updated_replicas)
        || outdated(new) < outdated(old)
        || number(new.ready_replicas) > number(old.ready_replicas)
        || number(new.available_replicas) > number(old.available_replicas)
}

/// Shows on the Deployment what keeps its newest ReplicaSet from making pods.
fn replica_failure(sets: &Sets<'_>, conditions: &mut Conditions) {
    let of_set = sets.new.into_iter().chain(sets.old.iter().copied()).find_map(|set| {
        let all = set.status.as_ref()?.conditions.as_ref()?;
        all.iter().find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")
    });
    match of_set {
        Some(found) => {
            let reason = found.reason.as_deref().unwrap_or_default();
            conditions.set(
                "ReplicaFailure",
                true,
                reason,
                found.message.as_deref().unwrap_or_default(),
                false,
            );
        }
        None => conditions.all.retain(|condition| condition.type_ != "ReplicaFailure"),
    }
}

struct Conditions {
    all: Vec<DeploymentCondition>,
    now: Timestamp,
}

impl Conditions {
    fn find(&self, kind: &str) -> Option<&DeploymentCondition> {
        self.all.iter().find(|condition| condition.type_ == kind)
    }

    fn set(&mut self, kind: &str, holds: bool, reason: &str, message: &str, renew: bool) {
        self.put(kind, if holds { "True" } else { "False" }, reason, message, renew);
    }

    fn set_unknown(&mut self, kind: &str, reason: &str, message: &str) {
        self.put(kind, "Unknown", reason, message, false);
    }

    /// Sets a condition. One that says the same already stays untouched, unless its update time is to be renewed.
    fn put(&mut self, kind: &str, status: &str, reason: &str, message: &str, renew: bool) {
        let now = Time(self.now);
        let known = self.all.iter().position(|condition| condition.type_ == kind);
        let mut transition = now.clone();
        if let Some(known) = known {
            let same = &self.all[known];
            if same.status == status {
                let unchanged =
                    same.reason.as_deref() == Some(reason) && same.message.as_deref() == Some(message);
                if unchanged && !renew {
                    return;
                }
                transition = same.last_transition_time.clone().unwrap_or(transition);
            }
        }
        let condition = DeploymentCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_update_time: Some(now),
            last_transition_time: Some(transition),
        };
        match known {
            Some(known) => self.all[known] = condition,
            None => self.all.push(condition),
        }
    }
}

/// Whether two statuses say the same; counts that are absent are zero.
pub(crate) fn same_status(a: &DeploymentStatus, b: &DeploymentStatus) -> bool {
    let counts = |status: &DeploymentStatus| {
        [
            status.replicas,
            status.updated_replicas,
            status.ready_replicas,
            status.available_replicas,
            status.unavailable_replicas,
            status.collision_count,
        ]
        .map(|count| count.unwrap_or(0))
    };
    let conditions = |status: &DeploymentStatus| {
        let all = status.conditions.iter().flatten();
        let said = |condition: &DeploymentCondition| {
            (
                condition.type_.clone(),
                condition.status.clone(),
                condition.reason.clone(),
                condition.message.clone(),
            )
        };
        all.map(said).collect::<Vec<_>>()
    };
    counts(a) == counts(b) && a.observed_generation == b.observed_generation && conditions(a) == conditions(b)
}
