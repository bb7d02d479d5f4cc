use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::endpoints::members::members;
use crate::samples::{changed, ready_pod, service, shared};

fn planned(service: &Service, pods: &[Arc<Pod>], existing: &[Arc<EndpointSlice>]) -> Plan {
    let spec = service.spec.clone().unwrap();
    let zone_of = |node: &str| Some(node.replace("node", "zone"));
    plan(service, &spec, |family| members(service, &spec, pods, family), zone_of, existing)
}

/// What is there after a plan was carried out.
fn carried_out(plan: Plan, existing: &[Arc<EndpointSlice>]) -> Vec<Arc<EndpointSlice>> {
    let name = |slice: &EndpointSlice| slice.metadata.name.clone();
    let touched: BTreeSet<_> =
        plan.update.iter().map(name).chain(plan.delete.iter().map(|slice| name(slice))).collect();
    let kept = existing.iter().filter(|slice| !touched.contains(&name(slice))).cloned();
    kept.chain(plan.update.into_iter().chain(plan.create).map(Arc::new)).collect()
}

fn numbered(number: usize) -> Pod {
    ready_pod(&format!("p{number}"), "node1", &format!("10.244.{}.{}", number / 250, number % 250 + 2))
}

fn addresses(slices: &[Arc<EndpointSlice>]) -> Vec<String> {
    let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
    let mut all: Vec<String> = endpoints.flat_map(|endpoint| endpoint.addresses.clone()).collect();
    all.sort();
    all
}

#[test]
fn a_ready_pod_becomes_an_endpoint_with_all_that_is_known_of_it() {
    let plan = planned(&service(), &shared(vec![numbered(1)]), &[]);
    let [slice] = plan.create.as_slice() else { panic!("one slice expected: {plan:?}") };
    assert_eq!(slice.address_type, "IPv4");
    let labels = slice.metadata.labels.as_ref().unwrap();
    assert_eq!(labels[SERVICE_NAME], "httpd-svc");
    assert_eq!(labels[MANAGED_BY], CONTROLLER);
    assert!(slice.metadata.name.as_deref().unwrap().starts_with("httpd-svc-"));
    let endpoint = &slice.endpoints[0];
    assert_eq!(endpoint.addresses, ["10.244.0.3"]);
    assert_eq!(endpoint.node_name.as_deref(), Some("node1"));
    assert_eq!(endpoint.target_ref.as_ref().unwrap().uid.as_deref(), Some("uid-p1"));
    let conditions = endpoint.conditions.as_ref().unwrap();
    assert_eq!(
        (conditions.ready, conditions.serving, conditions.terminating),
        (Some(true), Some(true), Some(false))
    );
    let port = &slice.ports.as_ref().unwrap()[0];
    assert_eq!((port.name.as_deref(), port.port), (Some(""), Some(80)));
}

#[test]
fn a_pod_that_is_asked_to_go_serves_on_but_is_no_longer_ready() {
    let before = carried_out(planned(&service(), &shared(vec![numbered(1), numbered(2)]), &[]), &[]);
    let going: Pod =
        changed(&numbered(2), &json!({"metadata": {"deletionTimestamp": "2026-11-21T20:59:00Z"}}));
    let plan = planned(&service(), &shared(vec![numbered(1), going]), &before);
    assert_eq!((plan.create.len(), plan.update.len(), plan.delete.len()), (0, 1, 0));
    let conditions = plan.update[0].endpoints[1].conditions.as_ref().unwrap();
    assert_eq!(
        (conditions.ready, conditions.serving, conditions.terminating),
        (Some(false), Some(true), Some(true))
    );
}

#[test]
fn a_service_that_publishes_unready_addresses_calls_them_ready() {
    let service: Service = changed(&service(), &json!({"spec": {"publishNotReadyAddresses": true}}));
    let unready: Pod = changed(&numbered(1), &json!({"status": {"conditions": null}}));
    let plan = planned(&service, &shared(vec![unready]), &[]);
    let conditions = plan.create[0].endpoints[0].conditions.as_ref().unwrap();
    assert_eq!((conditions.ready, conditions.serving), (Some(true), Some(false)));
}

#[test]
fn endpoints_are_meant_for_who_is_near_when_the_service_says_so() {
    let hints = |distribution: &str, pod: Pod| {
        let service: Service = changed(&service(), &json!({"spec": {"trafficDistribution": distribution}}));
        let endpoint = planned(&service, &shared(vec![pod]), &[]).create[0].endpoints[0].clone();
        assert_eq!(endpoint.zone.as_deref(), Some("zone1"));
        serde_json::to_value(endpoint.hints).unwrap()
    };
    let zone = json!({"forZones": [{"name": "zone1"}]});
    assert_eq!(hints("PreferClose", numbered(1)), zone);
    assert_eq!(hints("PreferSameZone", numbered(1)), zone);
    let both = json!({"forZones": [{"name": "zone1"}], "forNodes": [{"name": "node1"}]});
    assert_eq!(hints("PreferSameNode", numbered(1)), both);
    let unready: Pod = changed(&numbered(1), &json!({"status": {"conditions": null}}));
    assert_eq!(hints("PreferClose", unready), json!(null));
    let plain = planned(&service(), &shared(vec![numbered(1)]), &[]);
    assert_eq!(plain.create[0].endpoints[0].hints, None);
}

