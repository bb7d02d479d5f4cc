use std::time::Duration;

use model::{AddressFamily, Protocol, ServiceKind, SessionAffinity, TrafficPolicy};
use serde_json::{Value, json};

use super::*;

fn parse<K: Wire>(value: Value) -> Parsed<Option<Object>> {
    serde_json::from_value::<K>(value).unwrap().parse()
}

fn fields(parsed: &Parsed<Option<Object>>) -> Vec<&str> {
    parsed.errors.iter().map(|error| error.field.as_str()).collect()
}

fn service(spec: Value) -> (model::Service, Vec<ParseError>) {
    let parsed = parse::<Service>(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "httpd-svc", "namespace": "default", "managedFields": [{"manager": "kubectl"}]},
        "spec": spec,
    }));
    match parsed.value {
        Some(Object::Service(service)) => (service, parsed.errors),
        other => panic!("{other:?}"),
    }
}

fn slice(value: Value) -> (model::EndpointSlice, Vec<ParseError>) {
    let parsed = parse::<EndpointSlice>(value);
    match parsed.value {
        Some(Object::EndpointSlice(slice)) => (slice, parsed.errors),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_port_service_is_read() {
    let (service, errors) = service(json!({
        "type": "NodePort", "clusterIP": "10.96.203.6", "clusterIPs": ["10.96.203.6"],
        "ports": [{"port": 8080, "targetPort": 80, "nodePort": 30000, "protocol": "TCP"}],
        "sessionAffinity": "None", "selector": {"run": "httpd"},
    }));
    assert_eq!(errors, []);
    assert_eq!(service.key.to_string(), "default/httpd-svc");
    assert_eq!(service.kind, ServiceKind::NodePort);
    assert_eq!(service.cluster_addresses, ["10.96.203.6".parse::<IpAddr>().unwrap()]);
    let [port] = &service.ports[..] else { panic!("{service:?}") };
    assert_eq!((port.port.number(), port.node_port.unwrap().number()), (8080, 30_000));
    assert_eq!((port.protocol, &*port.name), (Protocol::Tcp, ""));
    assert!(service.is_proxied());
}

#[test]
fn headless_services_have_no_address() {
    for spec in [
        json!({"clusterIP": "None", "clusterIPs": ["None"]}),
        json!({"clusterIP": ""}),
        json!({}),
        Value::Null,
    ] {
        let (service, errors) = service(spec);
        assert_eq!(errors, []);
        assert!(service.cluster_addresses.is_empty());
        assert!(!service.is_proxied());
    }
}

#[test]
fn affinity_lasts_three_hours_unless_it_says_so() {
    let sticky = |config: Value| {
        let (service, errors) =
            service(json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": config}));
        (service.affinity, errors.len())
    };
    let lasting = |seconds| SessionAffinity::ClientAddress { timeout: Duration::from_secs(seconds) };
    assert_eq!(sticky(Value::Null), (lasting(10_800), 0));
    assert_eq!(sticky(json!({"clientIP": {"timeoutSeconds": 5}})), (lasting(5), 0));
    assert_eq!(sticky(json!({"clientIP": {"timeoutSeconds": 86_401}})), (lasting(10_800), 1));
    assert_eq!(sticky(json!({"clientIP": {"timeoutSeconds": 0}})), (lasting(10_800), 1));
}

#[test]
fn one_bad_part_costs_only_itself() {
    let (service, errors) = service(json!({
        "type": "Funnel", "clusterIPs": ["10.96.0.7", "nowhere"],
        "ports": [
            {"name": "ok", "port": 80},
            {"name": "far", "port": 70000},
            {"name": "odd", "port": 80, "protocol": "QUIC"},
            {"name": "half", "port": 81, "nodePort": -1},
            {"name": "none"},
        ],
        "sessionAffinity": "Forever",
    }));
    let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "spec.type",
            "spec.clusterIPs[1]",
            "spec.ports[1].port",
            "spec.ports[2].protocol",
            "spec.ports[3].nodePort",
            "spec.ports[4].port",
            "spec.sessionAffinity",
        ]
    );
    assert_eq!(service.cluster_addresses.len(), 1);
    let names: Vec<&str> = service.ports.iter().map(|port| &*port.name).collect();
    assert_eq!(names, ["ok", "half"]);
    assert_eq!(service.ports[1].node_port, None);
}

#[test]
fn a_slice_is_read_with_its_conditions() {
    let (slice, errors) = slice(json!({
        "metadata": {
            "name": "httpd-svc-x", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "httpd-svc"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 80, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": ["10.244.1.28"], "nodeName": "node1", "zone": "a", "conditions": {"ready": true}},
            {"addresses": ["10.244.1.29"], "conditions": null},
            {"addresses": ["10.244.1.30"], "conditions": {"ready": false}},
            {"addresses": ["10.244.1.31"], "conditions": {"ready": false, "serving": true, "terminating": true}},
        ],
    }));
    assert_eq!(errors, []);
    assert_eq!(slice.service.unwrap().to_string(), "default/httpd-svc");
    assert_eq!(slice.family, AddressFamily::V4);
    let states: Vec<_> = slice
        .endpoints
        .iter()
        .map(|endpoint| (endpoint.ready, endpoint.serving, endpoint.terminating))
        .collect();
    assert_eq!(
        states,
        [(true, true, false), (true, true, false), (false, false, false), (false, true, true)]
    );
    assert_eq!(slice.endpoints[0].node.as_ref().unwrap().as_str(), "node1");
}

#[test]
fn a_bad_endpoint_costs_only_itself() {
    let (slice, errors) = slice(json!({
        "metadata": {"name": "s", "namespace": "default"},
        "addressType": "IPv4",
        "ports": [{"name": "all", "port": null}, {"name": "one", "port": 80}],
        "endpoints": [{"addresses": ["fd00::1"]}, {"addresses": []}, {"addresses": ["10.244.1.28"]}],
    }));
    let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["ports[0].port", "endpoints[0].addresses[0]", "endpoints[1].addresses[0]"]);
    assert_eq!((slice.ports.len(), slice.endpoints.len()), (1, 1));
    assert_eq!(slice.service, None);
}

