//! What stands in the kernel for doors: virtual services, members of sets, and the addresses of `kube-ipvs0`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use model::{EndpointAddress, Port, Protocol};
use netstate::ipset::{IpPort, Member};
use netstate::ipvs::{Destination, Scheduler, ServiceId, Settings, Table, VirtualService};
use netstate::nft::L4Protocol;

use super::marks::{self, Marks};
use super::sets::Role;
use crate::NodeContext;
use crate::books::Fragment;
use crate::doors::{Behind, Door, DoorKind, Ends, Masquerade, Nobody};

/// What the plan depends on besides the doors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) context: &'a NodeContext,
    pub(super) scheduler: &'a Scheduler,
    /// The node's addresses of one family, where node ports are served or not; `kube-ipvs0`'s are not among them.
    pub(super) own: &'a BTreeSet<IpAddr>,
    /// Those of them where node ports are served.
    pub(super) node_ports_at: &'a BTreeSet<IpAddr>,
    /// The marks of places that lead those inside elsewhere.
    pub(super) marks: &'a Marks,
}

/// What several doors may need at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Shared {
    /// An address of `kube-ipvs0`.
    Address(IpAddr),
    /// An endpoint that may meet itself.
    LoopBack(IpPort),
}

/// What doors need. What only one door needs, since each has one holder, is a set; what may be shared is counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) services: Table,
    pub(super) members: BTreeSet<(Role, Member)>,
    pub(super) shared: BTreeMap<Shared, usize>,
}

impl Needs {
    /// Of all doors of a fragment.
    pub(super) fn of(site: &Site<'_>, fragment: &Fragment) -> Self {
        let mut needs = Self::default();
        for (door, behind) in &fragment.doors {
            needs.add(site, door, behind);
        }
        needs
    }

    fn add(&mut self, site: &Site<'_>, door: &Door, behind: &Behind) {
        let ends = ends(behind);
        let service = virtual_service(site.scheduler, behind, ends);
        let inside = behind.outside().map(|_| virtual_service(site.scheduler, behind, behind.inside()));
        for at in places(site.node_ports_at, door) {
            let id = ServiceId::Address { protocol: at.protocol, at: SocketAddr::new(at.address, at.port) };
            self.services.insert(id, service.clone());
            if let (Some(inside), Some(mark)) = (&inside, site.marks.of(&at)) {
                self.members.insert((Role::Inside, Member::IpPortMark(at, mark)));
                for id in marks::services(mark, id.family()) {
                    self.services.insert(id, inside.clone());
                }
            }
            if ends.slots.is_empty() && ends.nobody == Nobody::Drop {
                self.members.insert((Role::NoLocalEndpoint, Member::IpPort(at)));
            }
        }
        match door {
            Door::Address { address, .. } => {
                self.add_address_door(site, at(door, *address), behind);
                if !site.own.contains(address) {
                    self.share(Shared::Address(*address));
                }
            }
            Door::Node { protocol, port } => self.add_node_door(*protocol, *port, behind, site.context),
        }
        let here = behind.endpoints().filter(|end| behind.port().is_here(end));
        let loops: BTreeSet<Shared> = here.map(|end| Shared::LoopBack(end_at(door, end))).collect();
        loops.into_iter().for_each(|shared| self.share(shared));
    }

    fn share(&mut self, shared: Shared) {
        *self.shared.entry(shared).or_default() += 1;
    }

    fn add_address_door(&mut self, site: &Site<'_>, at: IpPort, behind: &Behind) {
        let keeps_sources = behind.masquerade(site.context) == Masquerade::OwnNode;
        let mut put = |role, member| self.members.insert((role, member));
        match behind.kind {
            // A door at an address has no such kind.
            DoorKind::Node => {}
            DoorKind::Cluster => {
                put(Role::ClusterIp, Member::IpPort(at));
            }
            DoorKind::External => {
                let role = if keeps_sources { Role::ExternalIpLocal } else { Role::ExternalIp };
                put(role, Member::IpPort(at));
            }
            DoorKind::LoadBalancer => {
                put(Role::LoadBalancer, Member::IpPort(at));
                if keeps_sources {
                    put(Role::LoadBalancerLocal, Member::IpPort(at));
                }
            }
        }
        let Some(ranges) = sources(behind, at.address) else {
            return;
        };
        put(Role::LoadBalancerFirewall, Member::IpPort(at));
        for range in &ranges {
            put(Role::LoadBalancerSourceRange, Member::IpPortNet(at, *range));
        }
        // The address is the node's own to IPVS, so the node's own connections have it for their source, too.
        if ranges.iter().any(|range| site.own.iter().any(|own| range.contains(own))) {
            put(Role::LoadBalancerSourceIp, Member::IpPortIp(at, at.address));
        }
    }