#[test]
fn without_pods_one_empty_slice_stands_for_the_service() {
    let first = carried_out(planned(&service(), &[], &[]), &[]);
    assert_eq!(first.len(), 1);
    assert!(first[0].endpoints.is_empty());
    assert!(planned(&service(), &[], &first).is_empty());
}

#[test]
fn pods_that_mean_different_ports_by_one_name_get_slices_of_their_own() {
    let service: Service = changed(
        &service(),
        &json!({"spec": {"ports": [{"name": "web", "port": 8080, "targetPort": "http", "protocol": "TCP"}]}}),
    );
    let other: Pod = changed(
        &numbered(2),
        &json!({"spec": {"containers": [
            {"name": "c", "ports": [{"name": "http", "containerPort": 8000, "protocol": "TCP"}]}]}}),
    );
    let slices = carried_out(planned(&service, &shared(vec![numbered(1), other]), &[]), &[]);
    let ports: Vec<_> = slices.iter().map(|slice| slice.ports.as_ref().unwrap()[0].port).collect();
    assert_eq!(ports, [Some(80), Some(8000)]);
}

#[test]
fn a_headless_service_names_its_pods() {
    let service: Service = changed(&service(), &json!({"spec": {"clusterIP": "None", "ports": null}}));
    let named: Pod = changed(&numbered(1), &json!({"spec": {"hostname": "db-0", "subdomain": "httpd-svc"}}));
    let plan = planned(&service, &shared(vec![named]), &[]);
    assert_eq!(plan.create[0].endpoints[0].hostname.as_deref(), Some("db-0"));
    assert!(plan.create[0].metadata.labels.as_ref().unwrap().contains_key(HEADLESS));
    assert_eq!(plan.create[0].ports.as_deref(), Some([].as_slice()));
}

#[test]
fn one_changed_pod_among_hundreds_writes_one_slice() {
    let pods: Vec<Pod> = (0..350).map(numbered).collect();
    let slices = carried_out(planned(&service(), &shared(pods.clone()), &[]), &[]);
    assert_eq!(slices.len(), 4);
    let mut changed_pods = pods;
    changed_pods[77] = changed(&changed_pods[77], &json!({"status": {"conditions": null}}));
    let plan = planned(&service(), &shared(changed_pods), &slices);
    assert_eq!((plan.create.len(), plan.update.len(), plan.delete.len()), (0, 1, 0));
}

#[test]
fn slices_of_a_former_service_of_that_name_are_replaced() {
    let slices = carried_out(planned(&service(), &shared(vec![numbered(1)]), &[]), &[]);
    let reborn: Service = changed(&service(), &json!({"metadata": {"uid": "another"}}));
    let plan = planned(&reborn, &shared(vec![numbered(1)]), &slices);
    assert_eq!((plan.create.len(), plan.update.len(), plan.delete.len()), (1, 0, 1));
}

proptest! {
    /// Whatever pods come and go: the slices hold exactly the pods, none more than its capacity, planning again writes
    /// nothing, and no more slices are written than there were changes, plus one.
    #[test]
    fn slices_follow_any_churn(rounds in prop::collection::vec(prop::collection::btree_set(0_usize..420, 0..300), 1..5)) {
        let mut slices: Vec<Arc<EndpointSlice>> = Vec::new();
        let mut before: BTreeSet<usize> = BTreeSet::new();
        for round in rounds {
            let pods = shared(round.iter().copied().map(numbered).collect());
            let plan = planned(&service(), &pods, &slices);
            let changes = round.symmetric_difference(&before).count();
            prop_assert!(plan.create.len() + plan.update.len() + plan.delete.len() <= changes + 1);
            slices = carried_out(plan, &slices);
            let mut wanted: Vec<String> =
                pods.iter().map(|pod| pod.status.as_ref().unwrap().pod_ip.clone().unwrap()).collect();
            wanted.sort();
            prop_assert_eq!(addresses(&slices), wanted);
            prop_assert!(slices.iter().all(|slice| slice.endpoints.len() <= SLICE_CAPACITY));
            prop_assert!(planned(&service(), &pods, &slices).is_empty());
            before = round;
        }
    }
}
