use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use netstate::nft::{
    BaseChain, Chain, ChainKind, Element, Family, Hook, L4Protocol, Name, Policy, Rule, Ruleset, Selector,
    Set, SetDefinition, Statement, Table, Type, Value, priority,
};

/// The table that keeps queries here; it goes with the process that answers them.
pub const HERE: Table = Table::new(Family::Ip, Name::constant("portolan-names-here"));
/// The table that leads queries to other nodes when nobody answers here.
pub const OTHERS: Table = Table::new(Family::Ip, Name::constant("portolan-names"));

const PREROUTING: Name = Name::constant("prerouting");
const OUTPUT: Name = Name::constant("output");
const SERVERS: Name = Name::constant("servers");

/// The port of names.
const PORT: u16 = 53;
/// In front of the services' table: what is translated there is translated no more.
const FIRST: i32 = priority::DESTINATION_NAT - 10;

/// Queries to the address and answers from it belong to no connection, and so are never translated.
pub fn here(address: Ipv4Addr) -> Ruleset {
    let address = IpAddr::V4(address);
    let mut rules = Vec::new();
    for protocol in [L4Protocol::UDP, L4Protocol::TCP] {
        for (place, port) in [
            (Selector::DestinationAddress, Selector::DestinationPort),
            (Selector::SourceAddress, Selector::SourcePort),
        ] {
            rules.push(Rule::new([
                Statement::equal(place, address),
                Statement::equal(Selector::Protocol, protocol),
                Statement::equal(port, Value::Port(PORT)),
                Statement::NoTrack,
            ]));
        }
    }
    let mut ruleset = Ruleset::new(HERE);
    for (name, hook) in [(PREROUTING, Hook::Prerouting), (OUTPUT, Hook::Output)] {
        let base =
            BaseChain { kind: ChainKind::Filter, hook, priority: priority::RAW, policy: Policy::Accept };
        ruleset.chains.insert(name, Chain::base(base, rules.clone()));
    }
    ruleset
}

/// Queries to the address go to one of these servers. Without any, they are left to whoever comes next.
pub fn others(address: Ipv4Addr, servers: &BTreeSet<Ipv4Addr>) -> Ruleset {
    let mut set = Set::new(SetDefinition::map([Type::Mark], [Type::Ipv4Address, Type::Port]));
    for (number, server) in (0..).zip(servers) {
        let element =
            Element::values([Value::Mark(number)], [Value::Address(IpAddr::V4(*server)), Value::Port(PORT)]);
        set.elements.insert(element.key, element.data);
    }
    let modulus = u32::try_from(servers.len()).unwrap_or(u32::MAX);
    let mut rules = Vec::new();
    for protocol in [L4Protocol::UDP, L4Protocol::TCP].into_iter().filter(|_| modulus > 0) {
        rules.push(Rule::new([
            Statement::equal(Selector::DestinationAddress, IpAddr::V4(address)),
            Statement::equal(Selector::Protocol, protocol),
            Statement::equal(Selector::DestinationPort, Value::Port(PORT)),
            Statement::dnat_map([Selector::Random { modulus }], SERVERS),
        ]));
    }
    let mut ruleset = Ruleset::new(OTHERS);
    for (name, hook) in [(PREROUTING, Hook::Prerouting), (OUTPUT, Hook::Output)] {
        let base = BaseChain { kind: ChainKind::Nat, hook, priority: FIRST, policy: Policy::Accept };
        ruleset.chains.insert(name, Chain::base(base, rules.clone()));
    }
    ruleset.sets.insert(SERVERS, set);
    ruleset
}
