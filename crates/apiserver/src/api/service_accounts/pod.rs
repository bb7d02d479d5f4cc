//! What a pod gets from its ServiceAccount: a volume with a token, the authority's certificate and the namespace. Pure but
//! for the volume's name.

use serde_json::{Map, Value, json};

use crate::api::meta;

/// Where containers find the token.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// What names of these volumes begin with.
const VOLUME: &str = "kube-api-access-";
/// Seconds that such a token is good for: an hour, and a little more by which clients tell it from others (KEP-2799).
const LIFE: u32 = 3607;

/// Puts in what the pod lacks.
pub(super) fn fill(pod: &mut Value, account: &Value) {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let unset = |spec: &Map<String, Value>, field: &str| {
        spec.get(field).and_then(Value::as_array).is_none_or(Vec::is_empty)
    };
    if let Some(secrets) = account.get("imagePullSecrets").filter(|_| unset(spec, "imagePullSecrets")) {
        spec.insert("imagePullSecrets".to_owned(), secrets.clone());
    }
    const FIELD: &str = "automountServiceAccountToken";
    let own = spec.get(FIELD).and_then(Value::as_bool);
    if !own.or_else(|| account.get(FIELD).and_then(Value::as_bool)).unwrap_or(true) {
        return;
    }
    let name = meta::generated_name(VOLUME);
    let mut used = false;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            used |= mount(container, &name);
        }
    }
    if !used {
        return;
    }
    let volume = json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": LIFE, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ]}});
    match spec.get_mut("volumes").and_then(Value::as_array_mut) {
        Some(volumes) => volumes.push(volume),
        None => _ = spec.insert("volumes".to_owned(), json!([volume])),
    }
}

/// Mounts the volume, unless the container has something else there.
fn mount(container: &mut Value, volume: &str) -> bool {
    let Some(container) = container.as_object_mut() else { return false };
    let mount = json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH});
    match container.get_mut("volumeMounts").and_then(Value::as_array_mut) {
        Some(mounts) if mounts.iter().any(|mount| mount["mountPath"] == MOUNT_PATH) => return false,
        Some(mounts) => mounts.push(mount),
        None => _ = container.insert("volumeMounts".to_owned(), json!([mount])),
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Value {
        json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "volumeMounts": [{"name": "x", "mountPath": "/x"}]}],
            "volumes": [{"name": "x"}]}})
    }

    #[test]
    fn every_container_sees_the_token() {
        let mut filled = pod();
        fill(&mut filled, &json!({"imagePullSecrets": [{"name": "s"}]}));
        let volume = filled["spec"]["volumes"][1]["name"].as_str().unwrap();
        assert!(volume.starts_with(VOLUME) && volume.len() == VOLUME.len() + 5);
        for (container, place) in [(0, 0), (1, 1)] {
            let mount = &filled["spec"]["containers"][container]["volumeMounts"][place];
            assert_eq!(mount, &json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH}));
        }
        assert_eq!(filled["spec"]["imagePullSecrets"], json!([{"name": "s"}]));
    }

    #[test]
    fn who_does_not_want_it_does_not_get_it() {
        let off = json!({"automountServiceAccountToken": false});
        let mut plain = pod();
        fill(&mut plain, &off);
        assert_eq!(plain, pod());
        let mut wanted = pod();
        wanted["spec"]["automountServiceAccountToken"] = true.into();
        fill(&mut wanted, &off);
        assert_eq!(wanted["spec"]["volumes"].as_array().unwrap().len(), 2);
        let own = json!({"spec": {"containers": [{"name": "a", "volumeMounts": [{"name": "x", "mountPath": MOUNT_PATH}]}]}});
        let mut kept = own.clone();
        fill(&mut kept, &json!({}));
        assert_eq!(kept, own);
    }
}
