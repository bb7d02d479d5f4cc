use super::*;
use crate::doors::plan_service;
use crate::sample::Cluster;

use model::AddressFamily;

use crate::NodeContext;

fn plans(cluster: &Cluster) -> BTreeMap<ServiceKey, Option<ServicePlan>> {
    let index = cluster.index();
    let snapshot = index.snapshot().expect("samples are in sync");
    snapshot
        .services()
        .map(|service| {
            let context = NodeContext::new("node1".into(), Vec::new());
            let plan =
                plan_service(&snapshot, &service.key, AddressFamily::V4, &context, |_| Slots::default());
            (service.key.clone(), plan)
        })
        .collect()
}

fn two_with_one_address() -> Cluster {
    Cluster::new()
        .service("a", "10.96.0.7", |_| ())
        .endpoints("a", &["10.244.1.1"])
        .service("b", "10.96.0.7", |_| ())
        .endpoints("b", &["10.244.1.2"])
}

#[test]
fn a_contested_door_is_the_first_names_in_any_order() {
    let plans = plans(&two_with_one_address());
    let mut forward = Books::default();
    let mut backward = Books::default();
    for (key, plan) in plans.clone() {
        forward.replace([(key, plan)].into());
    }
    for (key, plan) in plans.into_iter().rev() {
        backward.replace([(key, plan)].into());
    }
    assert_eq!(forward.everything(), backward.everything());
    let everything = forward.everything();
    let (door, behind) = everything.doors.first_key_value().expect("one door is open");
    assert_eq!(behind.inside().slots[0].to_string(), "10.244.1.1:80");
    assert_eq!(forward.contested(&everything).map(|(door, _)| door).collect::<Vec<_>>(), [door]);
}

#[test]
fn the_next_in_line_gets_a_door_when_its_holder_goes() {
    let mut books = Books::default();
    books.replace(plans(&two_with_one_address()));
    let delta = books.replace([(ServiceKey::new("default", "a"), None)].into());
    let holder = |fragment: &Fragment| {
        fragment.doors.values().map(|behind| behind.inside().slots[0].to_string()).collect::<Vec<_>>()
    };
    assert_eq!(holder(&delta.before), ["10.244.1.1:80"]);
    assert_eq!(holder(&delta.after), ["10.244.1.2:80"]);
    assert_eq!(delta.after.addresses, delta.before.addresses, "the address is still in use");
}

#[test]
fn what_a_change_does_not_touch_is_not_in_its_delta() {
    let mut books = Books::default();
    books.replace(plans(&two_with_one_address()));
    let other = Cluster::new().service("c", "10.96.0.8", |_| ()).endpoints("c", &["10.244.1.2"]);
    let delta = books.replace(plans(&other));
    assert!(delta.before.doors.is_empty());
    assert_eq!(delta.after.doors.len(), 1);
    assert_eq!(delta.before.local, delta.after.local, "the endpoint was local for another service already");
}

#[test]
fn taking_out_everything_leaves_nothing() {
    let mut books = Books::default();
    let plans = plans(&two_with_one_address());
    books.replace(plans.clone());
    books.replace(plans.into_keys().map(|key| (key, None)).collect());
    assert_eq!(books.everything(), Fragment::default());
}
