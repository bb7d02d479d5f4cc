//! nftables: what is written is read back, and the nft tool can show it.

use std::time::Duration;

use netstate::nft::{
    AddressType, BaseChain, Chain, ChainKind, ConnectionState, ConnectionStatus, Data, FakeNft, Family, Hook,
    InterfaceName, L4Protocol, Name, NatTarget, NftPort, Operand, PacketPriority, Policy, Reject, Rule,
    Ruleset, Selector, Set, SetDefinition, Statement, Table, Tuple, Type, UpdateData, UpdateMode, Value,
    Verdict, diff, priority,
};
use portolan_kernel::nft::Nftables;

use super::isolation::{in_fresh_namespace, run};

const SERVICES: Name = Name::constant("services");
const ENDPOINTS: Name = Name::constant("endpoints");
const AFFINITY: Name = Name::constant("affinity");
const OUTSIDE: Name = Name::constant("outside");
const SOURCES: Name = Name::constant("sources");
const CLASSES: Name = Name::constant("classes");
const SHAPES: Name = Name::constant("shapes");
const LB: Name = Name::constant("lb-");
const HOUR: Duration = Duration::from_secs(3600);

fn table(family: Family) -> Table {
    Table::new(family, Name::constant("portolan-test"))
}

fn address(family: Family, number: u8) -> Value {
    let text = match family {
        Family::Ip => format!("10.96.0.{number}"),
        Family::Ip6 => format!("fd00::{number:x}"),
    };
    Value::Address(text.parse().unwrap())
}

fn prefix(family: Family, four: &str, six: &str) -> Value {
    let text = match family {
        Family::Ip => four,
        Family::Ip6 => six,
    };
    Value::prefix(text.parse().unwrap())
}

const fn address_type(family: Family) -> Type {
    match family {
        Family::Ip => Type::Ipv4Address,
        Family::Ip6 => Type::Ipv6Address,
    }
}

fn interface(name: &str) -> InterfaceName {
    InterfaceName::new(name).unwrap()
}

fn base(kind: ChainKind, hook: Hook, priority: i32) -> BaseChain {
    BaseChain { kind, hook, priority, policy: Policy::Accept }
}

/// The layout of the service proxy, in small.
fn services(family: Family) -> Ruleset {
    use Selector::{
        DestinationAddress, DestinationPort, OriginalDestinationAddress, OriginalDestinationPort, Protocol,
        Random, SourceAddress, Turn,
    };
    let ip = address_type(family);
    let mut ruleset = Ruleset::new(table(family));
    let service = [DestinationAddress, Protocol, DestinationPort];
    let pick = [DestinationAddress, Protocol, DestinationPort, Random { modulus: 2 }];
    let client = [SourceAddress, DestinationAddress, Protocol, DestinationPort];
    let (lb, lb_affine) = (LB.numbered(2), Name::constant("affine-lb-2"));

    let mut verdicts = Set::new(SetDefinition::verdict_map([ip, Type::Protocol, Type::Port]));
    let mut endpoints =
        Set::new(SetDefinition::map([ip, Type::Protocol, Type::Port, Type::Mark], [ip, Type::Port]));
    for number in 1..=3 {
        let key = [address(family, number), L4Protocol::TCP.into(), Value::Port(80)];
        let chain = if number == 3 { &lb_affine } else { &lb };
        verdicts.elements.insert(key.into(), Data::Verdict(Verdict::Goto(chain.clone())));
        for index in 0..2 {
            let key = [address(family, number), L4Protocol::TCP.into(), Value::Port(80), Value::Mark(index)];
            let endpoint = Tuple::from([address(family, 100 + number), Value::Port(8080)]);
            endpoints.elements.insert(key.into(), Data::Values(endpoint));
        }
    }
    let affinity =
        SetDefinition::map([ip, ip, Type::Protocol, Type::Port], [ip, Type::Port]).dynamic(65536, Some(HOUR));
    ruleset.sets.insert(SERVICES, Set::new(verdicts.definition.clone()));
    ruleset.sets.insert(SERVICES, verdicts);
    ruleset.sets.insert(ENDPOINTS, endpoints);
    ruleset.sets.insert(AFFINITY, Set::new(affinity));

    let pick = Rule::new([Statement::dnat_map(pick, ENDPOINTS)]);
    let in_turn = [DestinationAddress, Protocol, DestinationPort, Turn { modulus: 2 }];
    let in_turn = Rule::new([
        Statement::equal(Random { modulus: 4 }, Value::Mark(0)),
        Statement::dnat_map(in_turn, ENDPOINTS),
    ]);
    ruleset.chains.insert(lb, Chain::regular([in_turn, pick.clone()]));
    let affine = [Rule::new([Statement::dnat_map(client, AFFINITY)]), pick];
    ruleset.chains.insert(lb_affine, Chain::regular(affine));
    let remember = Rule::new([Statement::Update {
        mode: UpdateMode::Update,
        key: vec![SourceAddress, OriginalDestinationAddress, Protocol, OriginalDestinationPort],
        data: UpdateData::Selectors(vec![DestinationAddress, DestinationPort]),
        timeout: Some(Duration::from_secs(10800)),
        set: AFFINITY,
    }]);
    let hook = base(ChainKind::Nat, Hook::Input, priority::SOURCE_NAT);
    ruleset.chains.insert(Name::constant("input"), Chain::base(hook, [remember]));
    let hook = base(ChainKind::Nat, Hook::Prerouting, priority::DESTINATION_NAT);
    let dispatch = Rule::new([Statement::verdict_map(service, SERVICES)]);
    ruleset.chains.insert(Name::constant("prerouting"), Chain::base(hook, [dispatch]));
    ruleset
}

