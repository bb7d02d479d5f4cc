//! Doors: the addresses and ports that lead to a service, and what stands behind each.
//!
//! This is what all modes plan from; none of them decides again who serves whom.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use model::{
    AddressFamily, EndpointAddress, Place, Port, Protocol, Service, ServiceKey, ServiceKind, ServicePort,
    ServicePortName, Serving, SessionAffinity, Snapshot, TrafficPolicy, serving_endpoints,
};

use crate::NodeContext;

/// Where clients knock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Door {
    /// A service port at one of the service's own addresses.
    Address { address: IpAddr, protocol: Protocol, port: Port },
    /// A port at every address of the node that node ports are served at.
    Node { protocol: Protocol, port: Port },
}

impl Door {
    pub(crate) fn protocol(&self) -> Protocol {
        match self {
            Self::Address { protocol, .. } | Self::Node { protocol, .. } => *protocol,
        }
    }

    pub(crate) fn port(&self) -> Port {
        match self {
            Self::Address { port, .. } | Self::Node { port, .. } => *port,
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { address, protocol, port } => write!(f, "{protocol} {address} port {port}"),
            Self::Node { protocol, port } => write!(f, "{protocol} node port {port}"),
        }
    }
}

/// What makes an address or port a door of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum DoorKind {
    /// `spec.clusterIPs`.
    Cluster,
    /// `spec.externalIPs`.
    External,
    /// `status.loadBalancer.ingress`.
    LoadBalancer,
    /// `spec.ports[].nodePort`.
    Node,
}

/// Whose source address has to be translated behind a door, because the reply would not come back this way, or not
/// to this node. Whoever meets itself is translated everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Masquerade {
    /// Whoever is no pod.
    Strangers,
    /// Everybody.
    Everybody,
    /// The node itself. Pods and clients from outside keep their addresses.
    OwnNode,
}

/// What becomes of a connection when nobody is there to serve it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Nobody {
    /// It is refused: nobody serves anywhere.
    Refuse,
    /// It is dropped: others elsewhere serve, so whoever sent it here may try again there.
    Drop,
}

/// The endpoints at the end of a way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The serving endpoints, each in its slot. Their order carries no meaning for a packet, only for how
    /// many elements have to change.
    pub(crate) slots: Vec<EndpointAddress>,
    /// What comes of it when there are none.
    pub(crate) nobody: Nobody,
}

/// Endpoints of one service port in their slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Slots {
    /// From the whole cluster.
    pub(crate) cluster: Vec<EndpointAddress>,
    /// Of this node.
    pub(crate) local: Vec<EndpointAddress>,
}

/// One service port as one of its doors leads to it; nearly always the same behind all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortPlan {
    pub(crate) name: ServicePortName,
    /// How long a silent client is remembered, if at all.
    pub(crate) affinity: Option<Duration>,
    /// For ways that lead to endpoints anywhere.
    pub(crate) cluster: Ends,
    /// For ways that lead to this node's endpoints only; `None` when no policy asks for them.
    pub(crate) local: Option<Ends>,
    /// Addresses of its endpoints on this node, in order: they may meet themselves behind the door.
    pub(crate) here: Box<[IpAddr]>,
}

impl PortPlan {
    /// Whether an endpoint may meet itself.
    pub(crate) fn is_here(&self, endpoint: &EndpointAddress) -> bool {
        self.here.binary_search(&endpoint.address).is_ok()
    }
}

/// What stands behind a door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Behind {
    pub(crate) kind: DoorKind,
    port: Arc<PortPlan>,
    /// The traffic policy for doors of this kind.
    policy: TrafficPolicy,
    /// Only clients from there may come in, the others are dropped; empty: everybody. Of the door's family or not.
    pub(crate) sources: Arc<[IpNet]>,
}

impl Behind {
    /// The service port.
    pub(crate) fn name(&self) -> &ServicePortName {
        &self.port.name
    }

    /// The same of all doors of the service port.
    pub(crate) fn port(&self) -> &PortPlan {
        &self.port
    }

    /// The traffic policy for doors of this kind.
    pub(crate) fn policy(&self) -> TrafficPolicy {
        self.policy
    }