#[test]
fn slices_of_names_concern_nobody() {
    let metadata = json!({"name": "s", "namespace": "default"});
    let names = parse::<EndpointSlice>(json!({"metadata": metadata, "addressType": "FQDN", "endpoints": []}));
    assert_eq!((names.value.clone(), fields(&names)), (None, vec![]));
    let odd = parse::<EndpointSlice>(json!({"metadata": metadata, "addressType": "IPX"}));
    assert_eq!((odd.value.clone(), fields(&odd)), (None, vec!["addressType"]));
}

#[test]
fn a_node_is_read() {
    let parsed = parse::<Node>(json!({
        "metadata": {"name": "node1", "labels": {"topology.kubernetes.io/zone": "a"}},
        "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "x"]},
        "status": {"addresses": [
            {"type": "Hostname", "address": "node1"},
            {"type": "InternalIP", "address": "10.100.0.2"},
        ]},
    }));
    assert_eq!(fields(&parsed), ["spec.podCIDRs[1]"]);
    let Some(Object::Node(node)) = parsed.value else { panic!("{parsed:?}") };
    assert_eq!(node.name.as_str(), "node1");
    assert_eq!(node.addresses.len(), 1);
    assert_eq!(node.pod_ranges[0].to_string(), "10.244.1.0/24");
    assert_eq!(node.zone.as_deref(), Some("a"));
}

#[test]
fn paths_are_those_of_the_api() {
    assert_eq!(Service::url_path(&(), None), "/api/v1/services");
    assert_eq!(Node::url_path(&(), None), "/api/v1/nodes");
    assert_eq!(EndpointSlice::url_path(&(), None), "/apis/discovery.k8s.io/v1/endpointslices");
}

