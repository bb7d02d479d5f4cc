//! What the namespaces of a lab hold. Pure.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use netstate::link::{Link, LinkKind, LinkName, MacAddress, NamespacePath, VethPeer};
use netstate::namespace::NetworkState;
use netstate::route::Route;
use netstate::sysctl::SysctlKey;

use super::{LabNetwork, OUTSIDE, names};

/// The router's bridge, which the nodes are plugged into.
pub const LAN: LinkName = LinkName::constant("lan0");
/// The router's link to the outside.
pub const WAN: LinkName = LinkName::constant("wan0");

/// The router's address on the outside.
pub const WAN_GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The address of the machine outside.
pub const OUTSIDE_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// A machine of the lab: everything but the router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its namespace's name.
    pub namespace: String,
    /// The router's link to it.
    pub port: LinkName,
    /// Its address, on its `eth0`.
    pub address: Ipv4Addr,
    /// The network that it is in.
    pub network: Ipv4Net,
    /// Where it sends what is not for its own network: destination and gateway.
    pub route: (Ipv4Net, Ipv4Addr),
}

/// All machines: the nodes, the control plane, and the one outside.
///
/// # Panics
/// Never with a network that [`LabNetwork::check`] accepts.
#[must_use]
pub fn machines(network: &LabNetwork) -> Vec<Machine> {
    let inside = |namespace, port, address| Machine {
        namespace,
        port,
        address,
        network: network.node_range,
        route: (Ipv4Net::default(), network.gateway()),
    };
    let lab = network.lab.as_str();
    let mut machines: Vec<Machine> = (1..=network.nodes)
        .map(|number| {
            // A range of at most 2^24 addresses holds no more nodes, so the name has at most 12 bytes.
            let port =
                LinkName::parse(&names::node_name(number)).expect("a short name of letters and digits");
            inside(names::node(lab, number), port, network.node_address(number))
        })
        .collect();
    machines.push(inside(
        names::control_plane(lab),
        LinkName::constant("control-plane"),
        network.control_plane_address(),
    ));
    machines.push(Machine {
        namespace: names::outside(lab),
        port: WAN,
        address: OUTSIDE_ADDRESS,
        network: OUTSIDE,
        route: (network.node_range, WAN_GATEWAY),
    });
    machines
}

/// What the router holds. `path_of` says where a namespace's file is.
#[must_use]
pub fn router(
    network: &LabNetwork,
    machines: &[Machine],
    path_of: impl Fn(&str) -> NamespacePath,
) -> NetworkState {
    let mut state = NetworkState::default();
    state.insert_link(Link::loopback());
    state.insert_link(
        Link::new(LAN, LinkKind::Bridge)
            .with_mac(MacAddress::for_ipv4(network.gateway()))
            .with_address(net(network.gateway(), network.node_range)),
    );
    for machine in machines {
        let peer = VethPeer {
            name: LinkName::eth0(),
            namespace: Some(path_of(&machine.namespace)),
            mac: Some(MacAddress::for_ipv4(machine.address)),
        };
        let link = Link::new(machine.port.clone(), LinkKind::Veth { peer: Some(peer) });
        state.insert_link(if machine.port == WAN {
            link.with_address(net(WAN_GATEWAY, OUTSIDE))
        } else {
            link.with_master(LAN, false)
        });
    }
    state
}

/// What a machine holds. Its `eth0` is made with the router's link.
#[must_use]
pub fn machine(machine: &Machine) -> NetworkState {
    let mut state = NetworkState::default();
    state.insert_link(Link::loopback());
    state.insert_link(
        Link::new(LinkName::eth0(), LinkKind::Veth { peer: None })
            .with_address(net(machine.address, machine.network)),
    );
    let (destination, gateway) = machine.route;
    state.insert_route(Route::via(IpNet::V4(destination), IpAddr::V4(gateway)));
    state
}

/// The router's routes to the pods: pod range of a node → the node's address.
#[must_use]
pub fn pod_routes<'a>(routes: impl IntoIterator<Item = (&'a Ipv4Net, &'a Ipv4Addr)>) -> NetworkState {
    let mut state = NetworkState::default();
    for (range, node) in routes {
        state.insert_route(Route::via(IpNet::V4(*range), IpAddr::V4(*node)));
    }
    state
}

/// The router's settings. What it forwards goes out by the link it came from, which is no reason to tell the sender of
/// a shorter way: on the networks that this stands for there is none.
#[must_use]
pub fn router_settings() -> Vec<(SysctlKey, &'static str)> {
    vec![
        (SysctlKey::new("net.ipv4.ip_forward"), "1"),
        (SysctlKey::ipv4_conf("all", "send_redirects"), "0"),
        (SysctlKey::ipv4_conf("default", "send_redirects"), "0"),
        (SysctlKey::ipv4_conf(LAN.as_str(), "send_redirects"), "0"),
    ]
}

/// Where the kernel has `br_netfilter` it shows bridged packets to the rules for routed ones. All our packets are
/// routed; on bridges it only takes time. Set where the kernel has it.
#[must_use]
pub fn bridge_setting() -> (SysctlKey, &'static str) {
    (SysctlKey::new("net.bridge.bridge-nf-call-iptables"), "0")
}

fn net(address: Ipv4Addr, network: Ipv4Net) -> IpNet {
    // The prefix length comes from a network that was parsed.
    IpNet::new(IpAddr::V4(address), network.prefix_len()).expect("a prefix length of at most 32")
}

#[cfg(test)]
mod tests;
