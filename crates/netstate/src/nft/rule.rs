//! Rules: what a packet is asked, and what happens to it.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::{Family, InterfaceName, L4Protocol, Name, Type, Value};

/// One rule of a chain: statements worked off from left to right until one does not match or ends the walk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// The statements in order.
    pub statements: Vec<Statement>,
}

impl Rule {
    /// A rule of these statements.
    pub fn new(statements: impl Into<Vec<Statement>>) -> Self {
        Self { statements: statements.into() }
    }
}

/// Something that a packet, its connection or chance yields.
///
/// Addresses are those of the table's family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    /// `ip saddr` or `ip6 saddr`.
    SourceAddress,
    /// `ip daddr` or `ip6 daddr`.
    DestinationAddress,
    /// `meta l4proto`.
    Protocol,
    /// `th sport`; only meaningful for protocols with ports.
    SourcePort,
    /// `th dport`; only meaningful for protocols with ports.
    DestinationPort,
    /// `iifname`; empty in output and postrouting of the node's own packets.
    InputInterface,
    /// `oifname`; known after routing (output, forward, postrouting).
    OutputInterface,
    /// `meta mark`.
    Mark,
    /// `meta priority`: what the queueing disciplines of the outgoing interface go by.
    Priority,
    /// `fib saddr type`: what kind of address the source is on this node.
    SourceType,
    /// `fib daddr type`: what kind of address the destination is on this node.
    DestinationType,
    /// `ct state`.
    ConnectionState,
    /// `ct status`.
    ConnectionStatus,
    /// `ct original ip daddr`: where the client wanted to go, before any translation.
    OriginalDestinationAddress,
    /// `ct original proto-dst`: the port that the client wanted.
    OriginalDestinationPort,
    /// `numgen random mod N`: a fresh number from 0 to `modulus` - 1. In a key its field has [`Type::Mark`].
    Random {
        /// How many numbers there are; at least 1.
        modulus: u32,
    },
    /// `numgen inc mod N`: the numbers from 0 to `modulus` - 1 in turn. Each rule has a counter of its own, which starts
    /// anew when its chain is replaced. In a key its field has [`Type::Mark`].
    Turn {
        /// How many numbers there are; at least 1.
        modulus: u32,
    },
}

impl Selector {
    /// The type of a key field that this selector can fill; `None` for those that cannot be a key field.
    pub const fn key_type(self, family: Family) -> Option<Type> {
        match self {
            Self::SourceAddress | Self::DestinationAddress | Self::OriginalDestinationAddress => {
                Some(match family {
                    Family::Ip => Type::Ipv4Address,
                    Family::Ip6 => Type::Ipv6Address,
                })
            }
            Self::Protocol => Some(Type::Protocol),
            Self::SourcePort | Self::DestinationPort | Self::OriginalDestinationPort => Some(Type::Port),
            Self::InputInterface | Self::OutputInterface => Some(Type::Interface),
            Self::Priority => Some(Type::ClassId),
            Self::Mark | Self::Random { .. } | Self::Turn { .. } => Some(Type::Mark),
            Self::SourceType | Self::DestinationType | Self::ConnectionState | Self::ConnectionStatus => None,
        }
    }
}

/// What a selector is compared with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operand {
    /// Exactly this value; a [`Value::Prefix`] means any address within.
    Value(Value),
    /// A value from the first to the second, both included. Ports and addresses only.
    Range(Value, Value),
    /// For [`Selector::Mark`]: `mark & mask == value`.
    MaskedMark {
        /// The bits that count.
        mask: u32,
        /// What they must be; within `mask`.
        value: u32,
    },
    /// For [`Selector::SourceType`] and [`Selector::DestinationType`].
    AddressType(AddressType),
    /// For interfaces: the name begins so.
    InterfacePrefix(InterfaceName),
    /// For [`Selector::ConnectionState`]: any of these.
    States(Vec<ConnectionState>),
    /// For [`Selector::ConnectionStatus`]: any of these.
    Statuses(Vec<ConnectionStatus>),
}

impl From<Value> for Operand {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

impl From<IpAddr> for Operand {
    fn from(address: IpAddr) -> Self {
        Self::Value(Value::Address(address))
    }
}

impl From<IpNet> for Operand {
    fn from(net: IpNet) -> Self {
        Self::Value(Value::prefix(net))
    }
}

impl From<L4Protocol> for Operand {
    fn from(protocol: L4Protocol) -> Self {
        Self::Value(Value::Protocol(protocol))
    }
}

impl From<InterfaceName> for Operand {
    fn from(interface: InterfaceName) -> Self {
        Self::Value(Value::Interface(interface))
    }
}

impl From<AddressType> for Operand {
    fn from(kind: AddressType) -> Self {
        Self::AddressType(kind)
    }
}

/// Kinds of address as the routing table sees them (`RTN_*` of linux/rtnetlink.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressType {
    /// A neighbour's, or reached through a gateway.
    Unicast,
    /// The node's own.
    Local,
    /// A broadcast address of one of the node's links.
    Broadcast,
    /// A multicast address.
    Multicast,
}

