use std::time::Duration;

use ipnet::IpNet;

use super::*;
use crate::nft::{
    Chain, ConnectionState, Data, FakeNft, InterfaceName, L4Protocol, NftPort, Rule, Selector, Set,
    SetDefinition, Statement, Type, UpdateData, UpdateMode, Value, diff, priority,
};

const SERVICES: Name = Name::constant("services");
const ENDPOINTS: Name = Name::constant("endpoints");
const AFFINITY: Name = Name::constant("affinity");
const LB: Name = Name::constant("lb-2");
const DOOR: [Selector; 3] = [Selector::DestinationAddress, Selector::Protocol, Selector::DestinationPort];

fn base(kind: ChainKind, hook: Hook, priority: i32) -> BaseChain {
    BaseChain { kind, hook, priority, policy: Policy::Accept }
}

fn address(text: &str) -> Value {
    Value::Address(text.parse().unwrap())
}

/// One service, 10.96.0.1:80, with two endpoints; clients outside 10.244.0.0/16 are masqueraded.
fn service(sticky: bool) -> Ruleset {
    let mut ruleset = Ruleset::new(Table::new(Family::Ip, Name::constant("t")));
    let ip = Type::Ipv4Address;
    let door = [address("10.96.0.1"), L4Protocol::TCP.into(), Value::Port(80)];
    let mut services = Set::new(SetDefinition::verdict_map([ip, Type::Protocol, Type::Port]));
    services.elements.insert(door.into(), Data::Verdict(Verdict::Goto(LB)));
    let mut endpoints =
        Set::new(SetDefinition::map([ip, Type::Protocol, Type::Port, Type::Mark], [ip, Type::Port]));
    for (index, endpoint) in [(0, "10.244.1.2"), (1, "10.244.2.2")] {
        let key = [door[0], door[1], door[2], Value::Mark(index)];
        endpoints.elements.insert(key.into(), Data::Values([address(endpoint), Value::Port(8080)].into()));
    }
    let affinity = SetDefinition::map([ip, ip, Type::Protocol, Type::Port], [ip, Type::Port]);
    ruleset.sets.insert(AFFINITY, Set::new(affinity.dynamic(10, Some(Duration::from_secs(60)))));
    ruleset.sets.insert(SERVICES, services);
    ruleset.sets.insert(ENDPOINTS, endpoints);

    let pick = [DOOR[0], DOOR[1], DOOR[2], Selector::Random { modulus: 2 }];
    let client = [Selector::SourceAddress, DOOR[0], DOOR[1], DOOR[2]];
    let mut balance = vec![
        Rule::new([
            Statement::not_equal(Selector::SourceAddress, "10.244.0.0/16".parse::<IpNet>().unwrap()),
            Statement::SetMark { mask: 0x4000, value: 0x4000 },
        ]),
        Rule::new([Statement::dnat_map(pick, ENDPOINTS)]),
    ];
    let mut leave =
        vec![Rule::new([Statement::marked(0x4000, 0x4000), Statement::Masquerade { fully_random: true }])];
    if sticky {
        balance.insert(1, Rule::new([Statement::dnat_map(client, AFFINITY)]));
        leave.insert(
            0,
            Rule::new([Statement::Update {
                mode: UpdateMode::Update,
                key: vec![
                    Selector::SourceAddress,
                    Selector::OriginalDestinationAddress,
                    Selector::Protocol,
                    Selector::OriginalDestinationPort,
                ],
                data: UpdateData::Selectors(vec![Selector::DestinationAddress, Selector::DestinationPort]),
                timeout: None,
                set: AFFINITY,
            }]),
        );
    }
    let dispatch = || [Rule::new([Statement::verdict_map(DOOR, SERVICES)])];
    ruleset.chains.insert(LB, Chain::regular(balance));
    for (name, hook) in [("prerouting", Hook::Prerouting), ("output", Hook::Output)] {
        let hook = base(ChainKind::Nat, hook, priority::DESTINATION_NAT);
        ruleset.chains.insert(Name::new(name).unwrap(), Chain::base(hook, dispatch()));
    }
    let hook = base(ChainKind::Nat, Hook::Postrouting, priority::SOURCE_NAT);
    ruleset.chains.insert(Name::constant("postrouting"), Chain::base(hook, leave));
    ruleset
}

