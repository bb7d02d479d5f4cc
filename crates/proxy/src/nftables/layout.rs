use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use netstate::nft::{
    BaseChain, Chain, ChainKind, Family, Hook, L4Protocol, Name, Policy, Reject, Rule, Ruleset, Selector,
    Set, SetDefinition, Statement, Table, Type, UpdateData, UpdateMode, Value, Verdict, priority,
};

use crate::{LocalTraffic, NodeContext};

/// The table that holds everything the IPv4 service proxy writes.
pub const TABLE: Table = Table::new(Family::Ip, Name::constant("portolan-services"));

/// The bit of the packet mark that says "masquerade me". It is kube-proxy's (`0x4000`), so that network
/// plugins which leave that bit alone for kube-proxy leave it alone for us.
pub const MASQUERADE_MARK: u32 = 0x4000;

/// address . protocol . port → the chain for that many endpoints.
pub(super) const SERVICES: Name = Name::constant("services");
/// address . protocol . port . index → endpoint.
pub(super) const ENDPOINTS: Name = Name::constant("endpoints");
/// protocol . port → the chain for that many endpoints.
pub(super) const NODE_PORTS: Name = Name::constant("node-ports");
/// protocol . port . index → endpoint.
pub(super) const NODE_ENDPOINTS: Name = Name::constant("node-endpoints");
/// Every virtual address.
pub(super) const ADDRESSES: Name = Name::constant("cluster-addresses");
/// Each local endpoint's address twice.
pub(super) const HAIRPIN: Name = Name::constant("hairpin");
/// client . address . protocol . port → the endpoint it stays with. Written by packets.
pub(super) const AFFINITY: Name = Name::constant("affinity");
/// address . protocol . port of services that remember their clients → the chain that does.
pub(super) const STICKY: Name = Name::constant("sticky");
/// protocol . port of node ports whose service remembers its clients → the chain that does.
pub(super) const STICKY_NODE_PORTS: Name = Name::constant("sticky-node-ports");

/// A connection takes one of so many cycles by chance, and in it the endpoint whose turn it is.
///
/// One cycle alone would be perfectly even, but predictable: a client that asks two services with as many endpoints
/// in alternation would always get the same one of each. Chance alone strays by √n connections in n. Together no
/// endpoint is ever more than this number of connections ahead of another, and nobody can tell which one is next.
const CYCLES: u32 = 4;

const DISPATCH: Name = Name::constant("dispatch");
const REMEMBER: Name = Name::constant("remember");
/// Where connections go that nobody serves.
pub(super) const REFUSE: Name = Name::constant("refuse");

/// Most clients that are remembered at a time. Further ones are balanced without a memory.
const AFFINITY_SIZE: u32 = 1 << 18;

const LOOPBACK: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8));

const CLUSTER_DOOR: [Selector; 3] =
    [Selector::DestinationAddress, Selector::Protocol, Selector::DestinationPort];
const NODE_DOOR: [Selector; 2] = [Selector::Protocol, Selector::DestinationPort];
const CLIENT: [Selector; 4] =
    [Selector::SourceAddress, Selector::DestinationAddress, Selector::Protocol, Selector::DestinationPort];

/// A chain that is there for as long as a door needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shape {
    /// Chooses among that many endpoints, at least 1.
    Balance { side: Side, endpoints: u32, sticky: bool },
    /// Remembers for that long where a client was led.
    Remember { timeout: Duration },
}

/// How a connection came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// By a virtual address.
    Cluster,
    /// By a port of the node.
    Node,
}

impl Shape {
    /// The chain's name: `cluster-3`, `node-3`, `cluster-3-sticky`, `remember-10800` (seconds).
    pub(super) fn chain_name(&self) -> Name {
        let name = match self {
            Self::Balance { side: Side::Cluster, endpoints, sticky: false } => format!("cluster-{endpoints}"),
            Self::Balance { side: Side::Cluster, endpoints, sticky: true } => {
                format!("cluster-{endpoints}-sticky")
            }
            Self::Balance { side: Side::Node, endpoints, sticky: false } => format!("node-{endpoints}"),
            Self::Balance { side: Side::Node, endpoints, sticky: true } => format!("node-{endpoints}-sticky"),
            Self::Remember { timeout } => format!("remember-{}", timeout.as_secs()),
        };
        // Letters, dashes and a number of at most 20 digits: always a name.
        Name::new(&name).expect("a chain name of letters, dashes and a number")
    }

