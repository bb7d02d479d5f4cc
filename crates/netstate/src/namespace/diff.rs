//! The operations that lead from what is to what is wanted.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{NetworkState, Ownership};
use crate::link::{Link, LinkKind, LinkName, MacAddress};
use crate::route::Route;

/// One change of a namespace's links or routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkOp {
    /// Creates a link with its kind, hardware address, MTU, bridge and whether it is up. A veth's peer is born down,
    /// with the same MTU. Hairpin and addresses have operations of their own.
    CreateLink(Link),
    /// Removes a link, and with a veth its other end.
    DeleteLink(LinkName),
    /// Switches a link on or off.
    SetUp {
        /// Which link.
        link: LinkName,
        /// On or off.
        up: bool,
    },
    /// Sets the greatest packet size.
    SetMtu {
        /// Which link.
        link: LinkName,
        /// In bytes.
        mtu: u32,
    },
    /// Sets the hardware address.
    SetMac {
        /// Which link.
        link: LinkName,
        /// The address.
        mac: MacAddress,
    },
    /// Plugs a link into a bridge or pulls it out.
    SetMaster {
        /// Which link.
        link: LinkName,
        /// The bridge.
        master: Option<LinkName>,
    },
    /// Whether frames may leave the bridge by the port they came from.
    SetHairpin {
        /// Which bridge port.
        link: LinkName,
        /// Allowed or not.
        hairpin: bool,
    },
    /// Gives a link an address.
    AddAddress {
        /// Which link.
        link: LinkName,
        /// Address and prefix length.
        address: IpNet,
    },
    /// Takes an address from a link.
    DeleteAddress {
        /// Which link.
        link: LinkName,
        /// Address and prefix length.
        address: IpNet,
    },
    /// Adds a route, or puts it in the place of the one with the same destination and metric.
    ReplaceRoute(Route),
    /// Removes a route.
    DeleteRoute(Route),
}

/// The operations that make `observed` hold all of `desired` and nothing else of what is ours.
///
/// They are in an order that the kernel accepts: stale things go first, bridges come before their ports, links before
/// addresses, addresses before routes, and routes on a link before routes through a gateway on it. Links and routes
/// that are neither wanted nor ours are left alone.
#[must_use]
pub fn diff(observed: &NetworkState, desired: &NetworkState, ours: &Ownership) -> Vec<LinkOp> {
    let mut operations = Vec::new();
    for route in observed.routes.values() {
        if !desired.routes.contains_key(&route.key) && ours.owns_route(route) {
            operations.push(LinkOp::DeleteRoute(route.clone()));
        }
    }
    for name in observed.links.keys() {
        if !desired.links.contains_key(name) && ours.owns_link(name) {
            operations.push(LinkOp::DeleteLink(name.clone()));
        }
    }
    let (bridges, others): (Vec<&Link>, Vec<&Link>) =
        desired.links.values().partition(|link| link.kind == LinkKind::Bridge);
    let mut losses = Losses::default();
    for wanted in bridges.into_iter().chain(others) {
        let found = observed.links.get(&wanted.name);
        diff_link(found, wanted, &mut losses, &mut operations);
    }
    let (on_link, through_gateway): (Vec<&Route>, Vec<&Route>) =
        desired.routes.values().partition(|route| route.gateway.is_none());
    for wanted in on_link.into_iter().chain(through_gateway) {
        let stays = observed.routes.get(&wanted.key).is_some_and(|found| {
            let is_lost = found.device.as_ref().is_some_and(|device| losses.routes_of.contains(device));
            !is_lost && route_satisfies(found, wanted)
        });
        if !stays {
            operations.push(LinkOp::ReplaceRoute(wanted.clone()));
        }
    }
    operations
}

/// What goes on the way, whatever was observed of it.
#[derive(Default)]
struct Losses {
    /// Bridges made anew, whose ports are unplugged.
    ports_of: BTreeSet<LinkName>,
    /// Links made anew or for a moment without an address: the kernel removes their routes (`fib_disable_ip`).
    routes_of: BTreeSet<LinkName>,
}