/// One rule for every kind of statement and operand.
fn every_statement(family: Family) -> Ruleset {
    use Selector::{
        ConnectionState as State, ConnectionStatus as Status, DestinationAddress, DestinationPort,
        InputInterface, Mark, OriginalDestinationAddress, OriginalDestinationPort, OutputInterface, Protocol,
        SourceAddress, SourcePort,
    };
    let mut ruleset = services(family);
    let ip = address_type(family);
    let mut outside = Set::new(SetDefinition::set([ip]).interval());
    for key in [
        prefix(family, "10.0.0.0/8", "fd00::/8"),
        prefix(family, "11.0.0.0/8", "fe00::/8"),
        prefix(family, "192.0.2.7/32", "2001:db8::7/128"),
        prefix(family, "255.255.255.0/24", "ffff::/16"),
    ] {
        outside.elements.insert(key.into(), Data::Nothing);
    }
    ruleset.sets.insert(OUTSIDE, outside);
    let mut sources = Set::new(SetDefinition::verdict_map([Type::Port, ip]).interval());
    let net = prefix(family, "203.0.113.0/24", "2001:db8::/32");
    sources.elements.insert([Value::Port(80), net].into(), Data::Verdict(Verdict::Return));
    ruleset.sets.insert(SOURCES, sources);

    let mut classes = Set::new(SetDefinition::map([ip, Type::Protocol, Type::Port], [Type::ClassId]));
    let mut shapes = Set::new(SetDefinition::verdict_map([Type::ClassId]));
    for (number, class) in [(1, 0x0100_0003), (2, 0x0300_0000), (3, 0x1000_0001)] {
        let door = [address(family, number), L4Protocol::TCP.into(), Value::Port(80)];
        classes.elements.insert(door.into(), Data::Values(Value::ClassId(class).into()));
        shapes.elements.insert(Value::ClassId(class).into(), Data::Verdict(Verdict::Drop));
    }
    ruleset.sets.insert(CLASSES, classes);
    ruleset.sets.insert(SHAPES, shapes);

    let states = Operand::States(vec![ConnectionState::Established, ConnectionState::Related]);
    let statuses = Operand::Statuses(vec![ConnectionStatus::DestinationNat]);
    let Value::Address(own) = address(family, 9) else { panic!("an address") };
    let verdict = |verdict: Verdict| Rule::new([Statement::Counter, verdict.into()]);
    let rules = vec![
        Rule::new([Statement::equal(SourceAddress, address(family, 7)), Verdict::Return.into()]),
        Rule::new([Statement::not_equal(DestinationAddress, prefix(family, "10.244.0.0/20", "fd01::/56"))]),
        Rule::new([Statement::equal(DestinationAddress, prefix(family, "192.0.2.1/32", "fd01::1/128"))]),
        Rule::new([Statement::equal(SourceAddress, Operand::Range(address(family, 1), address(family, 6)))]),
        Rule::new([
            Statement::equal(Protocol, L4Protocol::TCP),
            Statement::equal(DestinationPort, Value::Port(80)),
            Statement::not_equal(SourcePort, Operand::Range(Value::Port(1), Value::Port(1023))),
            Statement::Reject(Reject::TcpReset),
        ]),
        Rule::new([
            Statement::equal(InputInterface, interface("cbr0")),
            Statement::Reject(Reject::PortUnreachable),
        ]),
        Rule::new([
            Statement::not_equal(OutputInterface, interface("eth0")),
            Statement::Reject(Reject::AdminProhibited),
        ]),
        Rule::new([Statement::equal(Mark, Value::Mark(7))]),
        Rule::new([Statement::marked(0x4000, 0x4000), Verdict::Jump(LB.numbered(2)).into()]),
        Rule::new([Statement::to_this_node(), verdict(Verdict::Accept).statements[0].clone()]),
        Rule::new([Statement::not_equal(Selector::DestinationType, AddressType::Broadcast)]),
        Rule::new([Statement::from_this_node(), Verdict::Accept.into()]),
        Rule::new([Statement::not_equal(InputInterface, Operand::InterfacePrefix(interface("veth")))]),
        Rule::new([Statement::equal(State, states.clone()), Verdict::Accept.into()]),
        Rule::new([Statement::not_equal(State, states)]),
        Rule::new([Statement::equal(Status, statuses)]),
        Rule::new([Statement::equal(OriginalDestinationAddress, address(family, 1))]),
        Rule::new([
            Statement::equal(Protocol, L4Protocol::UDP),
            Statement::equal(OriginalDestinationPort, Value::Port(53)),
        ]),
        Rule::new([Statement::within([DestinationAddress], OUTSIDE), Verdict::Drop.into()]),
        Rule::new([Statement::not_within([DestinationAddress], OUTSIDE)]),
        Rule::new([Statement::verdict_map([DestinationPort, SourceAddress], SOURCES)]),
        Rule::new([
            Statement::priority_map([DestinationAddress, Protocol, DestinationPort], CLASSES),
            Statement::verdict_map([Selector::Priority], SHAPES),
        ]),
        Rule::new([Statement::SetPriority(PacketPriority::Value(0x0100_0003))]),
        Rule::new([Statement::SetPriority(PacketPriority::Value(0))]),
        Rule::new([Statement::equal(Selector::Priority, Value::ClassId(0x0900_000a))]),
        Rule::new([Statement::SetMark { mask: 0x4000, value: 0x4000 }]),
        Rule::new([Statement::SetMark { mask: u32::MAX, value: 5 }]),
        Rule::new([Statement::SetMark { mask: 0xff00, value: 0 }]),
        verdict(Verdict::Continue),
        verdict(Verdict::Goto(LB.numbered(2))),
    ];
    let hook = base(ChainKind::Filter, Hook::Forward, priority::FILTER);
    ruleset.chains.insert(Name::constant("lb-x"), Chain::regular([verdict(Verdict::Drop)]));
    let rules: Vec<Rule> = rules.into_iter().map(goto_lb_x).collect();
    ruleset.chains.insert(Name::constant("forward"), Chain::base(hook, rules));

    let hook = base(ChainKind::Nat, Hook::Postrouting, priority::SOURCE_NAT);
    let masquerade = |fully_random| Rule::new([Statement::Masquerade { fully_random }]);
    let chain = Chain::base(hook, [masquerade(false), masquerade(true)]);
    ruleset.chains.insert(Name::constant("postrouting"), chain);

    let hook = base(ChainKind::Nat, Hook::Output, priority::DESTINATION_NAT);
    let nat = |port| Rule::new([Statement::DestinationNat(NatTarget::Address { address: own, port })]);
    let note = Statement::Update {
        mode: UpdateMode::Add,
        key: vec![SourceAddress],
        data: UpdateData::Nothing,
        timeout: None,
        set: Name::constant("seen"),
    };
    let remember = Statement::Update {
        mode: UpdateMode::Add,
        key: vec![SourceAddress],
        data: UpdateData::Selectors(vec![DestinationAddress, DestinationPort]),
        timeout: Some(HOUR),
        set: Name::constant("went"),
    };
    ruleset.sets.insert(Name::constant("seen"), Set::new(SetDefinition::set([ip]).dynamic(100, None)));
    let went = SetDefinition::map([ip], [ip, Type::Port]).dynamic(100, Some(HOUR));
    ruleset.sets.insert(Name::constant("went"), Set::new(went));
    let mut ports = Set::new(SetDefinition::map([ip, Type::Protocol, Type::Port], [Type::Port]));
    let door = [address(family, 3), L4Protocol::TCP.into(), Value::Port(80)];
    ports.elements.insert(door.into(), Data::Values([Value::Port(10_400)].into()));
    ruleset.sets.insert(Name::constant("ports"), ports);
    let redirect =
        Statement::redirect_map([DestinationAddress, Protocol, DestinationPort], Name::constant("ports"));
    let rules = [Rule::new([note]), Rule::new([remember]), Rule::new([redirect]), nat(None), nat(Some(80))];
    ruleset.chains.insert(Name::constant("output"), Chain::base(hook, rules));
    ruleset
}

