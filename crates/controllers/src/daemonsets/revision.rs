//! The history of a DaemonSet's template.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde_json::{Value, json};

use crate::deployments::hash;
use crate::objects::controller_reference;

/// The label by which a pod names the revision that it was made from.
pub(crate) const HASH_LABEL: &str = "controller-revision-hash";

/// What is to be done about the history.
#[derive(Debug)]
pub(crate) enum Step {
    /// The newest revision is that of the present template.
    Settled,
    /// The present template is new.
    Create(Box<ControllerRevision>),
    /// Somebody went back to an old template: its revision becomes the newest.
    Raise(Box<ControllerRevision>),
}

/// The hash of the present template, which its pods bear.
pub(crate) fn current_hash(set: &DaemonSet) -> String {
    let template = set.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let collisions = set.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
    hash(&template, collisions)
}

/// The patch that brings the template back, as `kubectl rollout undo` applies it.
fn data(set: &DaemonSet) -> Value {
    let template = set.spec.as_ref().map(|spec| &spec.template);
    // A template came from JSON, so it can be written as JSON.
    let mut template = serde_json::to_value(template).unwrap_or_default();
    if let Value::Object(template) = &mut template {
        template.insert("$patch".to_owned(), "replace".into());
    }
    json!({"spec": {"template": template}})
}

/// Compares the present template with the history.
pub(crate) fn step(set: &DaemonSet, history: &[Arc<ControllerRevision>]) -> Step {
    let hash = current_hash(set);
    let newest = history.iter().map(|revision| revision.revision).max().unwrap_or(0);
    let of_hash = |revision: &&Arc<ControllerRevision>| {
        revision.metadata.labels.iter().flatten().any(|(key, value)| key == HASH_LABEL && *value == hash)
    };
    match history.iter().find(of_hash) {
        Some(known) if known.revision == newest => Step::Settled,
        Some(known) => {
            let mut raised = known.as_ref().clone();
            raised.revision = newest + 1;
            Step::Raise(Box::new(raised))
        }
        None => {
            let mut labels = set
                .spec
                .as_ref()
                .and_then(|spec| spec.template.metadata.clone())
                .and_then(|meta| meta.labels)
                .unwrap_or_default();
            labels.insert(HASH_LABEL.to_owned(), hash.clone());
            Step::Create(Box::new(ControllerRevision {
                metadata: ObjectMeta {
                    name: Some(format!("{}-{hash}", set.metadata.name.as_deref().unwrap_or_default())),
                    namespace: set.metadata.namespace.clone(),
                    labels: Some(labels),
                    annotations: change_cause(set),
                    owner_references: Some(vec![controller_reference::<DaemonSet>(&set.metadata)]),
                    ..ObjectMeta::default()
                },
                data: Some(RawExtension(data(set))),
                revision: newest + 1,
            }))
        }
    }
}

/// What `kubectl rollout history` lists as the cause of a revision.
fn change_cause(set: &DaemonSet) -> Option<std::collections::BTreeMap<String, String>> {
    const CAUSE: &str = "kubernetes.io/change-cause";
    let cause = set.metadata.annotations.as_ref()?.get(CAUSE)?;
    Some([(CAUSE.to_owned(), cause.clone())].into())
}

/// Old revisions beyond the limit that no pod is made from any more, the oldest first.
pub(crate) fn surplus(
    set: &DaemonSet,
    history: &[Arc<ControllerRevision>],
    live: &BTreeSet<String>,
) -> Vec<Arc<ControllerRevision>> {
    let limit = set.spec.as_ref().and_then(|spec| spec.revision_history_limit).unwrap_or(10);
    let current = current_hash(set);
    let hash_of = |revision: &ControllerRevision| {
        revision
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(HASH_LABEL))
            .cloned()
            .unwrap_or_default()
    };
    let mut old: Vec<_> = history
        .iter()
        .filter(|revision| {
            let hash = hash_of(revision);
            hash != current && !live.contains(&hash)
        })
        .cloned()
        .collect();
    old.sort_by_key(|revision| revision.revision);
    let count = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    old.truncate(count);
    old
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(image: &str) -> DaemonSet {
        serde_json::from_value(json!({
            "metadata": {"name": "agent", "namespace": "default", "uid": "uid-ds"},
            "spec": {"selector": {"matchLabels": {"run": "agent"}}, "revisionHistoryLimit": 1, "template": {
                "metadata": {"labels": {"run": "agent"}}, "spec": {"containers": [{"name": "c", "image": image}]},
            }},
        }))
        .unwrap()
    }

    #[test]
    fn each_template_has_one_revision_and_the_present_one_is_the_newest() {
        let Step::Create(first) = step(&set("a"), &[]) else { panic!("no revision made") };
        assert_eq!(first.revision, 1);
        let data = first.data.clone().unwrap().0;
        assert_eq!(data["spec"]["template"]["$patch"], "replace");
        let first = Arc::new(*first);
        assert!(matches!(step(&set("a"), std::slice::from_ref(&first)), Step::Settled));
        let Step::Create(second) = step(&set("b"), std::slice::from_ref(&first)) else {
            panic!("no revision made")
        };
        assert_eq!(second.revision, 2);
        let history = [first, Arc::new(*second)];
        let Step::Raise(raised) = step(&set("a"), &history) else { panic!("not raised") };
        assert_eq!(raised.revision, 3);
    }

    #[test]
    fn old_revisions_go_unless_pods_need_them() {
        let mut history = Vec::new();
        for image in ["a", "b", "c"] {
            let Step::Create(revision) = step(&set(image), &history) else { panic!("no revision made") };
            history.push(Arc::new(*revision));
        }
        let gone = surplus(&set("c"), &history, &BTreeSet::new());
        assert_eq!(gone.iter().map(|revision| revision.revision).collect::<Vec<_>>(), [1]);
        let live = BTreeSet::from([current_hash(&set("a"))]);
        assert!(surplus(&set("c"), &history, &live).is_empty());
    }
}