fn interface(name: &str) -> InterfaceName {
    InterfaceName::new(name).unwrap()
}

fn node() -> Host {
    let mut host = Host::default();
    host.addresses.insert("10.100.0.2".parse().unwrap(), interface("eth0"));
    host.addresses.insert("10.244.1.1".parse().unwrap(), interface("cbr0"));
    host.routes.insert("0.0.0.0/0".parse().unwrap(), interface("eth0"));
    host.routes.insert("10.244.1.0/24".parse().unwrap(), interface("cbr0"));
    host
}

fn committed(ruleset: &Ruleset) -> FakeNft {
    let mut fake = FakeNft::new();
    fake.commit(&diff(None, ruleset)).unwrap();
    fake
}

fn packet(from: &str, to: &str) -> Packet {
    Packet::first(L4Protocol::TCP, from.parse().unwrap(), to.parse().unwrap())
}

#[test]
fn a_pods_packet_is_balanced_and_keeps_its_source() {
    let fake = committed(&service(false));
    for (chance, endpoint, way) in [(0, "10.244.1.2:8080", "cbr0"), (1, "10.244.2.2:8080", "eth0")] {
        let origin = Origin::Interface(interface("cbr0"));
        let outcome =
            fake.trace(&node(), &origin, packet("10.244.1.9:4000", "10.96.0.1:80"), &mut |modulus| {
                assert_eq!(modulus, 2);
                chance
            });
        assert_eq!(outcome.fate, Fate::Sent(interface(way)));
        assert_eq!(outcome.destination_nat, Some(endpoint.parse().unwrap()));
        assert_eq!(outcome.masqueraded, None);
        assert_eq!(outcome.packet.source, "10.244.1.9:4000".parse().unwrap());
        let effects: Vec<&Effect> = outcome.trail.iter().map(|step| &step.effect).collect();
        let goto = Effect::Verdict(Verdict::Goto(LB));
        assert_eq!(effects, [&goto, &Effect::DestinationNat(endpoint.parse().unwrap())]);
    }
}

/// What arrives is led to the address of the interface it arrives on, what is made here to loopback.
#[test]
fn a_redirected_packet_is_delivered_here() {
    let ports = Name::constant("ports");
    let mut ruleset = Ruleset::new(Table::new(Family::Ip, Name::constant("t")));
    let definition = SetDefinition::map([Type::Ipv4Address, Type::Protocol, Type::Port], [Type::Port]);
    let mut set = Set::new(definition);
    let door = [address("10.96.0.1"), L4Protocol::TCP.into(), Value::Port(80)];
    set.elements.insert(door.into(), Data::Values([Value::Port(10_400)].into()));
    ruleset.sets.insert(ports.clone(), set);
    for (name, hook) in [("prerouting", Hook::Prerouting), ("output", Hook::Output)] {
        let hook = base(ChainKind::Nat, hook, priority::DESTINATION_NAT);
        let rule = Rule::new([Statement::redirect_map(DOOR, ports.clone())]);
        ruleset.chains.insert(Name::new(name).unwrap(), Chain::base(hook, [rule]));
    }
    let fake = committed(&ruleset);
    let fate = |origin: Origin, from: &str, to: &str| {
        let outcome = fake.trace(&node(), &origin, packet(from, to), &mut |_| 0);
        (outcome.fate, outcome.packet.destination.to_string(), outcome.packet.source.ip().to_string())
    };
    let on = |name: &str| Origin::Interface(interface(name));
    let here = |address: &str, source: &str| (Fate::Delivered, address.to_owned(), source.to_owned());
    assert_eq!(fate(on("cbr0"), "10.244.1.9:4000", "10.96.0.1:80"), here("10.244.1.1:10400", "10.244.1.9"));
    assert_eq!(fate(on("eth0"), "192.0.2.2:4000", "10.96.0.1:80"), here("10.100.0.2:10400", "192.0.2.2"));
    assert_eq!(fate(Origin::Local, "10.100.0.2:4000", "10.96.0.1:80"), here("127.0.0.1:10400", "10.100.0.2"));
    assert_eq!(fate(on("veth9"), "10.244.1.9:4000", "10.96.0.1:80").0, Fate::Dropped, "no address there");
    assert_eq!(fate(on("cbr0"), "10.244.1.9:4000", "10.96.0.1:81").0, Fate::Sent(interface("eth0")));
}