    /// The chain itself.
    pub(super) fn chain(&self, context: &NodeContext) -> Chain {
        match *self {
            Self::Balance { side, endpoints, sticky } => {
                Chain::regular(balance(context, side, endpoints, sticky))
            }
            Self::Remember { timeout } => Chain::regular([remember_for(timeout)]),
        }
    }
}

fn balance(context: &NodeContext, side: Side, endpoints: u32, sticky: bool) -> Vec<Rule> {
    let (door, map) = match side {
        Side::Cluster => (CLUSTER_DOOR.as_slice(), ENDPOINTS),
        Side::Node => (NODE_DOOR.as_slice(), NODE_ENDPOINTS),
    };
    let mut rules = Vec::new();
    rules.extend(mark(context, side));
    if sticky {
        rules.push(Rule::new([Statement::dnat_map(CLIENT, AFFINITY)]));
    }
    let mut slot = door.to_vec();
    slot.push(Selector::Turn { modulus: endpoints });
    let in_turn = || Statement::dnat_map(slot.clone(), map.clone());
    // With one endpoint there is nothing to choose.
    let cycles = if endpoints == 1 { 1 } else { CYCLES };
    for left in (2..=cycles).rev() {
        let chance = Statement::equal(Selector::Random { modulus: left }, Value::Mark(0));
        rules.push(Rule::new([chance, in_turn()]));
    }
    rules.push(Rule::new([in_turn()]));
    rules
}

/// Marks connections whose replies would otherwise not come back this way: all that came in by a node
/// port, and those to a virtual address from a machine that is no pod.
fn mark(context: &NodeContext, side: Side) -> Option<Rule> {
    let mark = Statement::SetMark { mask: MASQUERADE_MARK, value: MASQUERADE_MARK };
    match side {
        Side::Node => Some(Rule::new([mark])),
        Side::Cluster => {
            let LocalTraffic::Ranges(ranges) = &context.pods else {
                return None;
            };
            let strangers = ranges.iter().filter(|range| matches!(range, IpNet::V4(_)));
            let mut statements: Vec<Statement> =
                strangers.map(|range| Statement::not_equal(Selector::SourceAddress, *range)).collect();
            statements.push(mark);
            (statements.len() > 1).then(|| Rule::new(statements))
        }
    }
}

/// By now the packet carries the endpoint that was chosen, and its connection what the client asked for.
/// A client that is remembered keeps its endpoint, since an update leaves the data of an element alone.
fn remember_for(timeout: Duration) -> Rule {
    Rule::new([Statement::Update {
        mode: UpdateMode::Update,
        key: vec![
            Selector::SourceAddress,
            Selector::OriginalDestinationAddress,
            Selector::Protocol,
            Selector::OriginalDestinationPort,
        ],
        data: UpdateData::Selectors(vec![Selector::DestinationAddress, Selector::DestinationPort]),
        timeout: Some(timeout),
        set: AFFINITY,
    }])
}

/// The table without any service in it.
pub(super) fn skeleton() -> Ruleset {
    /// Before everybody else who translates sources: the first to do so ends the walk, and then clients
    /// would not be remembered.
    const POSTROUTING: i32 = priority::SOURCE_NAT - 1;
    let mut ruleset = Ruleset::new(TABLE);
    for (name, definition) in sets() {
        ruleset.sets.insert(name, Set::new(definition));
    }
    let nat = |hook, priority, rules| {
        let base = BaseChain { kind: ChainKind::Nat, hook, priority, policy: Policy::Accept };
        Chain::base(base, rules)
    };
    let jump = |chain| Rule::new([Verdict::Jump(chain).into()]);
    let postrouting = [vec![jump(REMEMBER)], masquerade().into()].concat();
    ruleset.chains = [
        ("prerouting", nat(Hook::Prerouting, priority::DESTINATION_NAT, vec![jump(DISPATCH)])),
        ("output", nat(Hook::Output, priority::DESTINATION_NAT, vec![jump(DISPATCH)])),
        ("input", nat(Hook::Input, POSTROUTING, vec![jump(REMEMBER)])),
        ("postrouting", nat(Hook::Postrouting, POSTROUTING, postrouting)),
    ]
    .map(|(name, chain)| (Name::constant(name), chain))
    .into();
    ruleset.chains.insert(DISPATCH, Chain::regular(dispatch()));
    ruleset.chains.insert(REFUSE, Chain::regular(refuse()));
    ruleset.chains.insert(REMEMBER, Chain::regular(remember()));
    ruleset
}

