use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use netstate::nft::{
    BaseChain, Chain, ChainKind, Family, Hook, L4Protocol, Name, Policy, Reject, Rule, Ruleset, Selector,
    Set, SetDefinition, Statement, Table, Type, UpdateData, UpdateMode, Verdict, priority,
};

use crate::NodeContext;

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

const DISPATCH: Name = Name::constant("dispatch");
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

/// What makes one balancing chain different from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    pub(super) side: Side,
    /// How many endpoints, at least 1.
    pub(super) endpoints: u32,
    pub(super) affinity: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// Reached by the virtual address.
    Cluster,
    /// Reached by a port of the node.
    Node,
}

impl Shape {
    /// The chain's name: `cluster-3`, or `node-3-sticky-10800` when clients are remembered for that many
    /// seconds.
    pub(super) fn chain_name(&self) -> Name {
        let side = match self.side {
            Side::Cluster => "cluster",
            Side::Node => "node",
        };
        let name = match self.affinity {
            None => format!("{side}-{}", self.endpoints),
            Some(timeout) => format!("{side}-{}-sticky-{}", self.endpoints, timeout.as_secs()),
        };
        // Letters, dashes and two numbers of at most 20 digits: always a name.
        Name::new(&name).expect("a chain name of letters, dashes and numbers")
    }

    /// The chain itself.
    pub(super) fn chain(&self, context: &NodeContext) -> Chain {
        let mut rules = Vec::new();
        rules.extend(self.mark_rule(context));
        let pick = || self.pick();
        let map = || match self.side {
            Side::Cluster => ENDPOINTS,
            Side::Node => NODE_ENDPOINTS,
        };
        if let Some(timeout) = self.affinity {
            // A client that is remembered keeps its endpoint, since an update leaves the data of an
            // element alone; one that is not gets a random one. Either way the next rule finds it.
            rules.push(Rule::new([Statement::Update {
                mode: UpdateMode::Update,
                key: CLIENT.into(),
                data: UpdateData::Map { key: pick(), map: map() },
                timeout: Some(timeout),
                set: AFFINITY,
            }]));
            rules.push(Rule::new([Statement::dnat_map(CLIENT, AFFINITY)]));
        }
        // Behind the two rules above this is only reached when no more clients can be remembered.
        rules.push(Rule::new([Statement::dnat_map(pick(), map())]));
        Chain::regular(rules)
    }

    /// Key of a random endpoint.
    fn pick(&self) -> Vec<Selector> {
        let mut key = match self.side {
            Side::Cluster => CLUSTER_DOOR.to_vec(),
            Side::Node => NODE_DOOR.to_vec(),
        };
        key.push(Selector::Random { modulus: self.endpoints });
        key
    }

    /// Marks connections whose replies would otherwise not come back this way: all that came in by a node
    /// port, and those to a virtual address from a machine that is no pod.
    fn mark_rule(&self, context: &NodeContext) -> Option<Rule> {
        let mark = Statement::SetMark { mask: MASQUERADE_MARK, value: MASQUERADE_MARK };
        match self.side {
            Side::Node => Some(Rule::new([mark])),
            Side::Cluster => {
                let range = context.pod_range?;
                Some(Rule::new([Statement::not_equal(Selector::SourceAddress, range), mark]))
            }
        }
    }
}

/// The table without any service in it.
pub(super) fn skeleton() -> Ruleset {
    let mut ruleset = Ruleset::new(TABLE);
    for (name, definition) in sets() {
        ruleset.sets.insert(name, Set::new(definition));
    }
    let to_dispatch = || [Rule::new([Verdict::Jump(DISPATCH).into()])];
    let nat = |hook, priority| BaseChain { kind: ChainKind::Nat, hook, priority, policy: Policy::Accept };
    ruleset.chains = [
        (
            Name::constant("prerouting"),
            Chain::base(nat(Hook::Prerouting, priority::DESTINATION_NAT), to_dispatch()),
        ),
        (Name::constant("output"), Chain::base(nat(Hook::Output, priority::DESTINATION_NAT), to_dispatch())),
        (DISPATCH, Chain::regular(dispatch())),
        (REFUSE, Chain::regular(refuse())),
        (
            Name::constant("postrouting"),
            Chain::base(nat(Hook::Postrouting, priority::SOURCE_NAT), masquerade()),
        ),
    ]
    .into();
    ruleset
}

/// Every set and map with its definition.
pub(super) fn sets() -> [(Name, SetDefinition); 7] {
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
