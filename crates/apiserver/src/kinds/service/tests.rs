use serde_json::json;

use super::*;
use crate::kinds::testing::{
    allocation, context, create, create_in, kind, refusal, service, update_in, with,
};

fn address(service: &Value) -> &str {
    text(service, "/spec/clusterIP")
}

#[test]
fn a_bare_service_gets_what_kubernetes_gives_it() {
    let mut made = create("Service", service()).unwrap();
    assert!(made["spec"]["clusterIP"].as_str().unwrap().starts_with("10."));
    assert_eq!(made["spec"]["clusterIPs"], json!([made["spec"]["clusterIP"]]));
    let spec = made["spec"].as_object_mut().unwrap();
    spec.shift_remove("clusterIP");
    spec.shift_remove("clusterIPs");
    assert_eq!(
        made["spec"],
        json!({"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "selector": {"run": "web"},
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]})
    );
    assert_eq!(made["status"], json!({"loadBalancer": {}}));
}

#[test]
fn node_ports_balancers_and_affinity_have_more() {
    let made = create("Service", with(service(), "/spec/type", json!("NodePort"))).unwrap();
    assert_eq!(made["spec"]["externalTrafficPolicy"], "Cluster");
    assert!((30000..=32767).contains(&node_port(&made["spec"]["ports"][0])));
    let made = create("Service", with(service(), "/spec/type", json!("LoadBalancer"))).unwrap();
    assert_eq!(made["spec"]["allocateLoadBalancerNodePorts"], true);
    assert_ne!(node_port(&made["spec"]["ports"][0]), 0);
    let local = with(
        with(service(), "/spec/type", json!("LoadBalancer")),
        "/spec/externalTrafficPolicy",
        json!("Local"),
    );
    assert_ne!(create("Service", local).unwrap()["spec"]["healthCheckNodePort"], 0);
    let made = create("Service", with(service(), "/spec/sessionAffinity", json!("ClientIP"))).unwrap();
    assert_eq!(made["spec"]["sessionAffinityConfig"], json!({"clientIP": {"timeoutSeconds": 10800}}));
}

#[test]
fn headless_and_external_name_have_no_address() {
    let made = create("Service", with(service(), "/spec/clusterIP", json!("None"))).unwrap();
    assert_eq!((&made["spec"]["clusterIP"], &made["spec"]["clusterIPs"]), (&json!("None"), &json!(["None"])));
    let named = json!({"metadata": {"name": "db"}, "spec": {"type": "ExternalName", "externalName": "db.example.com"}});
    let made = create("Service", named).unwrap();
    assert_eq!(
        made["spec"],
        json!({"type": "ExternalName", "externalName": "db.example.com", "sessionAffinity": "None"})
    );
}

#[test]
fn requested_values_are_honoured_once() {
    let allocation = allocation(&["10.96.0.0/12"]);
    let asked =
        with(with(service(), "/spec/type", json!("NodePort")), "/spec/clusterIP", json!("10.96.203.6"));
    let asked = with(asked, "/spec/ports/0/nodePort", json!(30000));
    let made = create_in(&allocation, "Service", asked.clone()).unwrap();
    assert_eq!((address(&made), node_port(&made["spec"]["ports"][0])), ("10.96.203.6", 30000));
    assert_eq!(
        create_in(&allocation, "Service", asked.clone()).unwrap_err().message,
        "Service \"web\" is invalid: spec.clusterIPs: Invalid value: [\"10.96.203.6\"]: failed to allocate IP 10.96.203.6: \
         provided IP is already allocated"
    );
    let other = with(asked.clone(), "/spec/clusterIP", json!("10.96.203.7"));
    assert_eq!(
        refusal(create_in(&allocation, "Service", other.clone())),
        "spec.ports[0].nodePort: Invalid value: 30000: provided port is already allocated"
    );
    // The refused one gave its address back.
    let third = with(other, "/spec/ports/0/nodePort", json!(30001));
    assert_eq!(address(&create_in(&allocation, "Service", third).unwrap()), "10.96.203.7");
    kind("Service").prepare_delete(&made, &context(&allocation)).commit();
    assert!(create_in(&allocation, "Service", asked).is_ok());
}

#[test]
fn values_out_of_range_are_refused() {
    assert_eq!(
        refusal(create("Service", with(service(), "/spec/clusterIP", json!("10.0.0.1")))),
        "spec.clusterIPs: Invalid value: [\"10.0.0.1\"]: failed to allocate IP 10.0.0.1: the provided IP (10.0.0.1) is not \
         in the valid range. The range of valid IPs is 10.96.0.0/12"
    );
    let low = with(with(service(), "/spec/type", json!("NodePort")), "/spec/ports/0/nodePort", json!(80));
    assert_eq!(
        refusal(create("Service", low)),
        "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is \
         30000-32767"
    );
    let first = with(service(), "/spec/clusterIP", json!("10.96.0.1"));
    assert!(refusal(create("Service", first.clone())).ends_with("provided IP is already allocated"));
    assert!(create("Service", with(first, "/metadata/name", json!("kubernetes"))).is_ok());
}

