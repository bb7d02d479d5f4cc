//! The ReplicaSet that stands for one state of a Deployment's pod template.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::revision::inherited_annotations;
use crate::objects::{NAME_LETTERS, controller_reference};

/// The label that tells the pods of one ReplicaSet of a Deployment from those of the others.
pub(crate) const HASH_LABEL: &str = "pod-template-hash";

/// The ReplicaSet whose template is the Deployment's; the oldest when several are (`FindNewReplicaSet`).
pub(crate) fn find_new<'a>(
    deployment: &Deployment,
    sets: &'a [Arc<ReplicaSet>],
) -> Option<&'a Arc<ReplicaSet>> {
    let wanted = bare(&template_of(deployment));
    sets.iter()
        .filter(|set| {
            set.spec.as_ref().and_then(|spec| spec.template.as_ref()).map(bare) == Some(wanted.clone())
        })
        .min_by_key(|set| (set.metadata.creation_timestamp.clone(), set.metadata.name.clone()))
}

fn template_of(deployment: &Deployment) -> PodTemplateSpec {
    deployment.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default()
}

/// A template without the hash label, and without the difference between absent and empty.
fn bare(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut meta = template.metadata.clone().unwrap_or_default();
    if let Some(labels) = &mut meta.labels {
        labels.remove(HASH_LABEL);
    }
    meta.labels = meta.labels.filter(|labels| !labels.is_empty());
    meta.annotations = meta.annotations.filter(|annotations| !annotations.is_empty());
    PodTemplateSpec { metadata: Some(meta), spec: template.spec.clone() }
}

/// Ten characters at most that stand for a template. Like Kubernetes' hash it is FNV-1a of a printed form, written
/// with the letters of generated names; the printed form is JSON here and a Go dump there, so the values differ.
pub(crate) fn hash(template: &PodTemplateSpec, collisions: i32) -> String {
    // A template came from JSON, so it can be written as JSON; should it not, the empty text still gives a name.
    let printed = serde_json::to_vec(&bare(template)).unwrap_or_default();
    let mut bytes = printed;
    if collisions > 0 {
        bytes.extend(collisions.to_le_bytes());
    }
    let hash =
        bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    hash.to_string()
        .bytes()
        .map(|digit| char::from(NAME_LETTERS[usize::from(digit) % NAME_LETTERS.len()]))
        .collect()
}

/// The ReplicaSet for the Deployment's present template, with that many replicas.
pub(crate) fn new_set(deployment: &Deployment, replicas: i32) -> ReplicaSet {
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
    let mut template = template_of(deployment);
    let hash = hash(&template, collisions);
    let name = format!("{}-{hash}", deployment.metadata.name.as_deref().unwrap_or_default());
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    let labels = labels.clone();
    let spec = deployment.spec.clone().unwrap_or_default();
    let mut selector = spec.selector;
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash);
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(inherited_annotations(deployment)),
            owner_references: Some(vec![controller_reference::<Deployment>(&deployment.metadata)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            min_ready_seconds: spec.min_ready_seconds,
            replicas: Some(replicas),
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_stable_ignores_its_own_label_and_reads_like_a_generated_name() {
        let mut template: PodTemplateSpec = serde_json::from_value(serde_json::json!({
            "metadata": {"labels": {"run": "httpd"}},
            "spec": {"containers": [{"name": "httpd", "image": "httpd"}]},
        }))
        .unwrap();
        let first = hash(&template, 0);
        template
            .metadata
            .get_or_insert_default()
            .labels
            .get_or_insert_default()
            .insert(HASH_LABEL.to_owned(), first.clone());
        assert_eq!(hash(&template, 0), first);
        assert_ne!(hash(&template, 1), first);
        assert!(first.bytes().all(|letter| NAME_LETTERS.contains(&letter)));
        assert!((1..=10).contains(&first.len()));
        template.spec.get_or_insert_default().containers[0].image = Some("nginx".to_owned());
        assert_ne!(hash(&template, 0), first);
    }
}