/// Chains with nat statements cannot be reached from a filter hook.
fn goto_lb_x(mut rule: Rule) -> Rule {
    for statement in &mut rule.statements {
        if let Statement::Verdict(Verdict::Jump(chain) | Verdict::Goto(chain)) = statement {
            *chain = Name::constant("lb-x");
        }
    }
    rule
}

fn written_and_read_back(desired: &Ruleset) -> String {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        assert_eq!(nft.observe(&desired.table).unwrap(), None);
        nft.commit(&diff(None, desired)).unwrap();
        let observed = nft.observe(&desired.table).unwrap().unwrap();
        assert_eq!(observed.to_string(), desired.to_string());
        assert_eq!(&observed, desired);
        assert_eq!(diff(Some(&observed), desired).ops, []);
        run("nft", &["list", "ruleset"])
    })
}

#[test]
fn what_is_written_is_read_back_and_shown() {
    for family in [Family::Ip, Family::Ip6] {
        let desired = every_statement(family);
        let listing = written_and_read_back(&desired);
        // Where nft has a shorter way to say the same, or shows counts, the texts differ.
        let differs = |text: &str| {
            ["counter", "th dport 80", "reject", "/32", "/128", "!= established", "meta mark set meta mark"]
                .iter()
                .any(|part| text.contains(part))
        };
        let rules = desired.chains.values().flat_map(|chain| &chain.rules).map(|rule| rule.text(family));
        for text in rules.filter(|text| !differs(text)) {
            assert!(listing.lines().any(|line| line.trim() == text), "{text}\nis not in\n{listing}");
        }
        for line in
            ["10.96.0.1 . tcp . 80 . 0x00000001 : 10.96.0.101 . 8080", "255.255.255.0/24", "timeout 1h"]
        {
            assert!(family == Family::Ip6 || listing.contains(line), "{line} is not in {listing}");
        }
    }
}

