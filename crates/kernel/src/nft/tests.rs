use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netstate::nft::{
    AddressType, Comparison, ConnectionState, ConnectionStatus, Element, Family, InterfaceName, L4Protocol,
    Missing, Name, NatTarget, NftError, Op, Operand, PacketPriority, Reject, Rule, Selector, SetDefinition,
    Statement, Table, Transaction, Tuple, Type, UpdateData, UpdateMode, Value, Verdict,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::batch::Batch;
use super::bytecode::Expression;
use super::{lift, lower, observe};
use crate::nfnetlink::{Attributes, Messages, Writer};

const FAMILIES: [Family; 2] = [Family::Ip, Family::Ip6];

fn key_selector() -> impl Strategy<Value = Selector> {
    prop_oneof![
        select(vec![
            Selector::SourceAddress,
            Selector::DestinationAddress,
            Selector::Protocol,
            Selector::SourcePort,
            Selector::DestinationPort,
            Selector::InputInterface,
            Selector::OutputInterface,
            Selector::Mark,
            Selector::Priority,
            Selector::OriginalDestinationAddress,
            Selector::OriginalDestinationPort,
        ]),
        (1..=u32::MAX).prop_map(|modulus| Selector::Random { modulus }),
        (1..=u32::MAX).prop_map(|modulus| Selector::Turn { modulus }),
    ]
}

fn key() -> impl Strategy<Value = Vec<Selector>> {
    proptest::collection::vec(key_selector(), 1..=4)
}

fn name() -> impl Strategy<Value = Name> {
    "[a-z][a-z0-9-]{0,20}".prop_map(|text| Name::new(&text).unwrap())
}

fn value(field: Type) -> BoxedStrategy<Value> {
    match field {
        Type::Ipv4Address => any::<Ipv4Addr>().prop_map(Value::from).boxed(),
        Type::Ipv6Address => any::<Ipv6Addr>().prop_map(Value::from).boxed(),
        Type::Protocol => any::<u8>().prop_map(|number| L4Protocol(number).into()).boxed(),
        Type::Port => any::<u16>().prop_map(Value::Port).boxed(),
        Type::Mark => any::<u32>().prop_map(Value::Mark).boxed(),
        Type::ClassId => any::<u32>().prop_map(Value::ClassId).boxed(),
        Type::Interface => {
            "[a-z][a-z0-9]{0,14}".prop_map(|text| InterfaceName::new(&text).unwrap().into()).boxed()
        }
    }
}

fn prefix(family: Family) -> BoxedStrategy<Value> {
    let net = match family {
        Family::Ip => (any::<Ipv4Addr>(), 0u8..=32)
            .prop_map(|(address, length)| IpNet::V4(Ipv4Net::new(address, length).unwrap()))
            .boxed(),
        Family::Ip6 => (any::<Ipv6Addr>(), 0u8..=128)
            .prop_map(|(address, length)| IpNet::V6(Ipv6Net::new(address, length).unwrap()))
            .boxed(),
    };
    net.prop_map(Value::prefix).boxed()
}

fn comparison() -> impl Strategy<Value = Comparison> {
    select(vec![Comparison::Equal, Comparison::NotEqual])
}

fn matching(family: Family) -> impl Strategy<Value = Statement> {
    let exact = key_selector().prop_flat_map(move |selector| {
        let field = selector.key_type(family).unwrap_or(Type::Mark);
        (Just(selector), value(field).prop_map(Operand::Value))
    });
    let ports = (any::<u16>(), any::<u16>()).prop_map(|(one, other)| {
        let operand = Operand::Range(Value::Port(one.min(other)), Value::Port(one.max(other)));
        (Selector::DestinationPort, operand)
    });
    let mark = (any::<u32>(), any::<u32>())
        .prop_map(|(mask, value)| (Selector::Mark, Operand::MaskedMark { mask, value: value & mask }));
    let kinds =
        vec![AddressType::Unicast, AddressType::Local, AddressType::Broadcast, AddressType::Multicast];
    let ends = select(vec![Selector::SourceType, Selector::DestinationType]);
    let kind = (ends, select(kinds)).prop_map(|(end, kind)| (end, Operand::AddressType(kind)));
    let links = select(vec![Selector::InputInterface, Selector::OutputInterface]);
    let prefix_of_name = (links, "[a-z][a-z0-9.-]{0,14}")
        .prop_map(|(link, prefix)| (link, Operand::InterfacePrefix(InterfaceName::new(&prefix).unwrap())));
    let states = subsequence(
        vec![
            ConnectionState::Invalid,
            ConnectionState::Established,
            ConnectionState::Related,
            ConnectionState::New,
            ConnectionState::Untracked,
        ],
        1..=5,
    )
    .prop_map(|states| (Selector::ConnectionState, Operand::States(states)));
    let statuses = subsequence(vec![ConnectionStatus::SourceNat, ConnectionStatus::DestinationNat], 1..=2)
        .prop_map(|statuses| (Selector::ConnectionStatus, Operand::Statuses(statuses)));
    let net = prefix(family).prop_map(|net| (Selector::SourceAddress, Operand::Value(net)));
    (prop_oneof![exact, ports, mark, kind, prefix_of_name, states, statuses, net], comparison())
        .prop_map(|((selector, operand), comparison)| Statement::Match { selector, comparison, operand })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        select(vec![Verdict::Accept, Verdict::Drop, Verdict::Continue, Verdict::Return]),
        name().prop_map(Verdict::Jump),
        name().prop_map(Verdict::Goto),
    ]
}

