//! The EndpointSlices of a Service, changed as little as possible: an endpoint stays in the slice it is in, a slice
//! without changes is not written, and what is new goes where something is written anyway.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForNode, ForZone,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::members::{Family, Member, Port, families, is_headless, publishes_not_ready};
use crate::context::{MANAGED_BY, SERVICE_NAME};
use crate::objects::{controller_of, controller_reference, generated_name, is_deleting, uid};
use crate::selector::Labels;

/// Endpoints in one slice at most, as in Kubernetes.
pub(crate) const SLICE_CAPACITY: usize = 100;
/// The same as in Kubernetes, so that a cluster can change hands without its slices being doubled.
pub(crate) const CONTROLLER: &str = "endpointslice-controller.k8s.io";
/// Marks slices and Endpoints of a Service without an address of its own.
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";

/// What to write.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) create: Vec<EndpointSlice>,
    pub(crate) update: Vec<EndpointSlice>,
    pub(crate) delete: Vec<Arc<EndpointSlice>>,
}

impl Plan {
    /// Nothing is to be written.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.create.is_empty() && self.update.is_empty() && self.delete.is_empty()
    }
}

/// Whether a slice is this controller's to change.
pub(crate) fn is_managed(slice: &EndpointSlice) -> bool {
    let labels = slice.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|by| by == CONTROLLER)
}

/// Compares the slices that are with the pods behind the Service. `existing` are the managed slices of this Service;
/// `members` gives its pods by family, `zone_of` the zone of a node.
pub(crate) fn plan(
    service: &Service,
    spec: &ServiceSpec,
    members: impl Fn(Family) -> Vec<Member>,
    zone_of: impl Fn(&str) -> Option<String>,
    existing: &[Arc<EndpointSlice>],
) -> Plan {
    let families = families(spec);
    let mut plan = Plan::default();
    let live = existing.iter().filter(|slice| !is_deleting(&slice.metadata));
    for slice in live.clone() {
        let wanted = families.iter().any(|family| family.as_str() == slice.address_type);
        if !wanted || !belongs_to(slice, service) {
            plan.delete.push(slice.clone());
        }
    }
    for family in families {
        let of_family: Vec<&Arc<EndpointSlice>> = live
            .clone()
            .filter(|slice| slice.address_type == family.as_str() && belongs_to(slice, service))
            .collect();
        let endpoints = grouped(members(family), spec, &zone_of);
        plan_family(service, spec, family, endpoints, &of_family, &mut plan);
    }
    plan
}

/// A slice that a deleted Service of the same name left behind is not ours to reuse.
fn belongs_to(slice: &EndpointSlice, service: &Service) -> bool {
    controller_of(&slice.metadata).is_none_or(|owner| owner.uid == uid(&service.metadata))
}

/// Endpoints by what they are recognised by, and these by their ports, which a slice has in common.
type Groups = BTreeMap<Vec<Port>, BTreeMap<String, Endpoint>>;

fn grouped(members: Vec<Member>, spec: &ServiceSpec, zone_of: impl Fn(&str) -> Option<String>) -> Groups {
    let mut groups = Groups::new();
    for mut member in members {
        member.ports.sort();
        let ports = std::mem::take(&mut member.ports);
        let zone = member.node.as_deref().and_then(&zone_of);
        let endpoint = endpoint(member, zone, spec);
        groups.entry(ports).or_default().insert(identity(&endpoint), endpoint);
    }
    groups
}

fn plan_family(
    service: &Service,
    spec: &ServiceSpec,
    family: Family,
    mut groups: Groups,
    existing: &[&Arc<EndpointSlice>],
    plan: &mut Plan,
) {
    if groups.is_empty() {
        // Like Kubernetes, one empty slice says that the Service was looked at and has nobody.
        groups.insert(Vec::new(), BTreeMap::new());
    }
    let frame = Frame { service, labels: labels(service, spec), family };
    let mut by_ports: BTreeMap<Vec<Port>, Vec<&Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in existing {
        by_ports.entry(ports_of(slice)).or_default().push(slice);
    }
    for (ports, slices) in &by_ports {
        if !groups.contains_key(ports) {
            plan.delete.extend(slices.iter().copied().cloned());
        }
    }
    for (ports, wanted) in groups {
        let slices = by_ports.remove(&ports).unwrap_or_default();
        frame.fit(ports, wanted, &slices, plan);
    }
}

/// What all slices of one Service and family share.
struct Frame<'a> {
    service: &'a Service,
    labels: Labels,
    family: Family,
}

/// A slice on its way to what it should be.
struct Draft<'a> {
    slice: &'a Arc<EndpointSlice>,
    endpoints: Vec<Endpoint>,
    changed: bool,
}

