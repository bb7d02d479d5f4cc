//! Ports of the node that lead to pods (`hostPort`), as the CNI plugin portmap does it. Pure.
//!
//! ```text
//! prerouting, output   address of this node . protocol . port ─► pod's address . port
//! postrouting          from the pod to itself, or from the node's loopback ─► masquerade
//! ```
//!
//! They are in a table of their own, which a node without host ports does not have.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use netstate::conntrack::Filter;
use netstate::nft::{
    BaseChain, Chain, ChainKind, ConnectionState, Data, Family, Hook, InterfaceName, L4Protocol, Name,
    Operand, Policy, Rule, Ruleset, Selector, Set, SetDefinition, Statement, Table, Type, Value, Verdict,
    priority,
};
use netstate::sysctl::SysctlKey;

use crate::plan::{BRIDGE, Config};
use crate::pool::SandboxId;

/// The table that holds the host ports.
pub const TABLE: Table = Table::new(Family::Ip, Name::constant("portolan-host-ports"));

/// protocol . port → pod, at every address of the node.
const EVERYWHERE: Name = Name::constant("everywhere");
/// address . protocol . port → pod.
const AT_ADDRESS: Name = Name::constant("at-address");
/// A pod's address twice, for pods that have host ports.
const HAIRPIN: Name = Name::constant("hairpin");

const LOOPBACK: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8));

/// One port of a pod that is to be reached at the node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// TCP, UDP or SCTP.
    pub protocol: L4Protocol,
    /// The address of the node; every one of them when `None`.
    pub address: Option<Ipv4Addr>,
    /// The node's port, 1..=65535.
    pub port: u16,
    /// The pod's port, 1..=65535.
    pub pod_port: u16,
}

/// The sandboxes with host ports, and their addresses.
pub type Published = BTreeMap<SandboxId, (Ipv4Addr, Vec<HostPort>)>;

/// Where a connection comes in: protocol, address, port.
type Door = (L4Protocol, Option<Ipv4Addr>, u16);

/// Who is behind which door. Of two sandboxes that want the same the first by name has it: the scheduler puts no two such
/// pods on a node.
fn doors(published: &Published) -> BTreeMap<Door, (Ipv4Addr, u16)> {
    let mut doors = BTreeMap::new();
    for (pod, ports) in published.values() {
        for port in ports {
            doors.entry((port.protocol, port.address, port.port)).or_insert((*pod, port.pod_port));
        }
    }
    doors
}

/// Everything in the table.
#[must_use]
pub fn ruleset(config: &Config, published: &Published) -> Ruleset {
    let mut ruleset = Ruleset::new(TABLE);
    let pod = [Type::Ipv4Address, Type::Port];
    let mut everywhere = Set::new(SetDefinition::map([Type::Protocol, Type::Port], pod));
    let mut at_address = Set::new(SetDefinition::map([Type::Ipv4Address, Type::Protocol, Type::Port], pod));
    for ((protocol, address, port), (pod, pod_port)) in doors(published) {
        let to = Data::Values([Value::from(pod), Value::Port(pod_port)].into());
        let (protocol, port) = (Value::from(protocol), Value::Port(port));
        match address {
            None => everywhere.elements.insert([protocol, port].into(), to),
            Some(address) => at_address.elements.insert([address.into(), protocol, port].into(), to),
        };
    }
    let mut hairpin = Set::new(SetDefinition::set([Type::Ipv4Address, Type::Ipv4Address]));
    for (pod, _) in published.values().filter(|(_, ports)| !ports.is_empty()) {
        hairpin.elements.insert([Value::from(*pod), Value::from(*pod)].into(), Data::Nothing);
    }
    ruleset.sets.extend([(EVERYWHERE, everywhere), (AT_ADDRESS, at_address), (HAIRPIN, hairpin)]);
    let base = |kind, hook, priority| BaseChain { kind, hook, priority, policy: Policy::Accept };
    let nat = |hook| base(ChainKind::Nat, hook, priority::DESTINATION_NAT);
    ruleset.chains.extend([
        (Name::constant("arriving"), Chain::base(nat(Hook::Prerouting), translate())),
        (Name::constant("made-here"), Chain::base(nat(Hook::Output), translate())),
        (
            Name::constant("masquerade"),
            Chain::base(base(ChainKind::Nat, Hook::Postrouting, priority::SOURCE_NAT), leave(config)),
        ),
        (
            Name::constant("guard"),
            Chain::base(base(ChainKind::Filter, Hook::Input, priority::FILTER), guard()),
        ),
    ]);
    ruleset
}

fn translate() -> Vec<Rule> {
    let door = [Selector::DestinationAddress, Selector::Protocol, Selector::DestinationPort];
    vec![
        Rule::new([Statement::dnat_map(door, AT_ADDRESS)]),
        Rule::new([
            Statement::to_this_node(),
            Statement::dnat_map([Selector::Protocol, Selector::DestinationPort], EVERYWHERE),
        ]),
    ]
}

/// Whoever could not be answered otherwise: the pod itself would answer itself directly, and a loopback address means
/// the pod's own.
fn leave(config: &Config) -> Vec<Rule> {
    let range = IpNet::V4(config.range.trunc());
    let masquerade = || Statement::Masquerade { fully_random: true };
    vec![
        Rule::new([
            Statement::within([Selector::SourceAddress, Selector::DestinationAddress], HAIRPIN),
            masquerade(),
        ]),
        Rule::new([
            Statement::equal(Selector::SourceAddress, LOOPBACK),
            Statement::equal(Selector::DestinationAddress, range),
            masquerade(),
        ]),
    ]
}

/// What [`settings`] open up for answers stays closed to everybody else (CVE-2020-8558): the node's loopback is not for
/// its pods.
fn guard() -> Vec<Rule> {
    // Two letters are always a name.
    let loopback = InterfaceName::new("lo").expect("a short name");
    let not_asked_for = Operand::States(vec![ConnectionState::Invalid, ConnectionState::New]);
    vec![Rule::new([
        Statement::not_equal(Selector::InputInterface, loopback),
        Statement::equal(Selector::DestinationAddress, LOOPBACK),
        Statement::equal(Selector::ConnectionState, not_asked_for),
        Verdict::Drop.into(),
    ])]
}

/// What a connection from 127.0.0.1 to a pod takes, beside the masquerade.
#[must_use]
pub fn settings() -> [(SysctlKey, &'static str); 1] {
    [(SysctlKey::ipv4_conf(BRIDGE.as_str(), "route_localnet"), "1")]
}

/// The connections to forget after a change: a UDP client that goes on sending would stay with whom it had before.
#[must_use]
pub fn stale(before: &Published, after: &Published) -> Vec<Filter> {
    let (before, after) = (doors(before), doors(after));
    let changed = before.keys().chain(after.keys()).filter(|door| before.get(door) != after.get(door));
    let mut filters: Vec<Filter> = changed
        .filter(|(protocol, ..)| *protocol == L4Protocol::UDP)
        .map(|(protocol, address, port)| match address {
            Some(address) => Filter::protocol(*protocol).to(IpAddr::V4(*address), *port),
            None => Filter::protocol(*protocol).to_port(*port),
        })
        .collect();
    filters.sort();
    filters.dedup();
    filters
}

#[cfg(test)]
mod tests;