#[test]
fn one_node_port_serves_both_protocols() {
    let both = json!([{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
        {"name": "metrics", "port": 9153}]);
    let made = create("Service", with(with(service(), "/spec/type", json!("NodePort")), "/spec/ports", both))
        .unwrap();
    let ports: Vec<u64> = made["spec"]["ports"].as_array().unwrap().iter().map(node_port).collect();
    assert!(ports[0] == ports[1] && ports[0] != ports[2], "{ports:?}");
    let asked = json!([{"name": "a", "port": 53, "protocol": "UDP", "nodePort": 30053},
        {"name": "b", "port": 53, "protocol": "TCP", "nodePort": 30053}]);
    assert!(
        create("Service", with(with(service(), "/spec/type", json!("NodePort")), "/spec/ports", asked))
            .is_ok()
    );
}

#[test]
fn an_update_keeps_what_was_allocated() {
    let allocation = allocation(&["10.96.0.0/12"]);
    let old = create_in(&allocation, "Service", with(service(), "/spec/type", json!("NodePort"))).unwrap();
    let replaced =
        with(with(service(), "/spec/type", json!("NodePort")), "/spec/selector", json!({"run": "other"}));
    let new = update_in(&allocation, "Service", replaced, &old).unwrap();
    assert_eq!((address(&new), &new["spec"]["ports"]), (address(&old), &old["spec"]["ports"]));
    assert_eq!(new["spec"]["selector"], json!({"run": "other"}));
    let moved = with(old.clone(), "/spec/clusterIP", json!("10.96.0.9"));
    assert_eq!(
        refusal(update_in(&allocation, "Service", moved, &old)),
        "spec.clusterIPs[0]: Invalid value: [\"10.96.0.9\"]: may not change once set"
    );
}

#[test]
fn a_change_of_type_gives_up_what_it_no_longer_has() {
    let allocation = allocation(&["10.96.0.0/12"]);
    let asked =
        with(with(service(), "/spec/type", json!("NodePort")), "/spec/ports/0/nodePort", json!(30100));
    let asked = with(asked, "/spec/clusterIP", json!("10.96.0.77"));
    let old = create_in(&allocation, "Service", asked).unwrap();
    let inner =
        update_in(&allocation, "Service", with(old.clone(), "/spec/type", json!("ClusterIP")), &old).unwrap();
    assert_eq!((node_port(&inner["spec"]["ports"][0]), address(&inner)), (0, "10.96.0.77"));
    assert_eq!(inner["spec"].get("externalTrafficPolicy"), None);
    assert_eq!(allocation.reserve().take_port(30100), Ok(()));
    let named = with(
        with(inner.clone(), "/spec/type", json!("ExternalName")),
        "/spec/externalName",
        json!("x.example"),
    );
    let named = update_in(&allocation, "Service", named, &inner).unwrap();
    assert_eq!(named["spec"].get("clusterIPs"), None);
    assert_eq!(allocation.reserve().take_address("10.96.0.77".parse().unwrap(), false), Ok(()));
    let back =
        update_in(&allocation, "Service", with(named.clone(), "/spec/type", json!("ClusterIP")), &named)
            .unwrap();
    assert!(!address(&back).is_empty());
}

#[test]
fn a_dropped_update_frees_nothing() {
    let allocation = allocation(&["10.96.0.0/12"]);
    let old = create_in(&allocation, "Service", with(service(), "/spec/type", json!("NodePort"))).unwrap();
    let port = u16::try_from(node_port(&old["spec"]["ports"][0])).unwrap();
    let mut new =
        with(with(old.clone(), "/spec/type", json!("ClusterIP")), "/spec/ports", json!([{"port": 80}]));
    kind("Service").prepare_update(&mut new, &old).unwrap();
    drop(kind("Service").allocate(&mut new, Some(&old), &context(&allocation)).unwrap());
    assert!(allocation.reserve().take_port(port).is_err());
}

#[test]
fn dual_stack_services_get_an_address_of_each_family() {
    let allocation = allocation(&["10.96.0.0/12", "fd00:96::/108"]);
    let asked = with(service(), "/spec/ipFamilyPolicy", json!("PreferDualStack"));
    let made = create_in(&allocation, "Service", asked.clone()).unwrap();
    assert_eq!(made["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
    assert!(made["spec"]["clusterIPs"][1].as_str().unwrap().starts_with("fd00:96::"));
    assert_eq!(create("Service", asked).unwrap()["spec"]["ipFamilies"], json!(["IPv4"]));
    assert_eq!(
        refusal(create("Service", with(service(), "/spec/ipFamilyPolicy", json!("RequireDualStack")))),
        "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services"
    );
    assert_eq!(
        refusal(create("Service", with(service(), "/spec/ipFamilies", json!(["IPv6"])))),
        "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"
    );
}

#[test]
fn invalid_services_are_refused_in_kubernetes_words() {
    let port = |value: Value| with(service(), "/spec/ports", json!([value]));
    let cases = [
        (
            port(json!({"port": 70000, "targetPort": 80})),
            "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            port(json!({"port": 80, "targetPort": 70000})),
            "spec.ports[0].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            port(json!({"port": 80, "protocol": "ICMP"})),
            "spec.ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ),
        (
            port(json!({"port": 80, "nodePort": 30000})),
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (with(service(), "/spec/ports", json!([])), "spec.ports: Required value"),
        (
            with(service(), "/spec/ports", json!([{"port": 80, "name": "a"}, {"port": 81}])),
            "spec.ports[1].name: Required value",
        ),
        (
            with(service(), "/spec/ports", json!([{"port": 80, "name": "a"}, {"port": 81, "name": "a"}])),
            "spec.ports[1].name: Duplicate value: \"a\"",
        ),
        (
            with(service(), "/spec/type", json!("Wrong")),
            "spec.type: Unsupported value: \"Wrong\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
        ),
        (
            with(service(), "/spec/clusterIP", json!("x")),
            "spec.clusterIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ),
        (
            with(service(), "/spec/sessionAffinity", json!("Sticky")),
            "spec.sessionAffinity: Unsupported value: \"Sticky\": supported values: \"ClientIP\", \"None\"",
        ),
        (
            with(service(), "/spec/externalTrafficPolicy", json!("Local")),
            "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
        ),
        (
            with(with(service(), "/spec/type", json!("NodePort")), "/spec/clusterIP", json!("None")),
            "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
        ),
    ];
    for (object, text) in cases {
        assert_eq!(refusal(create("Service", object)), text);
    }
    let long = with(service(), "/spec/sessionAffinity", json!("ClientIP"));
    let long = with(long, "/spec/sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 90000}}));
    assert_eq!(
        refusal(create("Service", long)),
        "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 90000: must be greater than 0 and less than 86400"
    );
    let name = with(service(), "/metadata/name", json!("1web"));
    assert!(
        refusal(create("Service", name))
            .starts_with("metadata.name: Invalid value: \"1web\": a DNS-1035 label must")
    );
}

#[test]
fn a_load_balancer_gets_its_addresses_through_the_status() {
    let status = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}});
    let old = create("Service", with(service(), "/spec/type", json!("LoadBalancer"))).unwrap();
    let mut new = with(old.clone(), "/status", status.clone());
    kind("Service").prepare_status_update(&mut new, &old).unwrap();
    assert_eq!(new["status"]["loadBalancer"]["ingress"], json!([{"ip": "192.0.2.10", "ipMode": "VIP"}]));
    let old = create("Service", service()).unwrap();
    let mut new = with(old.clone(), "/status", status);
    let refused = kind("Service").prepare_status_update(&mut new, &old).unwrap_err();
    assert!(refused.message.ends_with("may only be used when `spec.type` is \"LoadBalancer\""), "{refused}");
}

#[test]
fn rows_read_as_kubectl_users_know_them() {
    let now = "2026-11-21T12:05:00Z".parse().unwrap();
    let object = json!({"metadata": {"name": "web", "creationTimestamp": "2026-11-21T12:00:00Z"}, "spec": {"type": "NodePort",
        "clusterIP": "10.96.1.2", "clusterIPs": ["10.96.1.2"], "selector": {"b": "2", "a": "1"},
        "ports": [{"port": 8080, "nodePort": 30000, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}});
    assert_eq!(
        row(&object, now),
        ["web", "NodePort", "10.96.1.2", "<none>", "8080:30000/TCP,53/UDP", "5m", "a=1,b=2"]
    );
    let balanced = with(object.clone(), "/spec/type", json!("LoadBalancer"));
    assert_eq!(row(&balanced, now)[3], "<pending>");
    let given = with(balanced, "/status", json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}}));
    assert_eq!(row(&given, now)[3], "192.0.2.10");
    assert_eq!(
        row(&with(object, "/spec", json!({"type": "ExternalName", "externalName": "x.y"})), now)[2..5],
        ["<none>", "x.y", "<none>"]
    );
}
