//! Whose a pod is: its owner reference says so, and follows the selector (`ControllerRefManager` of Kubernetes).

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::context::{BY_CONTROLLER, Context, uncontrolled_in};
use crate::error::Error;
use crate::objects::{controller_of, controller_reference, is_deleting, pod_is_active, uid};
use crate::selector::matches;

/// What becomes of a pod's tie to an object that may control it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tie {
    /// Nobody controls the pod and the selector chooses it: it becomes ours.
    Adopt,
    /// It is ours and the selector no longer chooses it: it is let go.
    Release,
    /// As it should be.
    Keep,
}

/// Judges the tie between an object with that selector and a pod of its namespace.
pub(crate) fn tie(owner: &ObjectMeta, selector: &LabelSelector, pod: &Pod) -> Tie {
    let chosen = matches(selector, pod.metadata.labels.as_ref());
    match controller_of(&pod.metadata) {
        Some(of) if of.uid == uid(owner) && !chosen && !is_deleting(&pod.metadata) => Tie::Release,
        None if chosen && pod_is_active(pod) && !is_deleting(owner) => Tie::Adopt,
        _ => Tie::Keep,
    }
}

/// Adopts pods that nobody controls and lets go of pods that the selector no longer chooses.
pub(crate) async fn settle<K: k8s_openapi::Resource>(
    context: &Context,
    owner: &ObjectMeta,
    selector: &LabelSelector,
) -> Result<(), Error> {
    let namespace = owner.namespace.as_deref().unwrap_or_default();
    let mut candidates = context.stores.pods.indexed(BY_CONTROLLER, uid(owner));
    candidates.extend(context.stores.pods.indexed(BY_CONTROLLER, &uncontrolled_in(namespace)));
    for pod in candidates {
        let mut changed = pod.as_ref().clone();
        let owners = changed.metadata.owner_references.get_or_insert_default();
        match tie(owner, selector, &pod) {
            Tie::Keep => continue,
            Tie::Adopt => owners.push(controller_reference::<K>(owner)),
            Tie::Release => owners.retain(|of| of.uid != uid(owner)),
        }
        context.update(&changed).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::ReplicaSet;
    use serde_json::json;

    use super::*;
    use crate::samples::{changed, ready_pod, replica_set};

    #[test]
    fn ties_follow_the_selector() {
        let set = replica_set(1);
        let judge = |pod: &Pod| tie(&set.metadata, &set.spec.as_ref().unwrap().selector, pod);
        let stray = ready_pod("stray", "node1", "10.244.1.2");
        assert_eq!(judge(&stray), Tie::Adopt);
        assert_eq!(judge(&changed(&stray, &json!({"status": {"phase": "Failed"}}))), Tie::Keep);
        let mut ours = stray.clone();
        ours.metadata.owner_references = Some(vec![controller_reference::<ReplicaSet>(&set.metadata)]);
        assert_eq!(judge(&ours), Tie::Keep);
        ours.metadata.labels = None;
        assert_eq!(judge(&ours), Tie::Release);
        let mut going = set.clone();
        going.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(tie(&going.metadata, &going.spec.unwrap().selector, &stray), Tie::Keep);
    }
}
