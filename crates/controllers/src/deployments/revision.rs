//! The annotations by which a Deployment and its ReplicaSets know their place in the history.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

/// The number of a state of the template; `kubectl rollout history` lists it.
pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// The Deployment's replicas when the ReplicaSet was last scaled.
pub(crate) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// The same with the surge.
pub(crate) const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// Annotations that are a Deployment's own business (`annotationsToSkip`).
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

/// The annotations that a ReplicaSet takes over from its Deployment.
pub(crate) fn inherited_annotations(deployment: &Deployment) -> BTreeMap<String, String> {
    let all = deployment.metadata.annotations.iter().flatten();
    all.filter(|(key, _)| !OWN.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The revision that an object's annotations name, 0 when none.
pub(crate) fn revision(annotations: Option<&BTreeMap<String, String>>) -> i64 {
    annotations.and_then(|all| all.get(REVISION)).and_then(|revision| revision.parse().ok()).unwrap_or(0)
}

/// The highest revision among these ReplicaSets.
pub(crate) fn highest<'a>(sets: impl IntoIterator<Item = &'a Arc<ReplicaSet>>) -> i64 {
    sets.into_iter().map(|set| revision(set.metadata.annotations.as_ref())).max().unwrap_or(0)
}

/// Raises the revision of the ReplicaSet of the present template to `wanted`, remembering the one it had before
/// (it has one when somebody rolled back to it). Returns whether anything changed.
pub(crate) fn raise(annotations: &mut BTreeMap<String, String>, wanted: i64) -> bool {
    let held = revision(Some(annotations));
    if held >= wanted {
        return false;
    }
    if held > 0 {
        let history = annotations.entry(REVISION_HISTORY.to_owned()).or_default();
        if !history.is_empty() {
            history.push(',');
        }
        history.push_str(&held.to_string());
    }
    annotations.insert(REVISION.to_owned(), wanted.to_string());
    true
}

/// Notes for how many replicas a ReplicaSet was scaled. Returns whether anything changed.
pub(crate) fn note_size(annotations: &mut BTreeMap<String, String>, desired: i32, max: i32) -> bool {
    let wanted = [(DESIRED, desired.to_string()), (MAX, max.to_string())];
    let mut changed = false;
    for (key, value) in wanted {
        if annotations.get(key) != Some(&value) {
            annotations.insert(key.to_owned(), value);
            changed = true;
        }
    }
    changed
}

/// A number in a ReplicaSet's annotations.
pub(crate) fn noted(set: &ReplicaSet, key: &str) -> Option<i32> {
    set.metadata.annotations.as_ref()?.get(key)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_back_to_an_old_template_remembers_its_old_revision() {
        let mut annotations = BTreeMap::new();
        assert!(raise(&mut annotations, 1));
        assert!(!raise(&mut annotations, 1));
        assert!(raise(&mut annotations, 3));
        assert!(raise(&mut annotations, 5));
        assert_eq!(annotations[REVISION], "5");
        assert_eq!(annotations[REVISION_HISTORY], "1,3");
    }
}
