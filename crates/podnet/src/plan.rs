//! What the node and a pod's namespace are to hold. Pure.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use netstate::link::{Link, LinkKind, LinkName, MacAddress, NamespacePath, VethPeer};
use netstate::namespace::{NetworkState, Ownership};
use netstate::nft::{
    BaseChain, Chain, ChainKind, Family, Hook, Name, Policy, Rule, Ruleset, Selector, Statement, Table,
    priority,
};
use netstate::route::Route;
use netstate::sysctl::SysctlKey;

/// The bridge that the pods of a node hang on.
pub const BRIDGE: LinkName = LinkName::constant("cbr0");
/// The node's end of a pod's link is this and the address's place in the node's range: that of 10.244.1.7 is `ptlp7`.
/// Every link of the node that starts so is ours to remove.
pub const LINK_PREFIX: &str = "ptlp";
/// The table that holds the masquerade.
pub const TABLE: Table = Table::new(Family::Ip, Name::constant("portolan-podnet"));

const CHAIN: Name = Name::constant("masquerade");

/// What the pod network of a node is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The node's pod range (`Node.spec.podCIDR`); its first address becomes the bridge's.
    pub range: Ipv4Net,
    /// Destinations that see a pod's own address: what pods send anywhere else leaves with the node's. The node's own
    /// pod range always counts as one of them.
    pub non_masquerade: Vec<Ipv4Net>,
    /// The node's link to the others, whose MTU the pods get.
    pub uplink: LinkName,
}

impl Config {
    /// The address of the bridge, the pods' gateway.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.range.network()).saturating_add(1))
    }

    /// The node's end of the link of the pod with this address.
    ///
    /// # Panics
    /// Never: see the invariant inside.
    #[must_use]
    pub fn host_link(&self, address: Ipv4Addr) -> LinkName {
        let place = u32::from(address).saturating_sub(u32::from(self.range.network()));
        // Four letters and at most ten digits are within the 15 bytes that a name may have.
        LinkName::parse(&format!("{LINK_PREFIX}{place}")).expect("a short name of letters and digits")
    }
}

/// Which links of the node are ours: the bridge is wanted as long as we run, the pods' links go with their pods.
#[must_use]
pub fn ownership() -> Ownership {
    Ownership { link_prefix: Some(LINK_PREFIX.to_owned()), route_protocol: None }
}

/// The bridge. Its hardware address is fixed, since a bridge otherwise takes that of a port, changes it when ports come
/// and go, and so loses what its neighbours send.
#[must_use]
pub fn bridge(config: &Config, mtu: u32) -> Link {
    let gateway = config.gateway();
    Link::new(BRIDGE, LinkKind::Bridge)
        .with_mac(MacAddress::for_ipv4(gateway))
        .with_mtu(mtu)
        .with_address(host_net(gateway, config.range.prefix_len()))
}

/// The node's end of a pod's link. `pod` is given to create it: the namespace that the other end is born in.
#[must_use]
pub fn host_side(config: &Config, mtu: u32, address: Ipv4Addr, pod: Option<&NamespacePath>) -> Link {
    let peer = pod.map(|namespace| VethPeer {
        name: LinkName::eth0(),
        namespace: Some(namespace.clone()),
        mac: Some(MacAddress::for_ipv4(address)),
    });
    Link::new(config.host_link(address), LinkKind::Veth { peer }).with_mtu(mtu).with_master(BRIDGE, true)
}

/// What a pod's namespace holds: loopback, `eth0` with the pod's address, and the way out through the gateway.
#[must_use]
pub fn pod_side(config: &Config, mtu: u32, address: Ipv4Addr) -> NetworkState {
    let gateway = config.gateway();
    let mut state = NetworkState::default();
    state.insert_link(Link::loopback());
    state.insert_link(
        Link::new(LinkName::eth0(), LinkKind::Veth { peer: None })
            .with_mac(MacAddress::for_ipv4(address))
            .with_mtu(mtu)
            .with_address(host_net(address, 32)),
    );
    state.insert_route(Route::on_link(host_net(gateway, 32), LinkName::eth0()));
    let everywhere = IpNet::from(Ipv4Net::default());
    state.insert_route(Route {
        device: Some(LinkName::eth0()),
        ..Route::via(everywhere, IpAddr::V4(gateway))
    });
    state
}

/// The masquerade: packets of this node's pods leave with the node's address, but for those to the non-masquerade
/// ranges. Only first packets of connections come here, so the number of ranges costs nothing that counts.
#[must_use]
pub fn masquerade(config: &Config) -> Ruleset {
    let mut statements = vec![Statement::equal(Selector::SourceAddress, IpNet::V4(config.range.trunc()))];
    let mut ranges: Vec<IpNet> = vec![IpNet::V4(config.range)];
    ranges.extend(config.non_masquerade.iter().copied().map(IpNet::V4));
    for range in IpNet::aggregate(&ranges) {
        statements.push(Statement::not_equal(Selector::DestinationAddress, range));
    }
    statements.push(Statement::Masquerade { fully_random: true });
    let base = BaseChain {
        kind: ChainKind::Nat,
        hook: Hook::Postrouting,
        priority: priority::SOURCE_NAT,
        policy: Policy::Accept,
    };
    let mut ruleset = Ruleset::new(TABLE);
    ruleset.chains.insert(CHAIN, Chain::base(base, [Rule::new(statements)]));
    ruleset
}

/// Settings that routing pods takes. Pods of one node reach each other through the gateway on purpose, so it must not
/// tell them of a shorter way; the kernel asks both `all` and the link for that.
#[must_use]
pub fn settings() -> [(SysctlKey, &'static str); 3] {
    [
        (SysctlKey::new("net.ipv4.ip_forward"), "1"),
        (SysctlKey::ipv4_conf("all", "send_redirects"), "0"),
        (SysctlKey::ipv4_conf(BRIDGE.as_str(), "send_redirects"), "0"),
    ]
}

fn host_net(address: Ipv4Addr, prefix_len: u8) -> IpNet {
    // Prefix lengths come from a network that was parsed, or are 32.
    IpNet::new(IpAddr::V4(address), prefix_len).expect("a prefix length of at most 32")
}

#[cfg(test)]
mod tests;
