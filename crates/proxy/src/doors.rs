//! Doors: the addresses and ports that lead to a service, and what stands behind each.
//!
//! This is what all modes plan from; none of them decides again who serves whom.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use model::{
    AddressFamily, EndpointAddress, NodeName, Port, Protocol, Service, ServiceKey, SessionAffinity, Snapshot,
    serving_endpoints,
};

/// Where clients knock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Door {
    /// A service port at the service's virtual address.
    Cluster { address: IpAddr, protocol: Protocol, port: Port },
    /// A port at every address of the node.
    Node { protocol: Protocol, port: Port },
}

impl Door {
    pub(crate) fn protocol(&self) -> Protocol {
        match self {
            Self::Cluster { protocol, .. } | Self::Node { protocol, .. } => *protocol,
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster { address, protocol, port } => write!(f, "{protocol} {address} port {port}"),
            Self::Node { protocol, port } => write!(f, "{protocol} node port {port}"),
        }
    }
}

/// What stands behind a door.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Behind {
    /// The serving endpoints, each in its slot. Their order carries no meaning for a packet, only for how
    /// many elements have to change.
    pub(crate) slots: Vec<EndpointAddress>,
    /// How long a silent client is remembered, if at all.
    pub(crate) affinity: Option<Duration>,
}

/// One service as it is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServicePlan {
    /// Its virtual address.
    pub(crate) address: IpAddr,
    /// Its doors, node ports after the virtual address's.
    pub(crate) doors: Vec<(Door, Arc<Behind>)>,
    /// Addresses of its endpoints on this node: they may meet themselves behind the door.
    pub(crate) local: BTreeSet<IpAddr>,
}

impl ServicePlan {
    /// What stands behind one of its doors. A door named twice, which the API refuses, is its first port's.
    pub(crate) fn behind(&self, door: &Door) -> Option<&Arc<Behind>> {
        self.doors.iter().find(|(candidate, _)| candidate == door).map(|(_, behind)| behind)
    }
}

/// Plans one service. `slots_before` tells in which slots a door's endpoints were; endpoints that stay
/// keep theirs.
///
/// `None` when the service is gone or not ours to serve in this family.
pub(crate) fn plan_service(
    snapshot: &Snapshot<'_>,
    key: &ServiceKey,
    family: AddressFamily,
    node: &NodeName,
    slots_before: impl Fn(&Door) -> Vec<EndpointAddress>,
) -> Option<ServicePlan> {
    let service = snapshot.service(key).filter(|service| service.is_proxied())?;
    let address = service.cluster_address(family)?;
    let mut plan = ServicePlan { address, doors: Vec::new(), local: BTreeSet::new() };
    for port in &service.ports {
        let serving = serving_endpoints(port, family, snapshot.slices(key), node);
        plan.local.extend(serving.endpoints.iter().filter(|one| one.local).map(|one| one.at.address));
        let wanted: Vec<EndpointAddress> = serving.endpoints.iter().map(|one| one.at).collect();
        let (protocol, affinity) = (port.protocol, affinity(service));
        // Each door by its own past: another service may have held one of them, but hardly both.
        let behind = |door: &Door| Behind { slots: assign_slots(&slots_before(door), &wanted), affinity };
        let cluster = Door::Cluster { address, protocol, port: port.port };
        let behind_cluster = Arc::new(behind(&cluster));
        plan.doors.push((cluster, behind_cluster.clone()));
        if let Some(node) = port.node_port.map(|port| Door::Node { protocol, port }) {
            let behind_node = behind(&node);
            let same = behind_node == *behind_cluster;
            plan.doors.push((node, if same { behind_cluster } else { Arc::new(behind_node) }));
        }
    }
    Some(plan)
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