#[test]
fn a_nodes_packet_is_masqueraded() {
    let fake = committed(&service(false));
    let outcome = fake.trace(&node(), &Origin::Local, packet("10.100.0.2:4000", "10.96.0.1:80"), &mut |_| 0);
    assert_eq!(outcome.fate, Fate::Sent(interface("cbr0")));
    assert_eq!(outcome.masqueraded, Some("10.244.1.1".parse().unwrap()));
    assert_eq!(outcome.packet.source, "10.244.1.1:4000".parse().unwrap());
}

#[test]
fn other_packets_pass() {
    let fake = committed(&service(false));
    let origin = Origin::Interface(interface("eth0"));
    let trace = |to| fake.trace(&node(), &origin, packet("10.100.0.3:4000", to), &mut |_| 0);
    assert_eq!(trace("10.100.0.2:22").fate, Fate::Delivered);
    assert_eq!(trace("10.244.1.7:22").fate, Fate::Sent(interface("cbr0")));
    assert_eq!(trace("10.96.0.1:81").fate, Fate::Sent(interface("eth0")), "no such service port");
}

#[test]
fn a_client_stays_with_its_endpoint() {
    let fake = committed(&service(true));
    let origin = Origin::Interface(interface("cbr0"));
    let ask = |chance| {
        let packet = packet("10.244.1.9:4000", "10.96.0.1:80");
        fake.trace(&node(), &origin, packet, &mut |_| chance).packet.destination
    };
    let first = ask(1);
    assert_eq!(first, "10.244.2.2:8080".parse().unwrap());
    assert_eq!(ask(0), first);
    let table = fake.table(&service(true).table).unwrap();
    assert_eq!(table.sets[&AFFINITY].elements.len(), 1);
    assert_eq!(diff(Some(&table), &service(true)).ops, [], "what clients do is no difference");
}

#[test]
fn refusals_and_drops_end_the_walk() {
    let mut ruleset = Ruleset::new(Table::new(Family::Ip, Name::constant("t")));
    let rules = [
        Rule::new([
            Statement::equal(Selector::DestinationPort, Value::Port(80)),
            Statement::Reject(Reject::TcpReset),
        ]),
        Rule::new([Statement::to_this_node(), Verdict::Accept.into()]),
    ];
    let mut hook = base(ChainKind::Filter, Hook::Prerouting, priority::FILTER);
    hook.policy = Policy::Drop;
    ruleset.chains.insert(Name::constant("all"), Chain::base(hook, rules));
    let fake = committed(&ruleset);
    let origin = Origin::Interface(interface("eth0"));
    let fate = |to| fake.trace(&node(), &origin, packet("10.100.0.3:4000", to), &mut |_| 0).fate;
    assert_eq!(fate("10.100.0.2:80"), Fate::Rejected(Reject::TcpReset));
    assert_eq!(fate("10.100.0.2:22"), Fate::Delivered);
    assert_eq!(fate("10.244.1.7:22"), Fate::Dropped);
}

#[test]
fn an_established_connection_sees_no_nat_chain() {
    let fake = committed(&service(false));
    let mut later = packet("10.244.1.9:4000", "10.96.0.1:80");
    later.state = ConnectionState::Established;
    let outcome = fake.trace(&node(), &Origin::Interface(interface("cbr0")), later, &mut |_| 0);
    assert_eq!(outcome.destination_nat, None);
    assert_eq!(outcome.trail, []);
}