fn priority() -> impl Strategy<Value = PacketPriority> {
    prop_oneof![
        any::<u32>().prop_map(PacketPriority::Value),
        (key(), name()).prop_map(|(key, map)| PacketPriority::Map { key, map }),
    ]
}

fn statement(family: Family) -> impl Strategy<Value = Statement> {
    let field = match family {
        Family::Ip => Type::Ipv4Address,
        Family::Ip6 => Type::Ipv6Address,
    };
    let target = prop_oneof![
        (value(field), any::<Option<u16>>()).prop_map(|(address, port)| match address {
            Value::Address(address) => NatTarget::Address { address, port },
            _ => panic!("an address"),
        }),
        (key(), name()).prop_map(|(key, map)| NatTarget::Map { key, map }),
    ];
    let data = prop_oneof![
        Just(UpdateData::Nothing),
        proptest::collection::vec(key_selector(), 1..=2).prop_map(UpdateData::Selectors),
    ];
    let mode = select(vec![UpdateMode::Add, UpdateMode::Update]);
    let timeout = proptest::option::of((1u64..1 << 40).prop_map(Duration::from_secs));
    prop_oneof![
        4 => matching(family),
        1 => (key(), comparison(), name()).prop_map(|(key, comparison, set)| Statement::Lookup { key, comparison, set }),
        1 => (key(), name()).prop_map(|(key, map)| Statement::VerdictMap { key, map }),
        1 => Just(Statement::Counter),
        1 => (any::<u32>(), any::<u32>()).prop_map(|(mask, value)| Statement::SetMark { mask, value: value & mask }),
        1 => priority().prop_map(Statement::SetPriority),
        1 => (mode, key(), data, timeout, name())
            .prop_map(|(mode, key, data, timeout, set)| Statement::Update { mode, key, data, timeout, set }),
        1 => target.prop_map(Statement::DestinationNat),
        1 => (key(), name()).prop_map(|(key, map)| Statement::Redirect { key, map }),
        1 => any::<bool>().prop_map(|fully_random| Statement::Masquerade { fully_random }),
        1 => select(vec![Reject::TcpReset, Reject::PortUnreachable, Reject::AdminProhibited]).prop_map(Statement::Reject),
        1 => verdict().prop_map(Statement::Verdict),
    ]
}

fn rule() -> impl Strategy<Value = (Family, Rule)> {
    select(FAMILIES.to_vec()).prop_flat_map(|family| {
        (Just(family), proptest::collection::vec(statement(family), 1..6).prop_map(Rule::new))
    })
}

fn written(expressions: &[Expression]) -> Vec<u8> {
    let mut writer = Writer::default();
    expressions.iter().for_each(|expression| expression.write(&mut writer));
    writer.finish().unwrap()
}

#[test]
fn dumps_of_a_growing_set_add_up() {
    let element = |key, data| Element::values([Value::Port(key)], [Value::Port(data)]);
    let mut gathered = Vec::new();
    let mut dump = |elements: &[(u16, u16)], count| {
        let elements = elements.iter().map(|(key, data)| element(*key, *data));
        let whole = observe::gather(&mut gathered, elements, count);
        (whole, gathered.clone())
    };
    // Twice, and one not at all.
    assert_eq!(dump(&[(3, 0), (1, 0), (3, 0)], Some(3)), (false, vec![element(1, 0), element(3, 0)]));
    // What somebody changed meanwhile is as it was told last.
    assert_eq!(dump(&[(2, 0), (1, 7)], Some(3)), (true, vec![element(1, 7), element(2, 0), element(3, 0)]));
    // Somebody took one out.
    assert_eq!(dump(&[(1, 7), (2, 0)], Some(2)), (false, vec![]));
    assert_eq!(dump(&[(1, 7), (2, 0)], Some(2)), (true, vec![element(1, 7), element(2, 0)]));
    // And then the whole set.
    assert_eq!(dump(&[], None), (false, vec![]));
    assert_eq!(dump(&[], Some(0)), (true, vec![]));
}

