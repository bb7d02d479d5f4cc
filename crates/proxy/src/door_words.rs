//! Doors in the words of nftables: what every table that leads through them compares and keeps as keys.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::{AddressFamily, Port, Protocol};
use netstate::nft::{L4Protocol, Operand, Reject, Rule, Selector, Statement, Type, Value};

use crate::doors::Door;
use crate::{LocalTraffic, NodeContext, NodePortAddresses};

/// Both families, each with a table of its own.
pub(crate) const FAMILIES: [AddressFamily; 2] = [AddressFamily::V4, AddressFamily::V6];

/// The fields that tell a door at an address.
pub(crate) const ADDRESS_DOOR: [Selector; 3] =
    [Selector::DestinationAddress, Selector::Protocol, Selector::DestinationPort];
/// The fields that tell a node port.
pub(crate) const NODE_DOOR: [Selector; 2] = [Selector::Protocol, Selector::DestinationPort];

/// The type of the family's addresses.
pub(crate) const fn address_type(family: AddressFamily) -> Type {
    match family {
        AddressFamily::V4 => Type::Ipv4Address,
        AddressFamily::V6 => Type::Ipv6Address,
    }
}

/// Whether a range holds addresses of this family.
pub(crate) const fn is_of(family: AddressFamily, range: &IpNet) -> bool {
    matches!((family, range), (AddressFamily::V4, IpNet::V4(_)) | (AddressFamily::V6, IpNet::V6(_)))
}

/// The addresses that stand for the machine itself.
pub(crate) fn loopback(family: AddressFamily) -> IpNet {
    match family {
        AddressFamily::V4 => IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
        AddressFamily::V6 => IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
    }
}

/// The comparisons of which one set is true of a connection that may be for a node port.
///
/// Not on loopback, as kube-proxy's nftables mode has it: the kernel drops what it translates away
/// from there (unless route_localnet is set, which opens the node's loopback to its neighbours).
pub(crate) fn to_node_ports(context: &NodeContext, family: AddressFamily) -> Vec<Vec<Statement>> {
    let at = |range: Option<&IpNet>| {
        let mut statements = vec![Statement::not_equal(Selector::DestinationAddress, loopback(family))];
        statements.extend(range.map(|range| Statement::equal(Selector::DestinationAddress, *range)));
        statements.push(Statement::to_this_node());
        statements
    };
    match &context.node_port_addresses {
        NodePortAddresses::All => vec![at(None)],
        NodePortAddresses::Ranges(ranges) => {
            ranges.iter().filter(|range| is_of(family, range)).map(|range| at(Some(range))).collect()
        }
    }
}

/// The comparisons of which one is true of a pod's connection.
pub(crate) fn pods(context: &NodeContext, family: AddressFamily) -> Vec<Statement> {
    match &context.pods {
        LocalTraffic::Ranges(ranges) => ranges
            .iter()
            .filter(|range| is_of(family, range))
            .map(|range| Statement::equal(Selector::SourceAddress, *range))
            .collect(),
        LocalTraffic::Interface(name) => vec![Statement::equal(Selector::InputInterface, *name)],
        LocalTraffic::InterfacePrefix(prefix) => {
            vec![Statement::equal(Selector::InputInterface, Operand::InterfacePrefix(*prefix))]
        }
        LocalTraffic::Unknown => Vec::new(),
    }
}

/// How a connection is refused that nobody serves.
pub(crate) fn refuse() -> [Rule; 2] {
    [
        Rule::new([
            Statement::equal(Selector::Protocol, L4Protocol::TCP),
            Statement::Reject(Reject::TcpReset),
        ]),
        Rule::new([Statement::Reject(Reject::PortUnreachable)]),
    ]
}

/// The key of a door.
pub(crate) fn door_key(door: &Door) -> Vec<Value> {
    match door {
        Door::Address { address, protocol, port } => {
            vec![Value::Address(*address), protocol_value(*protocol), Value::Port(port.number())]
        }
        Door::Node { protocol, port } => vec![protocol_value(*protocol), Value::Port(port.number())],
    }
}

/// A protocol as a field of a key.
pub(crate) fn protocol_value(protocol: Protocol) -> Value {
    Value::Protocol(L4Protocol(protocol.number()))
}

/// The door that the first fields of a key name, with the fields behind it.
pub(crate) fn door_of(key: &[Value]) -> Option<(Door, &[Value])> {
    match key {
        [Value::Address(address), Value::Protocol(protocol), Value::Port(port), rest @ ..] => {
            let door = Door::Address {
                address: *address,
                protocol: known(*protocol)?,
                port: Port::try_from(i64::from(*port)).ok()?,
            };
            Some((door, rest))
        }
        [Value::Protocol(protocol), Value::Port(port), rest @ ..] => {
            let door =
                Door::Node { protocol: known(*protocol)?, port: Port::try_from(i64::from(*port)).ok()? };
            Some((door, rest))
        }
        _ => None,
    }
}

fn known(protocol: L4Protocol) -> Option<Protocol> {
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|known| known.number() == protocol.0)
}
