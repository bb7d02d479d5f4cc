//! The table without any service in it: its names, sets and the chains that are always there.

use model::AddressFamily;
use netstate::nft::{
    BaseChain, Chain, ChainKind, ConnectionStatus, Data, Family, Hook, Name, Operand, Policy, Rule, Ruleset,
    Selector, SetDefinition, Statement, Table, Type, Value, Verdict, priority,
};

use crate::NodeContext;
use crate::door_words::{ADDRESS_DOOR, NODE_DOOR, address_type, refuse, to_node_ports};

/// The table that holds everything the IPv4 service proxy writes.
pub const TABLE: Table = Table::new(Family::Ip, Name::constant("portolan-services"));

/// The same of IPv6.
pub const TABLE_IPV6: Table = Table::new(Family::Ip6, Name::constant("portolan-services"));

/// The bit of the packet mark that says "masquerade me". It is kube-proxy's (`0x4000`), so that network
/// plugins which leave that bit alone for kube-proxy leave it alone for us.
pub const MASQUERADE_MARK: u32 = 0x4000;

/// address . protocol . port → the class in [`SHAPES`].
pub(super) const SERVICES: Name = Name::constant("services");
/// address . protocol . port . index → endpoint.
pub(super) const ENDPOINTS: Name = Name::constant("endpoints");
/// address . protocol . port . index → endpoint on this node, for connections from outside that must not leave it.
pub(super) const LOCAL_ENDPOINTS: Name = Name::constant("local-endpoints");
/// address . protocol . port of doors that only keep outsiders to this node → the class of
/// everybody else.
pub(super) const INSIDE: Name = Name::constant("inside");
/// protocol . port → the class in [`SHAPES`].
pub(super) const NODE_PORTS: Name = Name::constant("node-ports");
/// protocol . port . index → endpoint.
pub(super) const NODE_ENDPOINTS: Name = Name::constant("node-endpoints");
/// protocol . port . index → endpoint on this node, as [`LOCAL_ENDPOINTS`].
pub(super) const NODE_LOCAL_ENDPOINTS: Name = Name::constant("node-local-endpoints");
/// protocol . port, as [`INSIDE`].
pub(super) const NODE_INSIDE: Name = Name::constant("node-inside");
/// class → the chain that chooses an endpoint, and the like.
///
/// Doors lead there by a number because the kernel looks for loops whenever a commit adds a verdict that names a chain, and
/// walks all elements of all verdict maps for that: this one is as small as there are numbers of endpoints.
pub(super) const SHAPES: Name = Name::constant("shapes");
/// class → the chain that chooses an endpoint for insiders. A map of its own: the chains of [`SHAPES`] lead here.
pub(super) const INSIDE_SHAPES: Name = Name::constant("inside-shapes");
/// The class of connections that nobody serves.
pub(super) const REFUSED: u32 = 0x1000_0001;
/// The class of connections that only others serve.
pub(super) const DROPPED: u32 = 0x1000_0002;
/// address . protocol . port of doors with source ranges → the chain that lets those in.
pub(super) const FIREWALL: Name = Name::constant("firewall");
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

const DISPATCH: Name = Name::constant("dispatch");
const MASQUERADED: Name = Name::constant("masqueraded");
const TRANSLATED: Name = Name::constant("translated");
/// Where doors with source ranges let in whom they will. Empty without such doors.
pub(super) const GUARD: Name = Name::constant("sources");
/// Where clients are remembered. Empty without doors that remember any.
pub(super) const REMEMBER: Name = Name::constant("remember");
/// Where connections go that nobody serves.
pub(super) const REFUSE: Name = Name::constant("refuse");

/// Most clients that are remembered at a time. Further ones are balanced without a memory.
const AFFINITY_SIZE: u32 = 1 << 18;

/// The table of a family.
pub(super) fn table(family: AddressFamily) -> Table {
    match family {
        AddressFamily::V4 => TABLE,
        AddressFamily::V6 => TABLE_IPV6,
    }
}

/// The table without any service in it.
pub(super) fn skeleton(context: &NodeContext, family: AddressFamily) -> Ruleset {
    /// Before everybody else who translates sources: the first to do so ends the walk, and then clients
    /// would not be remembered.
    const POSTROUTING: i32 = priority::SOURCE_NAT - 1;
    let mut ruleset = without_chains(family);
    let nat = |hook, priority, rules| {
        let base = BaseChain { kind: ChainKind::Nat, hook, priority, policy: Policy::Accept };
        Chain::base(base, rules)
    };
    ruleset.chains = [
        ("prerouting", nat(Hook::Prerouting, priority::DESTINATION_NAT, vec![jump(DISPATCH)])),
        ("output", nat(Hook::Output, priority::DESTINATION_NAT, vec![jump(DISPATCH)])),
        ("input", nat(Hook::Input, POSTROUTING, vec![jump(REMEMBER)])),
        ("postrouting", nat(Hook::Postrouting, POSTROUTING, postrouting().into())),
    ]
    .map(|(name, chain)| (Name::constant(name), chain))
    .into();
    ruleset.chains.insert(DISPATCH, Chain::regular(dispatch(context, family)));
    ruleset.chains.insert(REFUSE, Chain::regular(refuse()));
    ruleset.chains.insert(MASQUERADED, Chain::regular(masqueraded()));
    ruleset.chains.insert(TRANSLATED, Chain::regular(translated()));
    if let Some(shapes) = ruleset.sets.get_mut(&SHAPES) {
        let shape = |class, verdict| (Value::ClassId(class).into(), Data::Verdict(verdict));
        shapes.elements = [shape(REFUSED, Verdict::Goto(REFUSE)), shape(DROPPED, Verdict::Drop)].into();
    }
    for filled_on_demand in [GUARD, REMEMBER] {
        ruleset.chains.insert(filled_on_demand, Chain::default());
    }
    ruleset
}

