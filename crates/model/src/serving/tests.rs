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
        hints: None,
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

fn serving_on(node: &str, zone: Option<&str>, port_name: &str, slices: &[EndpointSlice]) -> Serving {
    let place = Place { node: &NodeName::from(node), zone };
    serving_endpoints(&service_port(port_name), AddressFamily::V4, slices, place)
}

fn texts(endpoints: &[EndpointAddress]) -> Vec<String> {
    endpoints.iter().map(ToString::to_string).collect()
}

fn served(port_name: &str, slices: &[EndpointSlice]) -> Vec<String> {
    texts(&serving_on("node1", None, port_name, slices).cluster)
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
    let here = serving_on("node1", None, "", &slices);
    assert_eq!((texts(&here.local), here.here.len()), (vec!["10.244.1.28:80".to_owned()], 1));
    let elsewhere = serving_on("node2", None, "", &slices);
    assert_eq!((elsewhere.cluster.len(), elsewhere.local.len(), elsewhere.here.len()), (1, 0, 0));
    assert!(elsewhere.anywhere);
}

/// A node whose last ready endpoint goes serves local connections by the one that drains, while those of the cluster
/// go where somebody is ready.
#[test]
fn a_node_drains_for_itself() {
    let mut away = endpoint("10.244.2.22", true, true, false);
    away.node = Some("node2".into());
    let slices = [slice("a", &[("", 80)], vec![endpoint("10.244.1.28", false, true, true), away])];
    let serving = serving_on("node1", None, "", &slices);
    assert_eq!(texts(&serving.cluster), ["10.244.2.22:80"]);
    assert_eq!(texts(&serving.local), ["10.244.1.28:80"]);
    assert_eq!(serving.here, ["10.244.1.28".parse().unwrap()].into());
}

#[test]
fn hints_are_followed_when_all_have_them_and_one_is_for_us() {
    let hinted = |address: &str, zones: &[&str], nodes: &[&str]| {
        let hints = Hints {
            zones: zones.iter().map(|zone| (*zone).into()).collect(),
            nodes: nodes.iter().map(|node| (*node).into()).collect(),
        };
        Endpoint { hints: Some(Box::new(hints)), ..endpoint(address, true, true, false) }
    };
    let one = || hinted("10.244.1.1", &["a"], &["node1"]);
    let two = || hinted("10.244.1.2", &["b"], &["node2"]);
    let none = || endpoint("10.244.1.3", true, true, false);
    let zone_only = || hinted("10.244.1.4", &["a", "b"], &[]);
    let (first, second, both) =
        (&["10.244.1.1:80"][..], &["10.244.1.2:80"][..], &["10.244.1.1:80", "10.244.1.2:80"][..]);
    let table = [
        ("node1", Some("a"), vec![one(), two()], first),
        // The node before the zone.
        ("node2", Some("a"), vec![one(), two()], second),
        ("node3", Some("b"), vec![one(), two()], second),
        // Nobody is meant for us, or we do not know where we are.
        ("node3", Some("c"), vec![one(), two()], both),
        ("node3", None, vec![one(), two()], both),
        // One that does not say makes all the others' hints void; by nodes, not by zones.
        ("node1", Some("a"), vec![one(), none()], &["10.244.1.1:80", "10.244.1.3:80"]),
        ("node2", Some("a"), vec![two(), zone_only()], &["10.244.1.4:80"]),
    ];
    for (node, zone, endpoints, expected) in table {
        let slices = [slice("a", &[("", 80)], endpoints)];
        assert_eq!(texts(&serving_on(node, zone, "", &slices).cluster), expected, "{node} in {zone:?}");
    }
}

#[test]
fn the_other_family_does_not_serve() {
    let mut other = slice("a", &[("", 80)], vec![endpoint("fd00::1", true, true, false)]);
    other.family = AddressFamily::V6;
    assert!(served("", &[other]).is_empty());
}
