//! The kinds that only have rules so far, and DaemonSet.

use serde_json::{Value, json};

use super::testing::{create, deployment, kind, refusal, with};

fn daemon_set() -> Value {
    let mut object = with(deployment(), "/kind", json!("DaemonSet"));
    object["spec"].as_object_mut().unwrap().shift_remove("replicas");
    object
}

#[test]
fn daemon_sets_are_filled_in_and_checked() {
    let made = create("DaemonSet", daemon_set()).unwrap();
    assert_eq!(
        made["spec"]["updateStrategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}})
    );
    assert_eq!(made["spec"].get("replicas"), None);
    for (rolling, message) in [
        (
            json!({"maxUnavailable": 0, "maxSurge": 0}),
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
        ),
        (
            json!({"maxUnavailable": 1, "maxSurge": 1}),
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
        ),
    ] {
        let object = with(
            daemon_set(),
            "/spec/updateStrategy",
            json!({"type": "RollingUpdate", "rollingUpdate": rolling}),
        );
        assert_eq!(refusal(create("DaemonSet", object)), message);
    }
}

fn ingress(spec: Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web", "namespace": "default"},
        "spec": spec})
}

#[test]
fn ingresses_are_checked_and_printed() {
    let path = json!({"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}});
    let rules = json!({"ingressClassName": "lab", "tls": [{"hosts": ["testhost.com"]}],
        "rules": [{"host": "testhost.com", "http": {"paths": [path]}}]});
    let made = create("Ingress", ingress(rules.clone())).unwrap();
    let row = kind("Ingress").row(&made, jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(row[1..5], [json!("lab"), json!("testhost.com"), json!(""), json!("80, 443")]);
    for (pointer, value, message) in [
        (
            "/rules/0/host",
            json!("10.0.0.1"),
            "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
        ),
        (
            "/rules/0/http/paths/0/path",
            json!("web"),
            "spec.rules[0].http.paths[0].path: Invalid value: \"web\": must be an absolute path",
        ),
        (
            "/rules/0/http/paths/0/pathType",
            json!("Regex"),
            "spec.rules[0].http.paths[0].pathType: Unsupported value: \"Regex\": supported values: \"Exact\", \
             \"ImplementationSpecific\", \"Prefix\"",
        ),
        (
            "/rules/0/http/paths/0/backend/service/port",
            json!({}),
            "spec.rules[0].http.paths[0].backend: Required value: port name or number is required",
        ),
    ] {
        let object = ingress(with(rules.clone(), pointer, value));
        assert_eq!(refusal(create("Ingress", object)), message);
    }
    let class = |controller: &str| {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "lab"},
            "spec": {"controller": controller}})
    };
    assert!(create("IngressClass", class("portolan.io/ingress")).is_ok());
    assert!(refusal(create("IngressClass", class("lab"))).contains("must be a domain-prefixed path"));
}

#[test]
fn network_policies_are_filled_in_and_checked() {
    let policy = |spec: Value| {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "web", "namespace": "default"}, "spec": spec})
    };
    let made =
        create("NetworkPolicy", policy(json!({"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]})));
    let made = made.unwrap();
    assert_eq!(made["spec"]["policyTypes"], json!(["Ingress"]));
    assert_eq!(made["spec"]["ingress"][0]["ports"][0]["protocol"], "TCP");
    for (peer, message) in [
        (json!({}), "spec.ingress[0].from[0]: Required value: must specify a peer"),
        (
            json!({"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}),
            "spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer",
        ),
        (
            json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["192.0.2.0/24"]}}),
            "spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: \"192.0.2.0/24\": must be a strict subset of \
             `cidr`: 10.0.0.0/8",
        ),
    ] {
        let object = policy(json!({"podSelector": {}, "ingress": [{"from": [peer]}]}));
        assert_eq!(refusal(create("NetworkPolicy", object)), message);
    }
}

#[test]
fn ranges_and_addresses_are_checked() {
    let range = |ranges: Value| {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "more"},
            "spec": {"cidrs": ranges}})
    };
    assert!(create("ServiceCIDR", range(json!(["10.97.0.0/16"]))).is_ok());
    assert_eq!(
        refusal(create("ServiceCIDR", range(json!(["10.97.0.1/16"])))),
        "spec.cidrs[0]: Invalid value: \"10.97.0.1/16\": must not have bits set beyond the prefix length: 10.97.0.0/16"
    );
    let address = |name: &str| {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": {"name": name},
            "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "web"}}})
    };
    let made = create("IPAddress", address("10.96.0.7")).unwrap();
    assert_eq!(kind("IPAddress").row(&made, jiff::Timestamp::UNIX_EPOCH)[1], "services/default/web");
    assert!(refusal(create("IPAddress", address("web"))).contains("must be a valid IP address"));
}