proptest! {
    #[test]
    fn rules_are_read_back((family, rule) in rule()) {
        // Keys of several IPv6 addresses or interface names can be too long for the registers.
        if let Ok(expressions) = lower::rule(family, &rule) {
            let bytes = written(&expressions);
            let read = Expression::read_list(Attributes::new(&bytes));
            prop_assert_eq!(&read, &expressions);
            prop_assert_eq!(lift::rule(family, &read), rule);
        }
    }

    #[test]
    fn a_spoiled_rule_is_read_as_another_or_as_foreign(
        (family, rule) in rule(),
        place in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        if let Ok(expressions) = lower::rule(family, &rule) {
            let mut bytes = written(&expressions);
            let place = place.index(bytes.len());
            bytes[place] = byte;
            let read = Expression::read_list(Attributes::new(&bytes));
            let lifted = lift::rule(family, &read);
            if read != expressions {
                prop_assert_ne!(lifted, rule);
            }
        }
    }

    #[test]
    fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let read = Expression::read_list(Attributes::new(&bytes));
        for family in FAMILIES {
            lift::rule(family, &read);
        }
    }

    #[test]
    fn a_refusal_finds_its_op(sizes in proptest::collection::vec(0usize..5000, 1..8)) {
        let definition = SetDefinition::set([Type::Port, Type::Mark]);
        let element = |number| Element::key([Value::Port(1), Value::Mark(number)]);
        let ops: Vec<Op> = sizes
            .iter()
            .map(|size| Op::AddElements {
                set: Name::constant("s"),
                definition: definition.clone(),
                elements: (0..*size as u32).map(element).collect(),
            })
            .collect();
        let transaction = Transaction { table: Table::new(Family::Ip, Name::constant("t")), ops };
        let batch = Batch::new(&transaction, false, |_| 1000).unwrap();
        let messages: Vec<_> = Messages::new(&batch.bytes).collect();
        prop_assert_eq!(messages.len(), messages.last().unwrap().sequence as usize - 1000 + 1);
        let mut seen = vec![0; sizes.len()];
        for (index, message) in messages.iter().enumerate() {
            let edge = index == 0 || index + 1 == messages.len();
            let number = batch.op_number(message.sequence);
            prop_assert_eq!(number.is_none(), edge);
            if let Some(number) = number {
                let list = message.attributes().nest(3).unwrap();
                seen[number] += list.into_iter().count();
            }
        }
        prop_assert_eq!(seen, sizes);
    }
}

#[test]
fn what_no_rule_can_say_is_unwritable() {
    let long = vec![Selector::InputInterface; 5];
    let cases = [
        Statement::equal(Selector::DestinationPort, Value::Mark(1)),
        Statement::equal(Selector::SourceAddress, Value::from(Ipv6Addr::LOCALHOST)),
        Statement::marked(0x1, 0x2),
        Statement::SetMark { mask: 0x1, value: 0x2 },
        Statement::within(long, Name::constant("s")),
        Statement::within([], Name::constant("s")),
        Statement::within([Selector::ConnectionState], Name::constant("s")),
        Statement::within([Selector::Random { modulus: 0 }], Name::constant("s")),
        Statement::within([Selector::Turn { modulus: 0 }], Name::constant("s")),
        Statement::equal(Selector::ConnectionState, Operand::States(Vec::new())),
        Statement::equal(
            Selector::ConnectionState,
            Operand::States(vec![ConnectionState::New, ConnectionState::Established]),
        ),
        Statement::DestinationNat(NatTarget::Address { address: Ipv6Addr::LOCALHOST.into(), port: None }),
        Statement::Foreign { expression: "limit".to_owned() },
    ];
    for statement in cases {
        assert!(lower::rule(Family::Ip, &Rule::new([statement.clone()])).is_err(), "{statement:?}");
    }
}

#[test]
fn elements_that_do_not_fit_are_unwritable() {
    let table = Table::new(Family::Ip, Name::constant("t"));
    let set = Name::constant("s");
    let addresses = SetDefinition::set([Type::Ipv4Address]);
    let net = Value::prefix("10.0.0.0/8".parse().unwrap());
    let bare = Value::from(Ipv4Addr::LOCALHOST);
    let add = |definition: SetDefinition, element| Op::AddElements {
        set: set.clone(),
        definition,
        elements: vec![element],
    };
    let cases = [
        add(addresses.clone(), Element::key([net])),
        add(addresses.clone().interval(), Element::key([bare])),
        add(addresses.clone(), Element::key([Value::Port(1)])),
        add(addresses.clone(), Element::verdict([bare], Verdict::Drop)),
        add(SetDefinition::map([Type::Ipv4Address], [Type::Port]), Element::values([bare], [Value::Mark(1)])),
        Op::AddSet { set: set.clone(), definition: SetDefinition::set([Type::Ipv6Address]) },
        Op::AddSet { set: set.clone(), definition: SetDefinition::set([Type::Port; 6]) },
        Op::AddSet { set: set.clone(), definition: addresses.clone().dynamic(0, None) },
        Op::AddSet {
            set: set.clone(),
            definition: addresses.clone().dynamic(1, Some(Duration::from_millis(1500))),
        },
        Op::DeleteElements {
            set: set.clone(),
            definition: addresses,
            keys: vec![Tuple::from([Value::Port(1)])],
            missing: Missing::Ignore,
        },
    ];
    for op in cases {
        let transaction = Transaction { table: table.clone(), ops: vec![Op::AddTable, op] };
        let result = Batch::new(&transaction, false, |_| 1);
        assert!(matches!(result, Err(NftError::Unwritable { op_number: 1, .. })), "{transaction}");
    }
}