    fn add_node_door(&mut self, protocol: Protocol, port: Port, behind: &Behind, context: &NodeContext) {
        let (every, keeping) = match protocol {
            Protocol::Tcp => (Role::NodePortTcp, Role::NodePortLocalTcp),
            Protocol::Udp => (Role::NodePortUdp, Role::NodePortLocalUdp),
            Protocol::Sctp => (Role::NodePortSctp, Role::NodePortLocalSctp),
        };
        let member = Member::Port(port.number());
        self.members.insert((every, member));
        if behind.masquerade(context) == Masquerade::OwnNode {
            self.members.insert((keeping, member));
        }
    }
}

/// The places that lead those inside the cluster elsewhere than others, and so need a mark.
pub(super) fn marked(node_ports_at: &BTreeSet<IpAddr>, fragment: &Fragment) -> impl Iterator<Item = IpPort> {
    let split = fragment.doors.iter().filter(|(_, behind)| behind.outside().is_some());
    split.flat_map(|(door, _)| places(node_ports_at, door))
}

/// Whom connections from outside are led to, and all where there is no difference.
pub(super) fn ends(behind: &Behind) -> &Ends {
    behind.outside().unwrap_or(behind.inside())
}

/// Where a door's virtual services are.
fn places(node_ports_at: &BTreeSet<IpAddr>, door: &Door) -> Vec<IpPort> {
    match door {
        Door::Address { address, .. } => vec![at(door, *address)],
        Door::Node { .. } => node_ports_at.iter().map(|address| at(door, *address)).collect(),
    }
}

/// The door that a virtual service stands for, if it is at one of those addresses.
pub(super) fn doors_of(id: &ServiceId) -> Option<[Door; 2]> {
    let ServiceId::Address { protocol, at } = id else {
        return None;
    };
    let known = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    let protocol = known.into_iter().find(|known| known.number() == protocol.0)?;
    let port = Port::try_from(i64::from(at.port())).ok()?;
    Some([Door::Address { address: at.ip(), protocol, port }, Door::Node { protocol, port }])
}

/// The virtual service behind a door.
pub(super) fn virtual_service(scheduler: &Scheduler, behind: &Behind, ends: &Ends) -> VirtualService {
    // One second is the least that the API takes, and a day the most.
    let seconds = |timeout: std::time::Duration| u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX);
    let to = |end: &EndpointAddress| SocketAddr::new(end.address, end.port.number());
    VirtualService {
        settings: Settings { scheduler: scheduler.clone(), persistence: behind.affinity().map(seconds) },
        destinations: ends.slots.iter().map(|end| (to(end), Destination::masquerade())).collect(),
    }
}

/// The ranges that clients must come from; `None`: from anywhere.
fn sources(behind: &Behind, like: IpAddr) -> Option<Vec<IpNet>> {
    let of_family = |range: &&IpNet| range.addr().is_ipv4() == like.is_ipv4();
    let ranges: Vec<IpNet> = behind.sources.iter().filter(of_family).map(IpNet::trunc).collect();
    let unbound = behind.sources.is_empty() || ranges.iter().any(|range| range.prefix_len() == 0);
    (!unbound).then_some(ranges)
}

fn at(door: &Door, address: IpAddr) -> IpPort {
    IpPort { address, protocol: L4Protocol(door.protocol().number()), port: door.port().number() }
}

fn end_at(door: &Door, end: &EndpointAddress) -> IpPort {
    IpPort { address: end.address, protocol: L4Protocol(door.protocol().number()), port: end.port.number() }
}