    /// How long a silent client is remembered, if at all.
    pub(crate) fn affinity(&self) -> Option<Duration> {
        self.port.affinity
    }

    /// Whom connections are led to. With [`Behind::outside`] only those of pods and of the node itself, which are
    /// inside the cluster already and need not keep to the node.
    pub(crate) fn inside(&self) -> &Ends {
        match (self.inside_policy(), &self.port.local) {
            (TrafficPolicy::Local, Some(local)) => local,
            (TrafficPolicy::Cluster, _) | (TrafficPolicy::Local, None) => &self.port.cluster,
        }
    }

    /// Whether those who go [`Behind::inside`] are kept to this node's endpoints.
    pub(crate) fn inside_policy(&self) -> TrafficPolicy {
        match self.kind {
            DoorKind::Cluster => self.policy,
            DoorKind::External | DoorKind::LoadBalancer | DoorKind::Node => TrafficPolicy::Cluster,
        }
    }

    /// Whom connections from outside are led to, their addresses kept, when the external traffic policy is `Local`.
    pub(crate) fn outside(&self) -> Option<&Ends> {
        match (self.kind, self.policy) {
            (DoorKind::External | DoorKind::LoadBalancer | DoorKind::Node, TrafficPolicy::Local) => {
                self.port.local.as_ref()
            }
            _ => None,
        }
    }

    /// Whose source is translated, of those who go [`Behind::inside`].
    pub(crate) fn masquerade(&self, context: &NodeContext) -> Masquerade {
        match (self.kind, self.outside()) {
            (DoorKind::Cluster, _) if !context.masquerade_all => Masquerade::Strangers,
            (DoorKind::Cluster, _) | (_, None) => Masquerade::Everybody,
            (_, Some(_)) => Masquerade::OwnNode,
        }
    }

    /// In which slots the service port's endpoints are.
    pub(crate) fn slots(&self) -> Slots {
        let local = self.port.local.as_ref().map(|ends| ends.slots.clone()).unwrap_or_default();
        Slots { cluster: self.port.cluster.slots.clone(), local }
    }

    /// Whether some client may be led to this endpoint.
    pub(crate) fn leads_to(&self, endpoint: &EndpointAddress) -> bool {
        let ends = [Some(self.inside()), self.outside()];
        ends.into_iter().flatten().any(|ends| ends.slots.contains(endpoint))
    }

    /// Every endpoint that some client may be led to; one may come twice.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &EndpointAddress> {
        [Some(self.inside()), self.outside()].into_iter().flatten().flat_map(|ends| &ends.slots)
    }
}

/// One service as it is to be written, in one address family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServicePlan {
    /// Its virtual address.
    pub(crate) address: IpAddr,
    /// Its doors, port by port, the virtual address's first.
    pub(crate) doors: Vec<(Door, Arc<Behind>)>,
}

impl ServicePlan {
    /// Addresses of its endpoints on this node; one may come more than once.
    pub(crate) fn here(&self) -> impl Iterator<Item = IpAddr> {
        self.doors.iter().flat_map(|(_, behind)| &behind.port.here).copied()
    }

    /// What stands behind one of its doors. A door named twice, which the API refuses, is its first port's.
    pub(crate) fn behind(&self, door: &Door) -> Option<&Arc<Behind>> {
        self.doors.iter().find(|(candidate, _)| candidate == door).map(|(_, behind)| behind)
    }
}

/// Plans one service. `slots_before` tells in which slots the endpoints behind a door were; those that stay keep
/// theirs.
///
/// `None` when the service is gone or not ours to serve in this family.
pub(crate) fn plan_service(
    snapshot: &Snapshot<'_>,
    key: &ServiceKey,
    family: AddressFamily,
    context: &NodeContext,
    slots_before: impl Fn(&Door) -> Slots,
) -> Option<ServicePlan> {
    let service = snapshot.service(key).filter(|service| service.is_proxied())?;
    let address = service.cluster_address(family)?;
    let zone = snapshot.node(&context.node).and_then(|node| node.zone.as_deref());
    let place = Place { node: &context.node, zone };
    let mut plan = ServicePlan { address, doors: Vec::new() };
    for port in &service.ports {
        let serving = serving_endpoints(port, family, snapshot.slices(key), place);
        let mut last: Option<Arc<PortPlan>> = None;
        for (door, kind) in doors(service, port, family, address) {
            // Each door by its own past: another service may have held one of them. Nearly always they agree.
            let fresh = plan_port(service, port, &serving, slots_before(&door));
            let port = last.take().filter(|last| **last == fresh).unwrap_or_else(|| Arc::new(fresh));
            last = Some(port.clone());
            let (policy, sources) = match kind {
                DoorKind::Cluster => (service.internal_policy, Arc::default()),
                DoorKind::LoadBalancer => {
                    (service.external_policy, service.load_balancer.source_ranges.clone())
                }
                DoorKind::External | DoorKind::Node => (service.external_policy, Arc::default()),
            };
            plan.doors.push((door, Arc::new(Behind { kind, port, policy, sources })));
        }
    }
    Some(plan)
}

