//! What of the node the mode has to know: its addresses, and those that it has given to `kube-ipvs0`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netstate::link::{Link, LinkKind, LinkName};
use netstate::namespace::NetworkState;

use crate::NodePortAddresses;

/// Where virtual addresses are, so that packets to them are for the machine itself and meet IPVS. The link is down:
/// nothing ever leaves by it.
pub const LINK: LinkName = LinkName::constant("kube-ipvs0");

/// The addresses of the node's links.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    /// The node's own: neither loopback nor link-local ones of IPv6.
    pub(super) own: BTreeSet<IpAddr>,
    /// Those of `kube-ipvs0`.
    pub(super) bound: BTreeSet<IpAddr>,
    /// Whether `kube-ipvs0` is there.
    pub(super) has_link: bool,
}

impl Addresses {
    pub(super) fn of(state: &NetworkState) -> Self {
        let addresses = |link: &Link| link.addresses.iter().map(ipnet::IpNet::addr).collect::<Vec<IpAddr>>();
        let bound = state.links.get(&LINK);
        let others = state.links.values().filter(|link| link.name != LINK && link.kind != LinkKind::Loopback);
        let lasting = |address: &IpAddr| !address.is_loopback() && !address.is_unspecified();
        Self {
            own: others.flat_map(addresses).filter(lasting).collect(),
            bound: bound.into_iter().flat_map(addresses).collect(),
            has_link: bound.is_some(),
        }
    }

    /// The node's own of one family.
    pub(super) fn own_of(&self, v4: bool) -> BTreeSet<IpAddr> {
        self.own.iter().copied().filter(|address| address.is_ipv4() == v4).collect()
    }
}

/// Those of the node's addresses where node ports are served.
pub(super) fn node_ports_at(own: &BTreeSet<IpAddr>, wanted: &NodePortAddresses) -> BTreeSet<IpAddr> {
    let served = |address: &IpAddr| match wanted {
        NodePortAddresses::All => true,
        NodePortAddresses::Ranges(ranges) => ranges.iter().any(|range| range.contains(address)),
    };
    own.iter().copied().filter(served).collect()
}