#[test]
fn what_a_load_balancer_needs_is_read() {
    let parsed = parse::<Service>(json!({
        "metadata": {"name": "nginx", "namespace": "default"},
        "spec": {
            "type": "LoadBalancer", "clusterIP": "10.96.0.5", "externalIPs": ["192.0.2.7", "nonsense"],
            "loadBalancerSourceRanges": ["198.51.100.9/24", "10.0.0.0/33"],
            "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Elsewhere",
            "healthCheckNodePort": 31_000,
        },
        "status": {"loadBalancer": {"ingress": [
            {"ip": "203.0.113.1", "ipMode": "VIP"}, {"ip": "203.0.113.2"}, {"hostname": "lb.example.org"},
            {"ip": "203.0.113.3", "ipMode": "Proxy"}, {"ip": "203.0.113.4", "ipMode": "Other"},
        ]}},
    }));
    assert_eq!(
        fields(&parsed),
        [
            "spec.externalIPs[1]",
            "status.loadBalancer.ingress[4].ipMode",
            "spec.loadBalancerSourceRanges[1]",
            "spec.internalTrafficPolicy"
        ]
    );
    let Some(Object::Service(service)) = parsed.value else { panic!("{parsed:?}") };
    let texts = |addresses: &[IpAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(&service.external_addresses), ["192.0.2.7"]);
    assert_eq!(texts(&service.load_balancer.addresses), ["203.0.113.1", "203.0.113.2"]);
    assert_eq!(*service.load_balancer.source_ranges, ["198.51.100.0/24".parse().unwrap()]);
    assert_eq!(
        (service.external_policy, service.internal_policy),
        (TrafficPolicy::Local, TrafficPolicy::Cluster)
    );
    assert_eq!(service.health_check_port.unwrap().number(), 31_000);
}

/// Ranges that nobody can read must not mean that everybody may come.
#[test]
fn source_ranges_without_sense_let_nobody_in() {
    let (service, errors) = service(json!({"loadBalancerSourceRanges": ["all of them"]}));
    assert_eq!((errors.len(), service.load_balancer.source_ranges.len()), (1, 1));
}

#[test]
fn hints_and_unreachable_endpoints() {
    let endpoint = |address: &str, hints: Value| json!({"addresses": [address], "hints": hints});
    let (slice, errors) = slice(json!({
        "metadata": {"name": "s", "namespace": "default", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4", "ports": [{"port": 80}],
        "endpoints": [
            endpoint("10.244.1.2", json!({"forZones": [{"name": "a"}], "forNodes": [{"name": "node1"}]})),
            endpoint("10.244.1.3", json!({"forZones": []})),
            endpoint("127.0.0.1", Value::Null),
            endpoint("169.254.1.1", Value::Null),
            endpoint("224.0.0.1", Value::Null),
            endpoint("0.0.0.0", Value::Null),
        ],
    }));
    let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, [2, 3, 4, 5].map(|number| format!("endpoints[{number}].addresses[0]")));
    let [hinted, plain] = &slice.endpoints[..] else { panic!("{slice:?}") };
    let hints = hinted.hints.as_deref().unwrap();
    assert_eq!((&*hints.zones[0], hints.nodes[0].as_str()), ("a", "node1"));
    assert_eq!(plain.hints, None);
}

#[test]
fn no_door_is_at_an_address_that_means_every_machine_to_itself() {
    let (service, errors) = service(json!({
        "clusterIPs": ["10.96.0.7", "::"],
        "externalIPs": ["127.0.0.1", "203.0.113.7", "169.254.0.9", "fe80::1", "224.0.0.1"],
        "ports": [{"port": 80}],
    }));
    assert_eq!(service.cluster_addresses, ["10.96.0.7".parse::<IpAddr>().unwrap()]);
    assert_eq!(service.external_addresses, ["203.0.113.7".parse::<IpAddr>().unwrap()]);
    let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "spec.clusterIPs[1]",
            "spec.externalIPs[0]",
            "spec.externalIPs[2]",
            "spec.externalIPs[3]",
            "spec.externalIPs[4]"
        ]
    );
    assert!(errors[1].to_string().contains("127.0.0.1 is a loopback"), "{}", errors[1]);
}