/// Connection tracking's view of a packet, `ct state`. Kept in ascending order in an [`Operand`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnectionState {
    /// Fits no connection.
    Invalid,
    /// Belongs to a connection that has seen packets both ways.
    Established,
    /// Belongs to another connection, such as an ICMP error.
    Related,
    /// Starts a connection.
    New,
    /// Not tracked on purpose.
    Untracked,
}

/// What happened to a connection so far, `ct status`. Kept in ascending order in an [`Operand`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnectionStatus {
    /// Its source is translated.
    SourceNat,
    /// Its destination is translated.
    DestinationNat,
}

/// How a comparison comes out true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Comparison {
    /// The selector is the operand, or within it.
    Equal,
    /// It is not.
    NotEqual,
}

/// Where a packet goes on, or that it ends here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Let it pass this hook.
    Accept,
    /// Throw it away silently.
    Drop,
    /// Go on with the next rule.
    Continue,
    /// Back to the chain that jumped here; in a base chain: apply its policy.
    Return,
    /// Walk another chain and come back after it.
    Jump(Name),
    /// Walk another chain and do not come back.
    Goto(Name),
}

/// How a packet is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reject {
    /// A TCP reset; the rule must have matched protocol TCP before.
    TcpReset,
    /// ICMP (or ICMPv6) port unreachable.
    PortUnreachable,
    /// ICMP (or ICMPv6) administratively prohibited.
    AdminProhibited,
}

/// Where a destination is translated to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NatTarget {
    /// Always there. Without a port the packet keeps its own.
    Address {
        /// The new address, of the table's family.
        address: IpAddr,
        /// The new port.
        port: Option<u16>,
    },
    /// To the `address . port` that this map holds under the key; no element: the rule does not match.
    Map {
        /// What the key is made of.
        key: Vec<Selector>,
        /// A map whose data are an address and a port.
        map: Name,
    },
}

/// What a packet's priority becomes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PacketPriority {
    /// Always this; 0, which nft calls `none`, is that of most packets.
    Value(u32),
    /// What this map holds under the key; no element: the rule does not match.
    Map {
        /// What the key is made of.
        key: Vec<Selector>,
        /// A map whose data are a [`Type::ClassId`].
        map: Name,
    },
}

/// What a rule writes into a dynamic map as an element's data.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UpdateData {
    /// Nothing: the target is a plain set.
    Nothing,
    /// What the packet itself yields.
    Selectors(Vec<Selector>),
}

/// How a rule writes into a dynamic set or map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UpdateMode {
    /// Add the element unless it is there; one that is there keeps its timeout.
    Add,
    /// Add the element unless it is there; one that is there **keeps its data**, and its timeout starts again.
    Update,
}

/// One part of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Statement {
    /// Go on only if the comparison is true.
    Match {
        /// What is looked at.
        selector: Selector,
        /// Equal or not.
        comparison: Comparison,
        /// What it is compared with.
        operand: Operand,
    },
    /// Go on only if the set holds the key (or, `NotEqual`, does not).
    Lookup {
        /// What the key is made of.
        key: Vec<Selector>,
        /// `Equal`: must be in the set.
        comparison: Comparison,
        /// A set, or a map of which only the keys count.
        set: Name,
    },
    /// Do what the verdict map says for the key; no element: go on with the next rule.
    VerdictMap {
        /// What the key is made of.
        key: Vec<Selector>,
        /// The verdict map.
        map: Name,
    },
    /// `notrack`: no connection tracking for this packet, and so no translation. Only in filter chains in front of it,
    /// at [`priority::RAW`](super::priority::RAW), at prerouting and output.
    NoTrack,
    /// Count packets and bytes. Counts are runtime state and no part of a comparison.
    Counter,
    /// `meta mark set`: the bits of `mask` become those of `value`, the others stay. `mask` = `u32::MAX` sets it whole.
    SetMark {
        /// The bits that change.
        mask: u32,
        /// What they become; within `mask`.
        value: u32,
    },
    /// `meta priority set`. A packet that this host forwards over IPv4 gets the priority of its TOS afterwards, whatever it
    /// had before (`ip_forward` of net/ipv4/ip_forward.c), unless `net.ipv4.ip_forward_update_priority` is 0.
    SetPriority(PacketPriority),
    /// Write into a dynamic set or map; ends the rule when the set is full.
    ///
    /// Session affinity reads before the translation and writes behind it. In the chain that balances:
    /// `dnat ip to ip saddr . ip daddr . meta l4proto . th dport map @affinity`, then a rule with a random endpoint.
    /// In `nat` chains at postrouting (before any masquerade) and input, which like all `nat` chains see only the
    /// first packet of a connection, the packet carries the endpoint that was chosen, and `ct original` what the
    /// client asked for:
    /// `update @affinity { ip saddr . ct original ip daddr . meta l4proto . ct original proto-dst timeout 3h
    /// : ip daddr . th dport }`, reached by a verdict map (`jump`) over `ct original` for services with affinity alone. An element that is
    /// there keeps its endpoint and lives on.
    Update {
        /// Add or update.
        mode: UpdateMode,
        /// What the key is made of.
        key: Vec<Selector>,
        /// The data, for a map.
        data: UpdateData,
        /// Life of the element, in whole seconds; `None` is the set's own.
        timeout: Option<Duration>,
        /// A set of kind [`SetKind::Dynamic`](super::SetKind::Dynamic).
        set: Name,
    },
    /// Translate the destination and end the walk. Only in `nat` chains at prerouting and output.
    DestinationNat(NatTarget),
    /// Translate the destination to this node itself, to the port that the map holds under the key, and end the walk; no
    /// element: the rule does not match. Only in `nat` chains at prerouting and output.
    ///
    /// The address is the first one of the interface that the packet arrived on (one without an address: it is
    /// dropped), and at output the loopback address.
    Redirect {
        /// What the key is made of.
        key: Vec<Selector>,
        /// A map whose data are a port.
        map: Name,
    },
    /// Translate the source to the address of the outgoing interface and end the walk. Only in `nat` chains at postrouting.
    Masquerade {
        /// Choose ports at random, which avoids clashes under load (`fully-random`).
        fully_random: bool,
    },
    /// Refuse the packet and tell the sender. Only at prerouting, input, forward and output.
    Reject(Reject),
    /// A verdict.
    Verdict(Verdict),
    /// Something in the kernel that these types do not know; equal to nothing that we plan, so a chain with it is rewritten.
    Foreign {
        /// What was found, for people.
        expression: String,
    },
}

