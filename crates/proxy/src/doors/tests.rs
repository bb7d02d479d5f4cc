use proptest::prelude::*;

use super::*;
use crate::sample::{Cluster, endpoint};

fn many(numbers: impl IntoIterator<Item = u8>) -> Vec<EndpointAddress> {
    numbers.into_iter().map(|last| endpoint(&format!("10.244.1.{last}"), 80)).collect()
}

fn plan(cluster: &Cluster, node: &str) -> Option<ServicePlan> {
    let index = cluster.index();
    let snapshot = index.snapshot().unwrap();
    let key = ServiceKey::new("default", "httpd-svc");
    let context = NodeContext::new(node.into(), Vec::new());
    plan_service(&snapshot, &key, AddressFamily::V4, &context, |_| Slots::default())
}

#[test]
fn a_service_has_a_door_per_port_and_node_port() {
    let cluster = Cluster::new()
        .service("httpd-svc", "10.96.203.6", |service| {
            service.ports[0].node_port = Some(Port::try_from(30_000).unwrap());
        })
        .endpoints("httpd-svc", &["10.244.1.28", "10.244.2.22"]);
    let plan = plan(&cluster, "node1").unwrap();
    let doors: Vec<String> = plan.doors.iter().map(|(door, _)| door.to_string()).collect();
    assert_eq!(doors, ["tcp 10.96.203.6 port 8080", "tcp node port 30000"]);
    for (_, behind) in &plan.doors {
        assert_eq!(behind.inside().slots, [endpoint("10.244.1.28", 80), endpoint("10.244.2.22", 80)]);
    }
}

#[test]
fn only_endpoints_of_this_node_are_local() {
    let cluster = Cluster::new()
        .service("httpd-svc", "10.96.203.6", |_| ())
        .endpoints("httpd-svc", &["10.244.1.28", "10.244.2.22"]);
    let local = |node| plan(&cluster, node).unwrap().here().map(|address| address.to_string()).collect();
    let (one, two, three): (Vec<_>, Vec<_>, Vec<_>) = (local("node1"), local("node2"), local("node3"));
    assert_eq!(one, ["10.244.1.28"]);
    assert_eq!(two, ["10.244.2.22"]);
    assert!(three.is_empty());
}

#[test]
fn headless_foreign_and_named_services_have_no_doors() {
    let changes: [fn(&mut Service); 3] = [
        |service| service.cluster_addresses.clear(),
        |service| service.proxy_name = Some("other".into()),
        |service| service.kind = ServiceKind::ExternalName("example.org".into()),
    ];
    for change in changes {
        let cluster = Cluster::new().service("httpd-svc", "10.96.203.6", change);
        assert_eq!(plan(&cluster, "node1"), None);
    }
}

#[test]
fn one_endpoint_replaced_changes_one_slot() {
    let before = many(1..=5);
    assert_eq!(assign_slots(&before, &many([1, 3, 4, 5, 9])), many([1, 9, 3, 4, 5]));
    assert_eq!(assign_slots(&before, &many([1, 3, 4, 5])), many([1, 5, 3, 4]));
    assert_eq!(assign_slots(&before, &many([0, 1, 2, 3, 4, 5])), many([1, 2, 3, 4, 5, 0]));
}

proptest! {
    /// Everyone has exactly one slot, whoever can stay stays, and without a past there is an order.
    #[test]
    fn slots_are_kept(
        before in prop::collection::vec(0u8..12, 0..12),
        wanted in prop::collection::btree_set(0u8..12, 0..12),
    ) {
        let before = many(before);
        let wanted = many(wanted);
        let slots = assign_slots(&before, &wanted);

        let mut sorted = slots.clone();
        sorted.sort();
        prop_assert_eq!(&sorted, &wanted);
        for (slot, endpoint) in slots.iter().enumerate() {
            let first = before.iter().position(|former| former == endpoint);
            if let Some(first) = first.filter(|first| *first < wanted.len()) {
                prop_assert_eq!(slot, first);
            }
        }
        prop_assert_eq!(assign_slots(&[], &wanted), wanted.clone());
        prop_assert_eq!(assign_slots(&slots, &wanted), slots);
    }
}