impl Frame<'_> {
    /// Brings the slices of one set of ports to hold exactly `wanted`.
    fn fit(
        &self,
        ports: Vec<Port>,
        mut wanted: BTreeMap<String, Endpoint>,
        slices: &[&Arc<EndpointSlice>],
        plan: &mut Plan,
    ) {
        let placeholder = wanted.is_empty();
        let mut drafts: Vec<Draft<'_>> = slices.iter().map(|slice| self.keep(slice, &mut wanted)).collect();
        let mut rest: Vec<Endpoint> = wanted.into_values().collect();
        // First where something is written anyway, then into the fullest slice that takes them all, so that the number of
        // written slices stays low; what is left gets slices of its own.
        for draft in drafts.iter_mut().filter(|draft| draft.changed && !draft.endpoints.is_empty()) {
            draft.fill(&mut rest);
        }
        if !rest.is_empty() && rest.len() < SLICE_CAPACITY {
            let roomy = drafts
                .iter_mut()
                .filter(|draft| {
                    !draft.changed && SLICE_CAPACITY - draft.endpoints.len().min(SLICE_CAPACITY) >= rest.len()
                })
                .max_by_key(|draft| draft.endpoints.len());
            if let Some(draft) = roomy {
                draft.fill(&mut rest);
            }
        }
        // Slices that have become empty are reused before new ones are made.
        for draft in drafts.iter_mut().filter(|draft| draft.endpoints.is_empty()) {
            draft.fill(&mut rest);
        }
        while !rest.is_empty() {
            let chunk = rest.drain(..rest.len().min(SLICE_CAPACITY)).collect();
            plan.create.push(self.slice(&ports, chunk));
        }
        let mut empty_kept = !placeholder;
        for draft in drafts {
            if draft.endpoints.is_empty() && empty_kept {
                plan.delete.push(draft.slice.clone());
                continue;
            }
            empty_kept |= draft.endpoints.is_empty();
            if draft.changed {
                let mut next = draft.slice.as_ref().clone();
                next.endpoints = draft.endpoints;
                self.dress(&mut next.metadata);
                plan.update.push(next);
            }
        }
        if !empty_kept {
            plan.create.push(self.slice(&ports, Vec::new()));
        }
    }

    /// Keeps of a slice what is still wanted, in its present order and state, and takes that out of `wanted`.
    fn keep<'a>(&self, slice: &'a Arc<EndpointSlice>, wanted: &mut BTreeMap<String, Endpoint>) -> Draft<'a> {
        let kept = slice.endpoints.iter().filter_map(|old| wanted.remove(&identity(old)));
        let endpoints: Vec<Endpoint> = kept.take(SLICE_CAPACITY).collect();
        let changed = endpoints != slice.endpoints || !self.is_dressed(&slice.metadata);
        Draft { slice, endpoints, changed }
    }

    fn is_dressed(&self, meta: &ObjectMeta) -> bool {
        let mut dressed = meta.clone();
        self.dress(&mut dressed);
        dressed == *meta
    }

    /// Puts labels and owner on a slice.
    fn dress(&self, meta: &mut ObjectMeta) {
        meta.labels = Some(self.labels.clone());
        meta.owner_references = Some(vec![controller_reference::<Service>(&self.service.metadata)]);
    }

    fn slice(&self, ports: &[Port], endpoints: Vec<Endpoint>) -> EndpointSlice {
        let prefix = format!("{}-", self.service.metadata.name.as_deref().unwrap_or_default());
        let mut metadata = ObjectMeta {
            name: Some(generated_name(&prefix)),
            generate_name: Some(prefix),
            namespace: self.service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        };
        self.dress(&mut metadata);
        EndpointSlice {
            metadata,
            address_type: self.family.as_str().to_owned(),
            endpoints,
            ports: Some(ports.iter().map(slice_port).collect()),
        }
    }
}

impl Draft<'_> {
    fn fill(&mut self, rest: &mut Vec<Endpoint>) {
        let room = SLICE_CAPACITY.saturating_sub(self.endpoints.len());
        let taken = rest.len().min(room);
        self.changed |= taken > 0;
        self.endpoints.extend(rest.drain(..taken));
    }
}

/// By what an endpoint is recognised from one look to the next.
fn identity(endpoint: &Endpoint) -> String {
    let pod = endpoint.target_ref.as_ref().and_then(|pod| pod.uid.as_deref()).unwrap_or_default();
    format!("{} {pod}", endpoint.addresses.first().map(String::as_str).unwrap_or_default())
}

fn endpoint(member: Member, zone: Option<String>, spec: &ServiceSpec) -> Endpoint {
    let ready = publishes_not_ready(spec) || (member.serving && !member.terminating);
    Endpoint {
        hints: hints(&member, zone.as_deref(), spec).filter(|_| ready),
        zone,
        addresses: vec![member.address],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(member.serving),
            terminating: Some(member.terminating),
        }),
        hostname: member.hostname,
        node_name: member.node,
        target_ref: Some(member.pod),
        ..Endpoint::default()
    }
}

/// For whom an endpoint is meant, by `spec.trafficDistribution` (KEP-4444, KEP-3015). Every ready endpoint gets hints,
/// or proxies would follow none.
fn hints(member: &Member, zone: Option<&str>, spec: &ServiceSpec) -> Option<EndpointHints> {
    let for_zones = || zone.map(|name| vec![ForZone { name: name.to_owned() }]);
    let for_nodes = || member.node.clone().map(|name| vec![ForNode { name }]);
    let hints = match spec.traffic_distribution.as_deref()? {
        "PreferClose" | "PreferSameZone" => EndpointHints { for_zones: for_zones(), for_nodes: None },
        // The zone is for nodes without an endpoint of their own.
        "PreferSameNode" => EndpointHints { for_zones: for_zones(), for_nodes: for_nodes() },
        _ => return None,
    };
    (hints != EndpointHints::default()).then_some(hints)
}

fn slice_port(port: &Port) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    }
}

fn ports_of(slice: &EndpointSlice) -> Vec<Port> {
    let mut ports: Vec<Port> = slice
        .ports
        .iter()
        .flatten()
        .map(|port| Port {
            name: port.name.clone().unwrap_or_default(),
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            port: port.port.unwrap_or(0),
            app_protocol: port.app_protocol.clone(),
        })
        .collect();
    ports.sort();
    ports
}

/// The Service's own labels, and those by which slices are found.
fn labels(service: &Service, spec: &ServiceSpec) -> Labels {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if is_headless(spec) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(SERVICE_NAME.to_owned(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    labels
}

#[cfg(test)]
#[path = "slices_tests.rs"]
mod tests;
