//! The Endpoints object of a Service: the older form, one object for all addresses, still read by kubectl and by people.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service, ServiceSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::members::{Member, Port, is_headless, publishes_not_ready};
use super::slices::HEADLESS;

/// Since Kubernetes 1.33 the controller marks what is its own.
pub(crate) const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
pub(crate) const CONTROLLER: &str = "endpoint-controller";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Addresses in one object at most, as in Kubernetes.
const CAPACITY: usize = 1000;

/// Whether the object was made by this controller, or its like.
pub(crate) fn is_managed(endpoints: &Endpoints) -> bool {
    let labels = endpoints.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|by| by == CONTROLLER)
}

/// The object as it should be; `None` when `existing` is so already. Pods that are asked to go are left out.
pub(crate) fn plan(
    service: &Service,
    spec: &ServiceSpec,
    members: Vec<Member>,
    existing: Option<&Endpoints>,
) -> Option<Endpoints> {
    let publish_not_ready = publishes_not_ready(spec);
    let mut shown: Vec<Member> =
        members.into_iter().filter(|member| publish_not_ready || !member.terminating).collect();
    // Ready ones first when not all fit.
    let truncated = shown.len() > CAPACITY;
    if truncated {
        shown.sort_by_key(|member| !member.serving);
        shown.truncate(CAPACITY);
        shown.sort_by(|a, b| a.address.cmp(&b.address));
    }
    let mut next = existing.cloned().unwrap_or_else(|| Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        subsets: None,
    });
    next.subsets = subsets(shown, publish_not_ready);
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if is_headless(spec) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    next.metadata.labels = Some(labels);
    let annotations = next.metadata.annotations.get_or_insert_default();
    annotations.remove(OVER_CAPACITY);
    if truncated {
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    }
    next.metadata.annotations = next.metadata.annotations.filter(|annotations| !annotations.is_empty());
    (existing != Some(&next)).then_some(next)
}

/// Addresses with the same ports stand together.
fn subsets(members: Vec<Member>, publish_not_ready: bool) -> Option<Vec<EndpointSubset>> {
    let mut groups: BTreeMap<Vec<Port>, (Vec<EndpointAddress>, Vec<EndpointAddress>)> = BTreeMap::new();
    for mut member in members {
        let ready = publish_not_ready || member.serving;
        member.ports.sort();
        let ports = std::mem::take(&mut member.ports);
        let address = EndpointAddress {
            ip: member.address,
            hostname: member.hostname,
            node_name: member.node,
            target_ref: Some(member.pod),
        };
        let (addresses, not_ready) = groups.entry(ports).or_default();
        if ready { addresses.push(address) } else { not_ready.push(address) }
    }
    let some = |list: Vec<EndpointAddress>| (!list.is_empty()).then_some(list);
    let subsets: Vec<EndpointSubset> = groups
        .into_iter()
        .map(|(ports, (addresses, not_ready))| EndpointSubset {
            addresses: some(addresses),
            not_ready_addresses: some(not_ready),
            ports: (!ports.is_empty()).then(|| ports.into_iter().map(endpoint_port).collect()),
        })
        .collect();
    (!subsets.is_empty()).then_some(subsets)
}

fn endpoint_port(port: Port) -> EndpointPort {
    EndpointPort {
        name: (!port.name.is_empty()).then_some(port.name),
        port: port.port,
        protocol: Some(port.protocol),
        app_protocol: port.app_protocol,
    }
}

#[cfg(test)]
#[path = "legacy_tests.rs"]
mod tests;