/// Every set and map with its definition.
pub(super) fn sets() -> [(Name, SetDefinition); 9] {
    const CLUSTER: [Type; 3] = [Type::Ipv4Address, Type::Protocol, Type::Port];
    const CLUSTER_SLOT: [Type; 4] = [Type::Ipv4Address, Type::Protocol, Type::Port, Type::Mark];
    const NODE: [Type; 2] = [Type::Protocol, Type::Port];
    const NODE_SLOT: [Type; 3] = [Type::Protocol, Type::Port, Type::Mark];
    const TARGET: [Type; 2] = [Type::Ipv4Address, Type::Port];
    [
        (SERVICES, SetDefinition::verdict_map(CLUSTER)),
        (ENDPOINTS, SetDefinition::map(CLUSTER_SLOT, TARGET)),
        (NODE_PORTS, SetDefinition::verdict_map(NODE)),
        (NODE_ENDPOINTS, SetDefinition::map(NODE_SLOT, TARGET)),
        (ADDRESSES, SetDefinition::set([Type::Ipv4Address])),
        (HAIRPIN, SetDefinition::set([Type::Ipv4Address, Type::Ipv4Address])),
        (AFFINITY, affinity_definition()),
        (STICKY, SetDefinition::verdict_map(CLUSTER)),
        (STICKY_NODE_PORTS, SetDefinition::verdict_map(NODE)),
    ]
}

/// Definition of the map that remembers clients.
pub(super) fn affinity_definition() -> SetDefinition {
    const CLIENT: [Type; 4] = [Type::Ipv4Address, Type::Ipv4Address, Type::Protocol, Type::Port];
    SetDefinition::map(CLIENT, [Type::Ipv4Address, Type::Port]).dynamic(AFFINITY_SIZE, None)
}

fn dispatch() -> [Rule; 3] {
    [
        Rule::new([Statement::verdict_map(CLUSTER_DOOR, SERVICES)]),
        // Without this a connection to a port that no service has would leave by the default route and
        // time out far away.
        Rule::new([
            Statement::within([Selector::DestinationAddress], ADDRESSES),
            Verdict::Goto(REFUSE).into(),
        ]),
        // Not on loopback, as kube-proxy's nftables mode has it: the kernel drops what it translates away
        // from there (unless route_localnet is set, which opens the node's loopback to its neighbours).
        Rule::new([
            Statement::not_equal(Selector::DestinationAddress, LOOPBACK),
            Statement::to_this_node(),
            Statement::verdict_map(NODE_DOOR, NODE_PORTS),
        ]),
    ]
}

/// Writes down where clients were led, behind the translation: `nft` cannot print a rule that writes what
/// another map holds, and aborts.
fn remember() -> [Rule; 2] {
    const CLUSTER: [Selector; 3] =
        [Selector::OriginalDestinationAddress, Selector::Protocol, Selector::OriginalDestinationPort];
    const NODE: [Selector; 2] = [Selector::Protocol, Selector::OriginalDestinationPort];
    [
        Rule::new([Statement::verdict_map(CLUSTER, STICKY)]),
        // Every connection that came in by a node port is marked. Another one to the same port number may
        // be remembered as well, which nobody will ask for.
        Rule::new([
            Statement::marked(MASQUERADE_MARK, MASQUERADE_MARK),
            Statement::verdict_map(NODE, STICKY_NODE_PORTS),
        ]),
    ]
}

fn refuse() -> [Rule; 2] {
    [
        Rule::new([
            Statement::equal(Selector::Protocol, L4Protocol::TCP),
            Statement::Reject(Reject::TcpReset),
        ]),
        Rule::new([Statement::Reject(Reject::PortUnreachable)]),
    ]
}

fn masquerade() -> [Rule; 2] {
    let masquerade = Statement::Masquerade { fully_random: true };
    [
        Rule::new([
            Statement::marked(MASQUERADE_MARK, MASQUERADE_MARK),
            Statement::SetMark { mask: MASQUERADE_MARK, value: 0 },
            masquerade.clone(),
        ]),
        // A pod that meets itself would answer itself directly, and see a connection it never made.
        Rule::new([
            Statement::within([Selector::SourceAddress, Selector::DestinationAddress], HAIRPIN),
            masquerade,
        ]),
    ]
}