impl Statement {
    /// `selector == operand`.
    pub fn equal(selector: Selector, operand: impl Into<Operand>) -> Self {
        Self::Match { selector, comparison: Comparison::Equal, operand: operand.into() }
    }

    /// `selector != operand`.
    pub fn not_equal(selector: Selector, operand: impl Into<Operand>) -> Self {
        Self::Match { selector, comparison: Comparison::NotEqual, operand: operand.into() }
    }

    /// The packet's mark has exactly `value` in the bits of `mask`.
    pub fn marked(mask: u32, value: u32) -> Self {
        Self::equal(Selector::Mark, Operand::MaskedMark { mask, value })
    }

    /// The source is one of the node's own addresses.
    pub fn from_this_node() -> Self {
        Self::equal(Selector::SourceType, AddressType::Local)
    }

    /// The destination is one of the node's own addresses.
    pub fn to_this_node() -> Self {
        Self::equal(Selector::DestinationType, AddressType::Local)
    }

    /// The set holds the key.
    pub fn within(key: impl Into<Vec<Selector>>, set: Name) -> Self {
        Self::Lookup { key: key.into(), comparison: Comparison::Equal, set }
    }

    /// The set does not hold the key.
    pub fn not_within(key: impl Into<Vec<Selector>>, set: Name) -> Self {
        Self::Lookup { key: key.into(), comparison: Comparison::NotEqual, set }
    }

    /// Go where the verdict map says.
    pub fn verdict_map(key: impl Into<Vec<Selector>>, map: Name) -> Self {
        Self::VerdictMap { key: key.into(), map }
    }

    /// The packet gets the priority that the map holds.
    pub fn priority_map(key: impl Into<Vec<Selector>>, map: Name) -> Self {
        Self::SetPriority(PacketPriority::Map { key: key.into(), map })
    }

    /// Translate the destination to what the map holds.
    pub fn dnat_map(key: impl Into<Vec<Selector>>, map: Name) -> Self {
        Self::DestinationNat(NatTarget::Map { key: key.into(), map })
    }

    /// Translate the destination to this node, at the port that the map holds.
    pub fn redirect_map(key: impl Into<Vec<Selector>>, map: Name) -> Self {
        Self::Redirect { key: key.into(), map }
    }

    /// The set or map that this statement needs, if any.
    pub const fn set(&self) -> Option<&Name> {
        match self {
            Self::Lookup { set, .. }
            | Self::VerdictMap { map: set, .. }
            | Self::Update { set, .. }
            | Self::Redirect { map: set, .. }
            | Self::SetPriority(PacketPriority::Map { map: set, .. })
            | Self::DestinationNat(NatTarget::Map { map: set, .. }) => Some(set),
            Self::Match { .. }
            | Self::NoTrack
            | Self::Counter
            | Self::SetMark { .. }
            | Self::SetPriority(PacketPriority::Value(_))
            | Self::DestinationNat(NatTarget::Address { .. })
            | Self::Masquerade { .. }
            | Self::Reject(_)
            | Self::Verdict(_)
            | Self::Foreign { .. } => None,
        }
    }

    /// The chain that this statement names itself, if any.
    pub const fn chain(&self) -> Option<&Name> {
        match self {
            Self::Verdict(verdict) => verdict.chain(),
            _ => None,
        }
    }
}

impl Verdict {
    /// The chain that this verdict leads to, if any.
    pub const fn chain(&self) -> Option<&Name> {
        match self {
            Self::Jump(chain) | Self::Goto(chain) => Some(chain),
            Self::Accept | Self::Drop | Self::Continue | Self::Return => None,
        }
    }
}

impl From<Verdict> for Statement {
    fn from(verdict: Verdict) -> Self {
        Self::Verdict(verdict)
    }
}
