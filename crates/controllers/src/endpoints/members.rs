//! Which pods are behind a Service, on which ports, and in what state. Shared by both kinds of objects.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerPort, ObjectReference, Pod, Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::objects::{is_deleting, pod_is_finished, pod_is_ready, pod_node};
use crate::selector::has_all;

/// IPv4 or IPv6, by the names that EndpointSlices use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// As in `addressType` and in a Service's `ipFamilies`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    fn holds(self, address: IpAddr) -> bool {
        matches!((self, address), (Self::V4, IpAddr::V4(_)) | (Self::V6, IpAddr::V6(_)))
    }
}

/// One port of a pod, as a Service means it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Port {
    /// The Service's name for it; empty when it has one port without a name.
    pub(crate) name: String,
    pub(crate) protocol: String,
    /// The pod's port, 1 to 65535.
    pub(crate) port: i32,
    pub(crate) app_protocol: Option<String>,
}

/// One pod behind a Service, by its address of one family.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Member {
    pub(crate) address: String,
    pub(crate) ports: Vec<Port>,
    /// The pod is ready, whether or not it is asked to go.
    pub(crate) serving: bool,
    /// The pod is asked to go.
    pub(crate) terminating: bool,
    pub(crate) node: Option<String>,
    /// Its name inside the Service's domain (`spec.hostname`, for pods whose `spec.subdomain` is the Service).
    pub(crate) hostname: Option<String>,
    pub(crate) pod: ObjectReference,
}

/// A Service whose endpoints come from its selector: not one without a selector, and no ExternalName.
pub(crate) fn selecting(service: &Service) -> Option<&ServiceSpec> {
    let spec = service.spec.as_ref()?;
    let selects = spec.selector.as_ref().is_some_and(|selector| !selector.is_empty());
    (selects && spec.type_.as_deref() != Some("ExternalName")).then_some(spec)
}

/// Whether the Service has no address of its own.
pub(crate) fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ip.as_deref() == Some("None")
}

/// Whether pods count as ready before they are.
pub(crate) fn publishes_not_ready(spec: &ServiceSpec) -> bool {
    spec.publish_not_ready_addresses == Some(true)
}

/// The families that the Service is in; IPv4 when it does not say.
pub(crate) fn families(spec: &ServiceSpec) -> Vec<Family> {
    let named: Vec<Family> = spec
        .ip_families
        .iter()
        .flatten()
        .filter_map(|name| [Family::V4, Family::V6].into_iter().find(|family| family.as_str() == name))
        .collect();
    if named.is_empty() { vec![Family::V4] } else { named }
}

/// The pods behind a Service: those of `candidates` that the selector chooses, that have an address and have not finished.
/// Ordered by address, as text.
pub(crate) fn members(
    service: &Service,
    spec: &ServiceSpec,
    candidates: &[Arc<Pod>],
    family: Family,
) -> Vec<Member> {
    let Some(selector) = &spec.selector else { return Vec::new() };
    let mut members: Vec<Member> = candidates
        .iter()
        .filter(|pod| pod.metadata.namespace == service.metadata.namespace)
        .filter(|pod| has_all(pod.metadata.labels.as_ref(), selector) && !pod_is_finished(pod))
        .filter_map(|pod| member(service, spec, pod, family))
        .collect();
    members.sort_by(|a, b| (&a.address, &a.pod.uid).cmp(&(&b.address, &b.pod.uid)));
    members
}

fn member(service: &Service, spec: &ServiceSpec, pod: &Pod, family: Family) -> Option<Member> {
    let address = pod_address(pod, family)?;
    let pod_spec = pod.spec.as_ref();
    let hostname = pod_spec
        .filter(|of| of.subdomain.as_deref() == service.metadata.name.as_deref())
        .and_then(|of| of.hostname.clone())
        .filter(|hostname| !hostname.is_empty());
    Some(Member {
        address,
        ports: spec.ports.iter().flatten().filter_map(|port| resolve(port, pod)).collect(),
        serving: pod_is_ready(pod),
        terminating: is_deleting(&pod.metadata),
        node: pod_node(pod).map(str::to_owned),
        hostname,
        pod: ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        },
    })
}

/// The pod's address of that family.
fn pod_address(pod: &Pod, family: Family) -> Option<String> {
    let status = pod.status.as_ref()?;
    let listed = status.pod_ips.iter().flatten().map(|address| address.ip.as_str());
    let mut addresses = listed.chain(status.pod_ip.as_deref());
    addresses.find(|address| address.parse().is_ok_and(|address| family.holds(address))).map(str::to_owned)
}

/// The pod's port that a Service's port means; `None` when the pod has none of that name and protocol (`FindPort`).
fn resolve(port: &ServicePort, pod: &Pod) -> Option<Port> {
    let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    let number = match &port.target_port {
        None => port.port,
        Some(IntOrString::Int(0)) => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => match name.parse() {
            Ok(number) => number,
            Err(_) => named(pod, name, &protocol)?,
        },
    };
    Some(Port {
        name: port.name.clone().unwrap_or_default(),
        protocol,
        port: number,
        app_protocol: port.app_protocol.clone(),
    })
}

fn named(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let mut ports =
        spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let is_it = |port: &&ContainerPort| {
        port.name.as_deref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol
    };
    ports.find(is_it).map(|port| port.container_port)
}