/// The table with its sets, all empty.
pub(super) fn without_chains(family: AddressFamily) -> Ruleset {
    Ruleset::of_sets(table(family), sets(family))
}

/// Every set and map with its definition.
fn sets(family: AddressFamily) -> [(Name, SetDefinition); 16] {
    const NODE: [Type; 2] = [Type::Protocol, Type::Port];
    const NODE_SLOT: [Type; 3] = [Type::Protocol, Type::Port, Type::Mark];
    let address = address_type(family);
    let door = [address, Type::Protocol, Type::Port];
    let slot = [address, Type::Protocol, Type::Port, Type::Mark];
    let target = [address, Type::Port];
    [
        (SERVICES, SetDefinition::map(door, [Type::ClassId])),
        (ENDPOINTS, SetDefinition::map(slot, target)),
        (LOCAL_ENDPOINTS, SetDefinition::map(slot, target)),
        (INSIDE, SetDefinition::map(door, [Type::ClassId])),
        (NODE_PORTS, SetDefinition::map(NODE, [Type::ClassId])),
        (NODE_ENDPOINTS, SetDefinition::map(NODE_SLOT, target)),
        (NODE_LOCAL_ENDPOINTS, SetDefinition::map(NODE_SLOT, target)),
        (NODE_INSIDE, SetDefinition::map(NODE, [Type::ClassId])),
        (SHAPES, SetDefinition::verdict_map([Type::ClassId])),
        (INSIDE_SHAPES, SetDefinition::verdict_map([Type::ClassId])),
        (FIREWALL, SetDefinition::verdict_map(door)),
        (ADDRESSES, SetDefinition::set([address])),
        (HAIRPIN, SetDefinition::set([address, address])),
        (AFFINITY, affinity_definition(family)),
        (STICKY, SetDefinition::verdict_map(door)),
        (STICKY_NODE_PORTS, SetDefinition::verdict_map(NODE)),
    ]
}

/// Definition of the map that remembers clients.
pub(super) fn affinity_definition(family: AddressFamily) -> SetDefinition {
    let address = address_type(family);
    SetDefinition::map([address, address, Type::Protocol, Type::Port], [address, Type::Port])
        .dynamic(AFFINITY_SIZE, None)
}

fn dispatch(context: &NodeContext, family: AddressFamily) -> Vec<Rule> {
    let mut rules = vec![
        jump(GUARD),
        Rule::new(by_class(&ADDRESS_DOOR, SERVICES, SHAPES)),
        // Without this a connection to a port that no service has would leave by the default route and
        // time out far away.
        Rule::new([
            Statement::within([Selector::DestinationAddress], ADDRESSES),
            Verdict::Goto(REFUSE).into(),
        ]),
    ];
    rules.extend(to_node_ports(context, family).into_iter().map(|mut statements| {
        statements.extend(by_class(&NODE_DOOR, NODE_PORTS, SHAPES));
        Rule::new(statements)
    }));
    rules
}

/// Leads on to the shape whose class a map of doors holds.
///
/// The class is carried in the packet's priority: of all that a rule can write and another look at, that is what others
/// miss least. The chain of the shape takes it off again.
pub(super) fn by_class(door: &[Selector], doors: Name, shapes: Name) -> [Statement; 2] {
    [Statement::priority_map(door, doors), Statement::verdict_map([Selector::Priority], shapes)]
}

fn jump(chain: Name) -> Rule {
    Rule::new([Verdict::Jump(chain).into()])
}

pub(super) fn guard() -> [Rule; 1] {
    [Rule::new([Statement::verdict_map(ADDRESS_DOOR, FIREWALL)])]
}

/// Writes down where clients were led, behind the translation: `nft` cannot print a rule that writes what
/// another map holds, and aborts.
pub(super) fn remember() -> [Rule; 2] {
    const ADDRESS: [Selector; 3] =
        [Selector::OriginalDestinationAddress, Selector::Protocol, Selector::OriginalDestinationPort];
    const NODE: [Selector; 2] = [Selector::Protocol, Selector::OriginalDestinationPort];
    [
        Rule::new([Statement::verdict_map(ADDRESS, STICKY)]),
        // Every connection that came in by a node port was translated. Another one to the same port number may
        // be remembered as well, which nobody will ask for.
        Rule::new([is_translated(), Statement::verdict_map(NODE, STICKY_NODE_PORTS)]),
    ]
}

/// What nobody translated is none of our business, and most connections are that: two glances, no lookup.
fn postrouting() -> [Rule; 2] {
    [
        Rule::new([Statement::marked(MASQUERADE_MARK, MASQUERADE_MARK), Verdict::Goto(MASQUERADED).into()]),
        Rule::new([is_translated(), Verdict::Goto(TRANSLATED).into()]),
    ]
}

fn is_translated() -> Statement {
    Statement::equal(Selector::ConnectionStatus, Operand::Statuses(vec![ConnectionStatus::DestinationNat]))
}

/// To masquerade ends the walk, so clients are remembered before.
fn masqueraded() -> [Rule; 2] {
    let unmark = Statement::SetMark { mask: MASQUERADE_MARK, value: 0 };
    [jump(REMEMBER), Rule::new([unmark, Statement::Masquerade { fully_random: true }])]
}

fn translated() -> [Rule; 2] {
    [
        jump(REMEMBER),
        // A pod that meets itself would answer itself directly, and see a connection it never made.
        Rule::new([
            Statement::within([Selector::SourceAddress, Selector::DestinationAddress], HAIRPIN),
            Statement::Masquerade { fully_random: true },
        ]),
    ]
}
