use proptest::prelude::*;

use super::*;
use crate::{AddressFamily, Endpoint};

fn service(name: &str, last: u8) -> Service {
    Service {
        cluster_addresses: vec![[10, 96, 0, last].into()],
        ..Service::new(ServiceKey::new("default", name))
    }
}

fn slice(name: &str, service: Option<&str>, last: u8) -> EndpointSlice {
    EndpointSlice {
        key: SliceKey::new("default", name),
        service: service.map(|service| ServiceKey::new("default", service)),
        family: AddressFamily::V4,
        ports: Vec::new(),
        endpoints: vec![Endpoint {
            address: [10, 244, 1, last].into(),
            ready: true,
            serving: true,
            terminating: false,
            node: None,
            zone: None,
            hints: None,
        }],
    }
}

fn synced() -> Index {
    let mut index = Index::new();
    for kind in Kind::ALL {
        index.begin_listing(kind);
        index.end_listing(kind);
    }
    index
}

fn dirty(index: &mut Index) -> Vec<String> {
    keys(index).iter().map(ToString::to_string).collect()
}

fn keys(index: &mut Index) -> BTreeSet<ServiceKey> {
    match index.take_changes() {
        Changes::Services(keys) => keys,
        Changes::Everything => panic!("no node has moved"),
    }
}

/// Everything a snapshot tells, to compare two indexes.
fn told(index: &Index) -> Vec<(Service, Vec<EndpointSlice>)> {
    let snapshot = index.snapshot().unwrap();
    snapshot
        .services()
        .map(|service| (service.clone(), snapshot.slices(&service.key).cloned().collect()))
        .collect()
}

#[test]
fn there_is_no_snapshot_before_every_kind_is_listed() {
    let mut index = Index::new();
    for kind in Kind::ALL {
        assert!(index.snapshot().is_none());
        index.begin_listing(kind);
        assert!(index.snapshot().is_none());
        index.end_listing(kind);
    }
    assert!(index.snapshot().is_some());
}

#[test]
fn a_listing_keeps_what_it_names_and_ends_the_rest() {
    let mut index = synced();
    index.apply(Object::Service(service("a", 1)));
    index.apply(Object::Service(service("b", 2)));
    keys(&mut index);

    index.begin_listing(Kind::Service);
    index.apply(Object::Service(service("a", 1)));
    assert_eq!(told(&index).len(), 2, "nothing goes before the listing is complete");
    index.end_listing(Kind::Service);

    assert_eq!(dirty(&mut index), ["default/b"]);
    assert_eq!(told(&index).len(), 1);
}

#[test]
fn a_slice_that_changes_hands_dirties_both_services() {
    let mut index = synced();
    index.apply(Object::EndpointSlice(slice("s", Some("a"), 1)));
    keys(&mut index);
    index.apply(Object::EndpointSlice(slice("s", Some("b"), 1)));
    assert_eq!(dirty(&mut index), ["default/a", "default/b"]);
    index.apply(Object::EndpointSlice(slice("s", None, 1)));
    assert_eq!(dirty(&mut index), ["default/b"]);
}

#[test]
fn the_same_state_again_dirties_nothing() {
    let mut index = synced();
    for _ in 0..2 {
        keys(&mut index);
        index.apply(Object::Service(service("a", 1)));
        index.apply(Object::EndpointSlice(slice("s", Some("a"), 1)));
    }
    assert!(keys(&mut index).is_empty());
}

#[test]
fn deleting_the_unknown_changes_nothing() {
    let mut index = synced();
    index.delete(&ObjectKey::Service(ServiceKey::new("default", "a")));
    index.delete(&ObjectKey::EndpointSlice(SliceKey::new("default", "s")));
    assert!(keys(&mut index).is_empty());
}

fn any_object() -> impl Strategy<Value = Object> {
    let names = prop::sample::select(vec!["a", "b", "c"]);
    let owner = prop::option::of(prop::sample::select(vec!["a", "b"]));
    prop_oneof![
        (names.clone(), 1u8..4).prop_map(|(name, last)| Object::Service(service(name, last))),
        (names, owner, 1u8..4)
            .prop_map(|(name, owner, last)| Object::EndpointSlice(slice(name, owner, last))),
    ]
}

#[derive(Debug, Clone)]
enum Event {
    Apply(Object),
    Delete(ObjectKey),
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => any_object().prop_map(Event::Apply),
        1 => any_object().prop_map(|object| Event::Delete(object.key())),
    ]
}

proptest! {
    /// Whatever happened before, only the last state of each object counts, in whatever order told.
    #[test]
    fn only_the_last_state_counts(events in prop::collection::vec(any_event(), 0..30), seed in any::<u64>()) {
        let mut live = synced();
        let mut last = BTreeMap::new();
        for event in events {
            match event {
                Event::Apply(object) => {
                    last.insert(object.key(), object.clone());
                    live.apply(object);
                }
                Event::Delete(key) => {
                    last.remove(&key);
                    live.delete(&key);
                }
            }
        }
        let mut objects: Vec<Object> = last.into_values().collect();
        let turn = usize::try_from(seed % 7).unwrap() % objects.len().max(1);
        objects.rotate_left(turn);
        if seed % 2 == 0 {
            objects.reverse();
        }
        let mut fresh = synced();
        for object in objects {
            fresh.apply(object);
        }
        prop_assert_eq!(told(&live), told(&fresh));
    }

    /// Nothing changes without its service being named dirty.
    #[test]
    fn every_difference_is_dirty(events in prop::collection::vec(any_event(), 0..20)) {
        let mut index = synced();
        for event in events {
            let before = told(&index);
            match event {
                Event::Apply(object) => index.apply(object),
                Event::Delete(key) => index.delete(&key),
            }
            let after = told(&index);
            let dirty = keys(&mut index);
            for (service, slices) in before.iter().filter(|entry| !after.contains(entry)) {
                prop_assert!(dirty.contains(&service.key), "{:?} {:?}", service.key, slices);
            }
            for (service, slices) in after.iter().filter(|entry| !before.contains(entry)) {
                prop_assert!(dirty.contains(&service.key), "{:?} {:?}", service.key, slices);
            }
        }
    }
}

/// Hints mean other endpoints then, of whichever service.
#[test]
fn a_node_that_moves_to_another_zone_changes_everything() {
    let node = |zone: Option<&str>| {
        Object::Node(Node {
            name: "node1".into(),
            addresses: Vec::new(),
            pod_ranges: Vec::new(),
            zone: zone.map(Into::into),
        })
    };
    let mut index = synced();
    for (zone, moves) in [(None, false), (Some("a"), true), (Some("a"), false), (None, true)] {
        index.apply(node(zone));
        assert_eq!(index.take_changes() == Changes::Everything, moves, "{zone:?}");
    }
    index.apply(node(Some("b")));
    index.take_changes();
    index.delete(&ObjectKey::Node("node1".into()));
    assert_eq!(index.take_changes(), Changes::Everything);
}
