use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::*;
use crate::endpoints::members::{Family, members};
use crate::samples::{changed, ready_pod, service, shared};

fn planned(pods: &[Arc<Pod>], existing: Option<&Endpoints>) -> Option<Endpoints> {
    let service = service();
    let spec = service.spec.clone().unwrap();
    plan(&service, &spec, members(&service, &spec, pods, Family::V4), existing)
}

fn addresses(list: Option<&Vec<EndpointAddress>>) -> Vec<&str> {
    list.into_iter().flatten().map(|address| address.ip.as_str()).collect()
}

#[test]
fn ready_and_unready_addresses_stand_apart_and_ending_ones_are_left_out() {
    let unready: Pod =
        changed(&ready_pod("b", "node2", "10.244.2.2"), &json!({"status": {"conditions": null}}));
    let ending: Pod = changed(
        &ready_pod("c", "node3", "10.244.3.2"),
        &json!({"metadata": {"deletionTimestamp": "2026-11-21T20:59:00Z"}}),
    );
    let made = planned(&shared(vec![ready_pod("a", "node1", "10.244.1.2"), unready, ending]), None).unwrap();
    let subset = &made.subsets.as_ref().unwrap()[0];
    assert_eq!(addresses(subset.addresses.as_ref()), ["10.244.1.2"]);
    assert_eq!(addresses(subset.not_ready_addresses.as_ref()), ["10.244.2.2"]);
    assert_eq!(subset.ports.as_ref().unwrap()[0].port, 80);
    assert_eq!(made.subsets.as_ref().unwrap().len(), 1);
    assert!(is_managed(&made));
}

#[test]
fn nothing_is_written_twice() {
    let pods = shared(vec![ready_pod("a", "node1", "10.244.1.2")]);
    let made = planned(&pods, None).unwrap();
    assert_eq!(planned(&pods, Some(&made)), None);
    let emptied = planned(&[], Some(&made)).unwrap();
    assert_eq!(emptied.subsets, None);
    assert_eq!(planned(&[], Some(&emptied)), None);
}

#[test]
fn past_the_capacity_the_ready_ones_are_shown_and_the_object_says_so() {
    let pods = (0..1100)
        .map(|number: i32| {
            let address = format!("10.244.{}.{}", number / 200, number % 200 + 2);
            let pod = ready_pod(&format!("p{number}"), "node1", &address);
            if number < 300 { changed(&pod, &json!({"status": {"conditions": null}})) } else { pod }
        })
        .collect();
    let made = planned(&shared(pods), None).unwrap();
    let subset = &made.subsets.as_ref().unwrap()[0];
    assert_eq!(subset.addresses.as_ref().unwrap().len(), 800);
    assert_eq!(subset.not_ready_addresses.as_ref().unwrap().len(), 200);
    assert_eq!(made.metadata.annotations.unwrap()[OVER_CAPACITY], "truncated");
}