fn plan_port(service: &Service, port: &ServicePort, serving: &Serving, before: Slots) -> PortPlan {
    let is_local = [service.external_policy, service.internal_policy].contains(&TrafficPolicy::Local);
    let nobody = if serving.anywhere { Nobody::Drop } else { Nobody::Refuse };
    // A door whose only endpoints are local has them where others have the cluster's.
    let local_before = if before.local.is_empty() { &before.cluster } else { &before.local };
    PortPlan {
        name: service.port_name(port),
        affinity: affinity(service),
        cluster: Ends { slots: assign_slots(&before.cluster, &serving.cluster), nobody: Nobody::Refuse },
        local: is_local.then(|| Ends { slots: assign_slots(local_before, &serving.local), nobody }),
        here: serving.here.iter().copied().collect(),
    }
}

fn cluster_door(address: IpAddr, port: &ServicePort) -> Door {
    Door::Address { address, protocol: port.protocol, port: port.port }
}

/// The doors of one service port, in order of precedence: an address that is given twice counts as what it is first.
fn doors(
    service: &Service,
    port: &ServicePort,
    family: AddressFamily,
    address: IpAddr,
) -> Vec<(Door, DoorKind)> {
    let external = service.external_addresses.iter().map(|address| (*address, DoorKind::External));
    let balanced = match service.kind {
        ServiceKind::LoadBalancer => service.load_balancer.addresses.as_slice(),
        ServiceKind::ClusterIp | ServiceKind::NodePort | ServiceKind::ExternalName(_) => &[],
    };
    let balanced = balanced.iter().map(|address| (*address, DoorKind::LoadBalancer));
    let addresses = external.chain(balanced).filter(|(address, _)| AddressFamily::of(*address) == family);
    let mut doors = vec![(cluster_door(address, port), DoorKind::Cluster)];
    doors.extend(addresses.map(|(address, kind)| (cluster_door(address, port), kind)));
    let node_port = port.node_port.map(|number| Door::Node { protocol: port.protocol, port: number });
    doors.extend(node_port.map(|door| (door, DoorKind::Node)));
    doors
}

fn affinity(service: &Service) -> Option<Duration> {
    match service.affinity {
        SessionAffinity::None => None,
        SessionAffinity::ClientAddress { timeout } => Some(timeout),
    }
}

/// Puts `wanted`, which is in order and without repetition, into slots 0 to `wanted.len()` - 1.
///
/// An endpoint that has a slot within that range keeps it; newcomers fill the holes in order. So one
/// endpoint replaced by another changes one slot, and one removed at most one other, however many there
/// are. Without a past the slots are in the order of `wanted`.
fn assign_slots(before: &[EndpointAddress], wanted: &[EndpointAddress]) -> Vec<EndpointAddress> {
    let mut slots: Vec<Option<EndpointAddress>> = vec![None; wanted.len()];
    let mut seated = BTreeSet::new();
    for (slot, endpoint) in slots.iter_mut().zip(before) {
        if wanted.binary_search(endpoint).is_ok() && seated.insert(*endpoint) {
            *slot = Some(*endpoint);
        }
    }
    let mut newcomers = wanted.iter().filter(|endpoint| !seated.contains(endpoint));
    // There are as many holes as newcomers, so the filter drops nothing.
    slots.into_iter().filter_map(|slot| slot.or_else(|| newcomers.next().copied())).collect()
}

#[cfg(test)]
mod tests;
