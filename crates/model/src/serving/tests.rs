use super::*;
use crate::{Port, Protocol, ServiceKey, SliceKey, SlicePort};

fn port(number: i64) -> Port {
    Port::try_from(number).unwrap()
}

fn service_port(name: &str) -> ServicePort {
    ServicePort { name: name.into(), protocol: Protocol::Tcp, port: port(8080), node_port: None }
}

fn endpoint(address: &str, ready: bool, serving: bool, terminating: bool) -> Endpoint {
    Endpoint {
        address: address.parse().unwrap(),
        ready,
        serving,
        terminating,
        node: Some("node1".into()),
        zone: None,
    }
}

fn slice(name: &str, ports: &[(&str, i64)], endpoints: Vec<Endpoint>) -> EndpointSlice {
    EndpointSlice {
        key: SliceKey::new("default", name),
        service: Some(ServiceKey::new("default", "httpd-svc")),
        family: AddressFamily::V4,
        ports: ports
            .iter()
            .map(|(name, number)| SlicePort {
                name: (*name).into(),
                protocol: Protocol::Tcp,
                port: port(*number),
            })
            .collect(),
        endpoints,
    }
}

fn served(port_name: &str, slices: &[EndpointSlice]) -> Vec<String> {
    let serving =
        serving_endpoints(&service_port(port_name), AddressFamily::V4, slices, &NodeName::from("node1"));
    serving.endpoints.iter().map(|endpoint| endpoint.at.to_string()).collect()
}

#[test]
fn only_ready_endpoints_serve() {
    let slices = [slice(
        "a",
        &[("", 80)],
        vec![
            endpoint("10.244.2.22", true, true, false),
            endpoint("10.244.1.29", false, false, false),
            endpoint("10.244.1.28", true, true, false),
            endpoint("10.244.1.30", false, true, true),
        ],
    )];
    assert_eq!(served("", &slices), ["10.244.1.28:80", "10.244.2.22:80"]);
}

#[test]
fn terminating_endpoints_serve_when_nobody_else_does() {
    let slices = [slice(
        "a",
        &[("", 80)],
        vec![
            endpoint("10.244.1.28", false, true, true),
            endpoint("10.244.1.29", false, false, true),
            endpoint("10.244.1.30", false, false, false),
        ],
    )];
    assert_eq!(served("", &slices), ["10.244.1.28:80"]);
}

#[test]
fn a_named_target_port_may_differ_from_pod_to_pod() {
    let slices = [
        slice("a", &[("web", 80), ("metrics", 9100)], vec![endpoint("10.244.1.28", true, true, false)]),
        slice("b", &[("web", 8080)], vec![endpoint("10.244.1.29", true, true, false)]),
    ];
    assert_eq!(served("web", &slices), ["10.244.1.28:80", "10.244.1.29:8080"]);
    assert_eq!(served("metrics", &slices), ["10.244.1.28:9100"]);
    assert!(served("other", &slices).is_empty());
}

#[test]
fn an_endpoint_in_two_slices_counts_once_and_by_its_better_state() {
    let ready = slice("a", &[("", 80)], vec![endpoint("10.244.1.28", true, true, false)]);
    let old = slice("b", &[("", 80)], vec![endpoint("10.244.1.28", false, true, true)]);
    assert_eq!(served("", &[ready.clone(), old.clone()]), ["10.244.1.28:80"]);
    assert_eq!(served("", &[old, ready]), ["10.244.1.28:80"]);
}

#[test]
fn an_endpoint_is_local_on_its_own_node_only() {
    let slices = [slice("a", &[("", 80)], vec![endpoint("10.244.1.28", true, true, false)])];
    for (name, local) in [("node1", true), ("node2", false)] {
        let serving = serving_endpoints(&service_port(""), AddressFamily::V4, &slices, &NodeName::from(name));
        assert_eq!(serving.endpoints[0].local, local);
    }
}

#[test]
fn the_other_family_does_not_serve() {
    let mut other = slice("a", &[("", 80)], vec![endpoint("fd00::1", true, true, false)]);
    other.family = AddressFamily::V6;
    assert!(served("", &[other]).is_empty());
}