/// Leaves out what the bits say, but nothing that something left in refers to.
fn part_of(whole: &Ruleset, bits: u64) -> Ruleset {
    let mut count = 0;
    let mut keep = || {
        count += 1;
        // Some odd number: neighbours shall not have neighbouring fates.
        bits.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(count * 7) & 1 == 1
    };
    let mut part = whole.clone();
    for chain in part.chains.values_mut() {
        chain.rules.retain(|_| keep());
    }
    for set in part.sets.values_mut() {
        set.elements.retain(|_, _| keep());
    }
    let used: Vec<Name> = {
        let statements =
            part.chains.values().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements);
        let data = part.sets.values().flat_map(|set| set.elements.values());
        let verdicts = data.filter_map(|data| match data {
            Data::Verdict(verdict) => verdict.chain().cloned(),
            Data::Nothing | Data::Values(_) => None,
        });
        let named = |statement: &Statement| [statement.chain().cloned(), statement.set().cloned()];
        statements.flat_map(named).flatten().chain(verdicts).collect()
    };
    part.sets.retain(|name, set| used.contains(name) || !set.elements.is_empty() && keep());
    part.chains.retain(|name, _| used.contains(name) || keep());
    part
}

#[test]
fn the_kernel_takes_every_step_that_the_fake_takes() {
    for family in [Family::Ip, Family::Ip6] {
        let whole = every_statement(family);
        in_fresh_namespace(|| {
            let mut nft = Nftables::open().unwrap();
            let mut fake = FakeNft::new();
            for bits in 1..60 {
                let desired = part_of(&whole, bits);
                let observed = nft.observe(&desired.table).unwrap();
                assert_eq!(observed, fake.table(&desired.table));
                let transaction = diff(observed.as_ref(), &desired);
                fake.commit(&transaction).unwrap_or_else(|error| panic!("{error}\n{transaction}"));
                nft.commit(&transaction).unwrap_or_else(|error| panic!("{error}\n{transaction}"));
                assert_eq!(nft.observe(&desired.table).unwrap().as_ref(), Some(&desired));
            }
        });
    }
}
