//! Objects of the sizes that clusters have, each made from its number alone.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// The namespace of an object: they are spread over ten.
pub fn namespace(number: u32) -> String {
    format!("load-{}", number % 10)
}

/// All the namespaces that [`namespace`] names.
pub fn namespaces() -> impl Iterator<Item = Value> {
    (0..10).map(
        |number| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace(number)}}),
    )
}

/// A Service of two ports, about 500 bytes. The server chooses its address.
pub fn service(number: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": format!("svc-{number}"), "namespace": namespace(number), "labels": labels(number),
        },
        "spec": {
            "selector": {"app.kubernetes.io/name": format!("app-{number}")},
            "ports": [
                {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"},
                {"name": "metrics", "port": 9090, "targetPort": 9090, "protocol": "TCP"},
            ],
        },
    })
}

/// The EndpointSlice of [`service`], about 200 bytes for each endpoint.
pub fn endpoint_slice(number: u32, endpoints: u32) -> Value {
    let mut labels = labels(number);
    labels["kubernetes.io/service-name"] = format!("svc-{number}").into();
    labels["endpointslice.kubernetes.io/managed-by"] = "endpointslice-controller.k8s.io".into();
    let endpoints: Vec<Value> = (0..endpoints)
        .map(|endpoint| {
            let index = number.wrapping_mul(endpoints).wrapping_add(endpoint);
            json!({
                "addresses": [pod_address(index)],
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": format!("node{}", index % 100),
                "zone": format!("zone-{}", index % 3),
                "targetRef": {
                    "kind": "Pod", "namespace": namespace(number), "name": format!("app-{number}-{endpoint}"),
                    "uid": format!("00000000-0000-4000-8000-{index:012}"),
                },
            })
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("svc-{number}-x"), "namespace": namespace(number), "labels": labels},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [
            {"name": "http", "port": 8080, "protocol": "TCP"},
            {"name": "metrics", "port": 9090, "protocol": "TCP"},
        ],
    })
}

/// A Pod as a Deployment makes them, with probes, resources, environment and volumes: about 2 kB.
pub fn pod(number: u32) -> Value {
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": "http"}, "periodSeconds": 10});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("app-{number}"), "namespace": namespace(number), "labels": labels(number),
            "annotations": {
                "checksum/config": format!("{:064x}", u128::from(number) * 0x9e37_79b9_7f4a_7c15),
                "prometheus.io/scrape": "true", "prometheus.io/port": "9090",
            },
        },
        "spec": {
            "nodeName": format!("node{}", number % 100),
            "serviceAccountName": "default",
            "terminationGracePeriodSeconds": 30,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "fsGroup": 1000},
            "topologySpreadConstraints": [{
                "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/name": format!("app-{number}")}},
            }],
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"},
            ],
            "initContainers": [{
                "name": "migrate",
                "image": "registry.example/team/application:1.24.3",
                "args": ["migrate", "--database=postgres://db.default.svc.cluster.local:5432/app"],
            }],
            "containers": [{
                "name": "main",
                "image": "registry.example/team/application:1.24.3",
                "args": ["--listen=:8080", "--metrics=:9090", "--log-format=json"],
                "ports": [
                    {"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090},
                ],
                "env": [
                    {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                    {"name": "DATABASE_URL", "value": "postgres://db.default.svc.cluster.local:5432/app"},
                ],
                "resources": {
                    "requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"},
                },
                "livenessProbe": probe("/healthz"),
                "readinessProbe": probe("/ready"),
                "volumeMounts": [
                    {"name": "config", "mountPath": "/etc/application", "readOnly": true},
                    {"name": "cache", "mountPath": "/var/cache/application"},
                ],
            }],
            "volumes": [
                {"name": "config", "configMap": {"name": format!("config-{number}")}},
                {"name": "cache", "emptyDir": {}},
            ],
        },
    })
}

/// A ConfigMap of about 1 kB.
pub fn config_map(number: u32) -> Value {
    let lines: String = (0..20).map(|line| format!("setting.{line} = value of line {line}\n")).collect();
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": format!("config-{number}"), "namespace": namespace(number), "labels": labels(number),
        },
        "data": {"application.properties": lines, "number": number.to_string()},
    })
}

/// An address of 10.0.0.0/8 for a pod.
pub fn pod_address(index: u32) -> String {
    Ipv4Addr::from(0x0a00_0000 | (index & 0x00ff_ffff)).to_string()
}

/// What all objects of one application are labelled with.
pub(crate) fn labels(number: u32) -> Value {
    json!({
        "app.kubernetes.io/name": format!("app-{number}"),
        "app.kubernetes.io/part-of": format!("shop-{}", number % 50),
        "app.kubernetes.io/managed-by": "load",
        "tier": if number.is_multiple_of(4) { "front" } else { "back" },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_the_sizes_that_their_docs_say() {
        for (what, object, about) in [
            ("service", service(7), 500),
            ("slice", endpoint_slice(7, 10), 2700),
            ("pod", pod(7), 2000),
            ("config map", config_map(7), 1000),
        ] {
            let size = object.to_string().len();
            assert!(size * 10 > about * 7 && size * 10 < about * 13, "{what}: {size} bytes");
        }
        assert_eq!(namespaces().count(), 10);
        assert_eq!(pod_address(258), "10.0.1.2");
    }
}
