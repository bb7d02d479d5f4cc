//! The table without any service in it.

use model::AddressFamily;
use netstate::nft::{
    BaseChain, Chain, ChainKind, ConnectionStatus, Family, Hook, Name, Operand, Policy, Rule, Ruleset,
    Selector, SetDefinition, Statement, Table, Type, Verdict, priority,
};

use crate::NodeContext;
use crate::door_words::{ADDRESS_DOOR, NODE_DOOR, address_type, pods, refuse, to_node_ports};

/// The table that leads IPv4 connections to relays.
pub const TABLE: Table = Table::new(Family::Ip, Name::constant("portolan-userspace"));

/// The same of IPv6.
pub const TABLE_IPV6: Table = Table::new(Family::Ip6, Name::constant("portolan-userspace"));

/// address . protocol . port → the relay's port.
pub(super) const PORTS: Name = Name::constant("ports");
/// address . protocol . port of doors that nobody serves → refuse or drop.
pub(super) const CLOSED: Name = Name::constant("closed");
/// As [`PORTS`], for connections from outside to doors that keep those to this node.
pub(super) const OUTSIDE_PORTS: Name = Name::constant("outside-ports");
/// As [`CLOSED`], of the same doors for the same connections.
pub(super) const OUTSIDE_CLOSED: Name = Name::constant("outside-closed");
/// protocol . port → the relay's port.
pub(super) const NODE_PORTS: Name = Name::constant("node-ports");
/// protocol . port of node ports that nobody serves → refuse or drop.
pub(super) const NODE_CLOSED: Name = Name::constant("node-closed");
/// As [`OUTSIDE_PORTS`], of node ports.
pub(super) const OUTSIDE_NODE_PORTS: Name = Name::constant("outside-node-ports");
/// As [`OUTSIDE_CLOSED`], of node ports.
pub(super) const OUTSIDE_NODE_CLOSED: Name = Name::constant("outside-node-closed");
/// address . protocol . port of doors with source ranges.
pub(super) const GUARDED: Name = Name::constant("guarded");
/// address . protocol . port . client of those doors: who may come in.
pub(super) const SOURCES: Name = Name::constant("sources");
/// Every virtual address.
pub(super) const ADDRESSES: Name = Name::constant("cluster-addresses");
/// protocol . port of every relay.
pub(super) const RELAYS: Name = Name::constant("relays");

const GUARD: Name = Name::constant("guard");
const INSIDE: Name = Name::constant("inside");
const OUTSIDE: Name = Name::constant("outside");
/// Where connections go that nobody serves.
pub(super) const REFUSE: Name = Name::constant("refuse");

/// The table of a family.
pub(super) fn table(family: AddressFamily) -> Table {
    match family {
        AddressFamily::V4 => TABLE,
        AddressFamily::V6 => TABLE_IPV6,
    }
}

/// The table without any service in it.
pub(super) fn skeleton(context: &NodeContext, family: AddressFamily) -> Ruleset {
    let mut ruleset = without_chains(family);
    let base = |kind, hook, priority, rules| {
        Chain::base(BaseChain { kind, hook, priority, policy: Policy::Accept }, rules)
    };
    let nat = |hook, rules| base(ChainKind::Nat, hook, priority::DESTINATION_NAT, rules);
    let jump = |chain| Rule::new([Verdict::Jump(chain).into()]);
    let to_inside =
        pods(context, family).into_iter().map(|pod| Rule::new([pod, Verdict::Goto(INSIDE).into()]));
    let prerouting =
        [jump(GUARD)].into_iter().chain(to_inside).chain([jump(OUTSIDE), jump(INSIDE)]).collect();
    ruleset.chains = [
        ("prerouting", nat(Hook::Prerouting, prerouting)),
        ("output", nat(Hook::Output, vec![jump(GUARD), jump(INSIDE)])),
        ("input", base(ChainKind::Filter, Hook::Input, priority::FILTER, vec![only_redirected()])),
    ]
    .map(|(name, chain)| (Name::constant(name), chain))
    .into();
    ruleset.chains.insert(GUARD, Chain::regular([only_from_sources()]));
    ruleset.chains.insert(INSIDE, Chain::regular(inside(context, family)));
    ruleset.chains.insert(OUTSIDE, Chain::regular(outside(context, family)));
    ruleset.chains.insert(REFUSE, Chain::regular(refuse()));
    ruleset
}