fn route_satisfies(found: &Route, wanted: &Route) -> bool {
    found.gateway == wanted.gateway
        && found.protocol == wanted.protocol
        && (wanted.device.is_none() || found.device == wanted.device)
}

fn diff_link(observed: Option<&Link>, wanted: &Link, losses: &mut Losses, operations: &mut Vec<LinkOp>) {
    let mut from = match observed {
        Some(found) if found.kind.is_same(&wanted.kind) => found.clone(),
        _ => create(observed, wanted, losses, operations),
    };
    let was_plugged = observed.is_some_and(|found| found.kind.is_same(&wanted.kind));
    if was_plugged && from.master.as_ref().is_some_and(|master| losses.ports_of.contains(master)) {
        from.master = None;
    }
    diff_settings(&from, wanted, operations);
    for address in from.addresses.difference(&wanted.addresses) {
        if !is_kernels_own(address.addr()) {
            operations.push(LinkOp::DeleteAddress { link: wanted.name.clone(), address: *address });
        }
    }
    // Each family by itself; what the kernel does for IPv4 is assumed for IPv6, too.
    for is_ipv6 in [false, true] {
        let of_family = |net: &&IpNet| net.addr().is_ipv6() == is_ipv6;
        let mut had = from.addresses.iter().filter(of_family).peekable();
        if had.peek().is_some() && !had.any(|address| wanted.addresses.contains(address)) {
            losses.routes_of.insert(wanted.name.clone());
        }
    }
    for address in wanted.addresses.difference(&from.addresses) {
        operations.push(LinkOp::AddAddress { link: wanted.name.clone(), address: *address });
    }
}

/// Creates a link, in the place of one of another kind if there is one. What it is like then.
fn create(observed: Option<&Link>, wanted: &Link, losses: &mut Losses, operations: &mut Vec<LinkOp>) -> Link {
    if observed.is_some() {
        operations.push(LinkOp::DeleteLink(wanted.name.clone()));
        losses.ports_of.insert(wanted.name.clone());
        losses.routes_of.insert(wanted.name.clone());
    }
    if can_be_created(&wanted.kind) {
        let plain = Link { addresses: BTreeSet::new(), hairpin: false, ..wanted.clone() };
        operations.push(LinkOp::CreateLink(plain.clone()));
        return plain;
    }
    // Somebody else makes it; the operations that follow fail with its name when it is not there.
    Link { up: false, ..Link::new(wanted.name.clone(), wanted.kind.clone()) }
}

fn diff_settings(from: &Link, wanted: &Link, operations: &mut Vec<LinkOp>) {
    let link = || wanted.name.clone();
    if let Some(mac) = wanted.mac
        && from.mac != Some(mac)
    {
        operations.push(LinkOp::SetMac { link: link(), mac });
    }
    if let Some(mtu) = wanted.mtu
        && from.mtu != Some(mtu)
    {
        operations.push(LinkOp::SetMtu { link: link(), mtu });
    }
    if from.master != wanted.master {
        operations.push(LinkOp::SetMaster { link: link(), master: wanted.master.clone() });
    }
    // Plugging a link into another bridge makes a new port, born without hairpin.
    let hairpin = from.hairpin && from.master == wanted.master;
    if wanted.master.is_some() && hairpin != wanted.hairpin {
        operations.push(LinkOp::SetHairpin { link: link(), hairpin: wanted.hairpin });
    }
    if from.up != wanted.up {
        operations.push(LinkOp::SetUp { link: link(), up: wanted.up });
    }
}

/// A veth whose other end somebody else creates, `lo` and physical links cannot be.
fn can_be_created(kind: &LinkKind) -> bool {
    match kind {
        LinkKind::Bridge | LinkKind::Dummy | LinkKind::Veth { peer: Some(_) } => true,
        LinkKind::Loopback | LinkKind::Veth { peer: None } | LinkKind::Other(_) => false,
    }
}

fn is_kernels_own(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local(),
    }
}
