//! Objects for tests.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use serde_json::{Value, json};

/// A pod with uid `uid-NAME`, labelled `run: httpd`, running and ready on `node` with that address.
pub(crate) fn ready_pod(name: &str, node: &str, address: &str) -> Pod {
    changed(
        &json!({
            "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"), "labels": {"run": "httpd"}},
            "spec": {"nodeName": node, "containers": [
                {"name": "httpd", "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}]}]},
            "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-21T20:00:00Z"}]},
        }),
        &json!({}),
    )
}

/// `base` with `patch` laid over it.
pub(crate) fn changed<K: serde::de::DeserializeOwned>(base: &impl serde::Serialize, patch: &Value) -> K {
    fn merge(base: &mut Value, patch: &Value) {
        match (base, patch) {
            (Value::Object(base), Value::Object(patch)) => {
                for (key, value) in patch {
                    merge(base.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
            (base, patch) => *base = patch.clone(),
        }
    }
    let mut value = serde_json::to_value(base).unwrap();
    merge(&mut value, patch);
    serde_json::from_value(value).unwrap()
}

/// The Service `httpd-svc` of the walkthrough: 8080 → 80.
pub(crate) fn service() -> Service {
    changed(
        &json!({
            "metadata": {"name": "httpd-svc", "namespace": "default", "uid": "uid-svc"},
            "spec": {"selector": {"run": "httpd"}, "clusterIP": "10.96.203.6", "ipFamilies": ["IPv4"],
                "ports": [{"port": 8080, "targetPort": 80, "protocol": "TCP"}]},
        }),
        &json!({}),
    )
}

/// The Deployment `httpd` of the walkthrough.
pub(crate) fn deployment(replicas: i32) -> Deployment {
    changed(
        &json!({
            "metadata": {"name": "httpd", "namespace": "default", "uid": "uid-httpd", "generation": 1},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"run": "httpd"}},
                "progressDeadlineSeconds": 600,
                "template": {"metadata": {"labels": {"run": "httpd"}},
                    "spec": {"containers": [{"name": "httpd", "image": "httpd"}]}}},
        }),
        &json!({}),
    )
}

/// A ReplicaSet `httpd-1` that wants that many pods labelled `run: httpd`.
pub(crate) fn replica_set(replicas: usize) -> ReplicaSet {
    changed(
        &json!({
            "metadata": {"name": "httpd-1", "namespace": "default", "uid": "uid-set", "generation": 1},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"run": "httpd"}},
                "template": {"metadata": {"labels": {"run": "httpd"}},
                    "spec": {"containers": [{"name": "httpd", "image": "httpd"}]}}},
        }),
        &json!({}),
    )
}

/// A node that takes pods.
pub(crate) fn ready_node(name: &str) -> Node {
    changed(
        &json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "spec": {},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"pods": "110"}},
        }),
        &json!({}),
    )
}

pub(crate) fn shared<K>(objects: Vec<K>) -> Vec<Arc<K>> {
    objects.into_iter().map(Arc::new).collect()
}