/// The table with its sets, all empty.
pub(super) fn without_chains(family: AddressFamily) -> Ruleset {
    Ruleset::of_sets(table(family), sets(family))
}

/// Every set and map with its definition.
fn sets(family: AddressFamily) -> [(Name, SetDefinition); 12] {
    const NODE: [Type; 2] = [Type::Protocol, Type::Port];
    let address = address_type(family);
    let door = [address, Type::Protocol, Type::Port];
    let client = [address, Type::Protocol, Type::Port, address];
    [
        (PORTS, SetDefinition::map(door, [Type::Port])),
        (CLOSED, SetDefinition::verdict_map(door)),
        (OUTSIDE_PORTS, SetDefinition::map(door, [Type::Port])),
        (OUTSIDE_CLOSED, SetDefinition::verdict_map(door)),
        (NODE_PORTS, SetDefinition::map(NODE, [Type::Port])),
        (NODE_CLOSED, SetDefinition::verdict_map(NODE)),
        (OUTSIDE_NODE_PORTS, SetDefinition::map(NODE, [Type::Port])),
        (OUTSIDE_NODE_CLOSED, SetDefinition::verdict_map(NODE)),
        (GUARDED, SetDefinition::set(door)),
        (SOURCES, SetDefinition::set(client).interval()),
        (ADDRESSES, SetDefinition::set([address])),
        (RELAYS, SetDefinition::set(NODE)),
    ]
}

fn only_from_sources() -> Rule {
    let [address, protocol, port] = ADDRESS_DOOR;
    Rule::new([
        Statement::within(ADDRESS_DOOR, GUARDED),
        Statement::not_within([address, protocol, port, Selector::SourceAddress], SOURCES),
        Verdict::Drop.into(),
    ])
}

/// Relays listen at every address of the node, but only for those who came through a door: the others would pass by
/// source ranges and policies.
fn only_redirected() -> Rule {
    let redirected = Operand::Statuses(vec![ConnectionStatus::DestinationNat]);
    Rule::new([
        Statement::within(NODE_DOOR, RELAYS),
        Statement::not_equal(Selector::ConnectionStatus, redirected),
        Verdict::Goto(REFUSE).into(),
    ])
}

fn inside(context: &NodeContext, family: AddressFamily) -> Vec<Rule> {
    let mut rules = vec![
        Rule::new([Statement::verdict_map(ADDRESS_DOOR, CLOSED)]),
        Rule::new([Statement::redirect_map(ADDRESS_DOOR, PORTS)]),
        // Without this a connection to a port that no service has would leave by the default route and
        // time out far away.
        Rule::new([
            Statement::within([Selector::DestinationAddress], ADDRESSES),
            Verdict::Goto(REFUSE).into(),
        ]),
    ];
    rules.extend(node_doors(context, family, NODE_CLOSED, NODE_PORTS));
    rules
}

fn outside(context: &NodeContext, family: AddressFamily) -> Vec<Rule> {
    let mut rules = vec![
        Rule::new([Statement::verdict_map(ADDRESS_DOOR, OUTSIDE_CLOSED)]),
        Rule::new([Statement::redirect_map(ADDRESS_DOOR, OUTSIDE_PORTS)]),
    ];
    rules.extend(node_doors(context, family, OUTSIDE_NODE_CLOSED, OUTSIDE_NODE_PORTS));
    rules
}

fn node_doors(context: &NodeContext, family: AddressFamily, closed: Name, ports: Name) -> Vec<Rule> {
    let ends = [Statement::verdict_map(NODE_DOOR, closed), Statement::redirect_map(NODE_DOOR, ports)];
    let here = to_node_ports(context, family);
    here.iter()
        .flat_map(|here| {
            ends.iter().map(|end| Rule::new([here.as_slice(), std::slice::from_ref(end)].concat()))
        })
        .collect()
}
