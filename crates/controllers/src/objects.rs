use std::fmt;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use rand::Rng;

/// Namespace and name of an object; the namespace is empty for objects of the whole cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Empty for objects of the whole cluster.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

impl ObjectKey {
    /// The key of an object inside `namespace`, or of the whole cluster when that is empty.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The key that an object's metadata names.
    pub fn of(meta: &ObjectMeta) -> Self {
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// The one owner that controls an object, if any.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// The uid of an object, empty before the API server gave it one.
pub(crate) fn uid(meta: &ObjectMeta) -> &str {
    meta.uid.as_deref().unwrap_or_default()
}

/// Whether somebody asked for the object's deletion.
pub(crate) fn is_deleting(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some()
}

/// The reference by which a dependent names the object that controls it.
pub(crate) fn controller_reference<K>(owner: &ObjectMeta) -> OwnerReference
where
    K: k8s_openapi::Resource,
{
    OwnerReference {
        api_version: K::API_VERSION.to_owned(),
        kind: K::KIND.to_owned(),
        name: owner.name.clone().unwrap_or_default(),
        uid: owner.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Letters that Kubernetes puts into generated names: no vowels and no digits that look like them, so that no words arise.
pub(crate) const NAME_LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// `base` shortened so that the whole fits into 63 characters, and five random letters, as the API server makes them
/// for `generateName`. The controllers choose names themselves so that a request whose answer got lost can be repeated
/// without creating a second object.
pub(crate) fn generated_name(base: &str) -> String {
    let mut rng = rand::rng();
    let suffix: String =
        (0..5).map(|_| char::from(NAME_LETTERS[rng.random_range(0..NAME_LETTERS.len())])).collect();
    let end = base.char_indices().map(|(at, _)| at).nth(58).unwrap_or(base.len());
    format!("{}{suffix}", &base[..end])
}

/// A pod's condition of that type.
pub(crate) fn pod_condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

/// The pod's phase, `Pending` when it has none yet.
pub(crate) fn pod_phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// The pod has run to its end and will never run again.
pub(crate) fn pod_is_finished(pod: &Pod) -> bool {
    matches!(pod_phase(pod), "Succeeded" | "Failed")
}

/// The pod runs or will run: neither finished nor asked to go.
pub(crate) fn pod_is_active(pod: &Pod) -> bool {
    !pod_is_finished(pod) && !is_deleting(&pod.metadata)
}

/// The pod's Ready condition is true.
pub(crate) fn pod_is_ready(pod: &Pod) -> bool {
    pod_condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// Since when the pod has been ready; `None` when it is not.
pub(crate) fn pod_ready_since(pod: &Pod) -> Option<Timestamp> {
    let condition = pod_condition(pod, "Ready").filter(|condition| condition.status == "True")?;
    condition.last_transition_time.as_ref().map(|time| time.0)
}

/// Whether a pod counts as available: ready for at least `min_ready_seconds`, and if not yet, how much longer it takes.
pub(crate) fn pod_availability(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Availability {
    if !pod_is_ready(pod) {
        return Availability::NotReady;
    }
    if min_ready_seconds <= 0 {
        return Availability::Available;
    }
    let wanted = SignedDuration::from_secs(i64::from(min_ready_seconds));
    match pod_ready_since(pod) {
        Some(since) => {
            let left = wanted.saturating_sub(now.duration_since(since));
            if left <= SignedDuration::ZERO { Availability::Available } else { Availability::In(left) }
        }
        None => Availability::In(wanted),
    }
}

/// See [`pod_availability`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Availability {
    /// Not ready at all.
    NotReady,
    /// Ready, and available after this much longer.
    In(SignedDuration),
    /// Ready for long enough.
    Available,
}

/// The node a pod is bound to.
pub(crate) fn pod_node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_fit_and_differ() {
        let name = generated_name("httpd-7d5f8c9b6d-");
        assert_eq!(name.len(), "httpd-7d5f8c9b6d-".len() + 5);
        assert!(generated_name(&"a".repeat(80)).len() == 63);
        assert_ne!(generated_name("a-"), generated_name("a-"));
    }
}
