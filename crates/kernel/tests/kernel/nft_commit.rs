//! nftables: transactions, their errors, and their size.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use netstate::nft::{
    BaseChain, Chain, ChainKind, Data, Element, Family, Hook, L4Protocol, Missing, Name, NftError, NftPort,
    Op, Policy, Rule, Ruleset, Selector, Set, SetDefinition, Statement, Table, Transaction, Tuple, Type,
    Value, Verdict, diff,
};
use portolan_kernel::nft::Nftables;

use super::isolation::{in_fresh_namespace, run};

const SET: Name = Name::constant("doors");
const CHAIN: Name = Name::constant("leaf");

fn table() -> Table {
    Table::new(Family::Ip, Name::constant("portolan-test"))
}

fn transaction(ops: Vec<Op>) -> Transaction {
    Transaction { table: table(), ops }
}

fn ports() -> SetDefinition {
    SetDefinition::verdict_map([Type::Port])
}

/// A table with a verdict map that leads to a chain.
fn filled() -> Ruleset {
    let mut ruleset = Ruleset::new(table());
    ruleset.chains.insert(CHAIN, Chain::regular([Rule::new([Verdict::Drop.into()])]));
    let mut set = Set::new(ports());
    set.elements.insert([Value::Port(80)].into(), Data::Verdict(Verdict::Goto(CHAIN)));
    ruleset.sets.insert(SET, set);
    ruleset
}

fn add(port: u16, verdict: Verdict) -> Op {
    let elements = vec![Element::verdict([Value::Port(port)], verdict)];
    Op::AddElements { set: SET, definition: ports(), elements }
}

fn delete(port: u16, missing: Missing) -> Op {
    let keys = vec![Tuple::from([Value::Port(port)])];
    Op::DeleteElements { set: SET, definition: ports(), keys, missing }
}

#[test]
fn a_refusal_names_the_change_and_changes_nothing() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        nft.commit(&diff(None, &filled())).unwrap();
        let none = Name::constant("none");
        let jump = Rule::new([Verdict::Jump(none.clone()).into()]);
        let fine = add(443, Verdict::Drop);
        let cases: [(Vec<Op>, usize, nix::errno::Errno); 5] = [
            (vec![fine.clone(), delete(81, Missing::Fail)], 1, nix::errno::Errno::ENOENT),
            (vec![fine.clone(), add(80, Verdict::Drop)], 1, nix::errno::Errno::EEXIST),
            (vec![add(81, Verdict::Goto(none.clone())), fine.clone()], 0, nix::errno::Errno::ENOENT),
            (vec![fine.clone(), fine.clone(), Op::DeleteChain { chain: CHAIN }], 2, nix::errno::Errno::EBUSY),
            (vec![fine, Op::ReplaceRules { chain: CHAIN, rules: vec![jump] }], 1, nix::errno::Errno::ENOENT),
        ];
        for (ops, number, errno) in cases {
            let error = nft.commit(&transaction(ops)).unwrap_err();
            let NftError::Refused { op_number, ref source, .. } = error else { panic!("{error}") };
            assert_eq!((op_number, source.raw_os_error()), (number, Some(errno as i32)), "{error}");
            assert_eq!(nft.observe(&table()).unwrap(), Some(filled()));
        }
        // A circle, which the kernel finds at the commit or at the rule.
        let hooked = Name::constant("hooked");
        let base =
            BaseChain { kind: ChainKind::Filter, hook: Hook::Forward, priority: 0, policy: Policy::Accept };
        let again = || vec![Rule::new([Statement::verdict_map([Selector::DestinationPort], SET)])];
        let circle = vec![
            Op::AddChain { chain: hooked.clone(), base: Some(base) },
            Op::ReplaceRules { chain: CHAIN, rules: again() },
            Op::ReplaceRules { chain: hooked, rules: again() },
        ];
        let error = nft.commit(&transaction(circle)).unwrap_err();
        let (NftError::Refused { ref source, .. } | NftError::Kernel { ref source, .. }) = error else {
            panic!("{error}")
        };
        assert_eq!(source.raw_os_error(), Some(nix::errno::Errno::EMLINK as i32), "{error}");
        assert_eq!(nft.observe(&table()).unwrap(), Some(filled()));
        // Nothing of that disturbs what comes after.
        nft.commit(&transaction(vec![
            delete(81, Missing::Ignore),
            delete(80, Missing::Fail),
            add(80, Verdict::Drop),
        ]))
        .unwrap();
        nft.commit(&transaction(vec![Op::DeleteTable])).unwrap();
        assert_eq!(nft.observe(&table()).unwrap(), None);
        let error = nft.commit(&transaction(vec![Op::DeleteTable])).unwrap_err();
        assert!(error.is_not_found(), "{error}");
    });
}

#[test]
fn what_cannot_be_written_is_said_before_anything_is_sent() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        nft.commit(&diff(None, &filled())).unwrap();
        let elements = vec![Element::key([Value::Mark(1)])];
        let wrong = Op::AddElements { set: SET, definition: ports(), elements };
        let error = nft.commit(&transaction(vec![add(443, Verdict::Drop), wrong])).unwrap_err();
        assert!(matches!(error, NftError::Unwritable { op_number: 1, .. }), "{error}");
        assert!(!error.is_transient());
        assert_eq!(nft.observe(&table()).unwrap(), Some(filled()));
    });
}

#[test]
fn what_others_changed_is_found_and_put_right() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        let desired = filled();
        let table_name = table().to_string();
        for script in [
            "flush chain TABLE leaf",
            "add rule TABLE leaf meta length 7 limit rate 1/second accept",
            "insert rule TABLE leaf accept",
            "delete element TABLE doors { 80 }",
            "add element TABLE doors { 81 : accept }",
            "add chain TABLE other; add rule TABLE other jump leaf",
            "add set TABLE strange { type ether_addr; elements = { 00:00:00:00:00:01 } }",
            "delete table TABLE; add table TABLE; add set TABLE doors { type inet_service; }",
            "delete table TABLE",
        ] {
            let observed = nft.observe(&table()).unwrap();
            nft.commit(&diff(observed.as_ref(), &desired)).unwrap();
            assert_eq!(nft.observe(&table()).unwrap().as_ref(), Some(&desired));
            run("nft", &[&script.replace("TABLE", &table_name)]);
            let observed = nft.observe(&table()).unwrap();
            assert_ne!(observed.as_ref(), Some(&desired), "{script}");
            let transaction = diff(observed.as_ref(), &desired);
            nft.commit(&transaction).unwrap_or_else(|error| panic!("{script}: {error}\n{transaction}"));
            assert_eq!(nft.observe(&table()).unwrap().as_ref(), Some(&desired), "{script}");
        }
    });
}

#[test]
fn every_commit_of_anybody_is_one_generation() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        let start = nft.generation().unwrap();
        nft.commit(&diff(None, &filled())).unwrap();
        assert_eq!(nft.generation().unwrap(), start + 1, "many changes, one commit");
        nft.commit(&transaction(vec![delete(81, Missing::Fail)])).unwrap_err();
        nft.observe(&table()).unwrap();
        assert_eq!(nft.generation().unwrap(), start + 1, "a refused one and a look do not count");
        run("nft", &["add", "table", "ip", "foreign"]);
        assert_eq!(nft.generation().unwrap(), start + 2);
    });
}

fn a_hundred_thousand() -> Ruleset {
    let mut desired = Ruleset::new(table());
    let key = [Type::Ipv4Address, Type::Protocol, Type::Port, Type::Mark];
    let mut set = Set::new(SetDefinition::map(key, [Type::Ipv4Address, Type::Port]));
    for number in 0..100_000u32 {
        let service = Value::from(std::net::Ipv4Addr::from_bits(0x0a60_0000 + number / 2));
        let endpoint = Value::from(std::net::Ipv4Addr::from_bits(0x0af4_0000 + number));
        let key = [service, L4Protocol::TCP.into(), Value::Port(80), Value::Mark(number % 2)];
        set.elements.insert(key.into(), Data::Values([endpoint, Value::Port(8080)].into()));
    }
    desired.sets.insert(SET, set);
    desired
}

#[test]
fn a_hundred_thousand_elements_are_read_back() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        let desired = a_hundred_thousand();
        nft.commit(&diff(None, &desired)).unwrap();
        let observed = nft.observe(&table()).unwrap().unwrap();
        assert!(observed == desired);

        let mut changed = desired.clone();
        let elements = &mut changed.sets.get_mut(&SET).unwrap().elements;
        let first = elements.keys().next().unwrap().clone();
        elements
            .insert(first, Data::Values([Value::from(std::net::Ipv4Addr::LOCALHOST), Value::Port(1)].into()));
        let transaction = diff(Some(&observed), &changed);
        assert_eq!(transaction.weight(), 2);
        nft.commit(&transaction).unwrap();
        assert!(nft.observe(&table()).unwrap().unwrap() == changed);
    });
}

/// Each commit of anybody disturbs dumps of chains, rules and sets in the namespace.
#[test]
fn a_neighbour_who_commits_all_the_time_hides_nothing() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        let desired = a_hundred_thousand();
        nft.commit(&diff(None, &desired)).unwrap();
        let mut neighbour = Nftables::open().unwrap();
        let seen = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let commits = scope.spawn(|| {
                let others = Table::new(Family::Ip, Name::constant("others"));
                let ops = [vec![Op::AddTable], vec![Op::DeleteTable]];
                let turns = ops.iter().cycle().take(20_000).take_while(|_| !seen.load(Ordering::Relaxed));
                turns
                    .map(|ops| {
                        neighbour
                            .commit(&Transaction { table: others.clone(), ops: ops.clone() })
                            .expect("a commit of the neighbour");
                        std::thread::sleep(Duration::from_millis(1));
                    })
                    .count()
            });
            let observed = nft.observe(&table());
            seen.store(true, Ordering::Relaxed);
            assert!(observed.unwrap().unwrap() == desired);
            assert!(commits.join().unwrap() > 1, "the neighbour was there");
        });
    });
}

#[test]
fn ranges_come_and_go_one_by_one() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        let one = SetDefinition::map([Type::Ipv4Address], [Type::Mark]).interval();
        let two = SetDefinition::set([Type::Ipv4Address, Type::Port]).interval();
        let nets =
            ["10.0.0.0/9", "10.128.0.0/9", "11.0.0.0/32", "11.0.0.1/32", "255.255.255.255/32", "0.0.0.0/8"];
        let nets = nets.map(|net| Value::prefix(net.parse().unwrap()));
        for mask in [0b00_0001, 0b11_1111, 0b01_0110, 0b10_1001, 0b00_0000, 0b11_0011] {
            let mut desired = Ruleset::new(table());
            let (mut maps, mut sets) = (Set::new(one.clone()), Set::new(two.clone()));
            for (index, net) in nets.iter().enumerate().filter(|(index, _)| mask >> index & 1 == 1) {
                maps.elements.insert([*net].into(), Data::Values([Value::Mark(index as u32 + mask)].into()));
                sets.elements.insert([*net, Value::Port(80)].into(), Data::Nothing);
            }
            desired.sets = [(SET, maps), (Name::constant("two"), sets)].into();
            let observed = nft.observe(&table()).unwrap();
            let transaction = diff(observed.as_ref(), &desired);
            nft.commit(&transaction).unwrap_or_else(|error| panic!("{error}\n{transaction}"));
            assert_eq!(nft.observe(&table()).unwrap(), Some(desired));
            run("nft", &["list", "ruleset"]);
        }
    });
}

#[test]
fn a_socket_stays_in_its_namespace() {
    in_fresh_namespace(|| {
        let mut outer = Nftables::open().unwrap();
        outer.commit(&diff(None, &filled())).unwrap();
        in_fresh_namespace(|| {
            assert_eq!(Nftables::open().unwrap().observe(&table()).unwrap(), None);
            assert_eq!(outer.observe(&table()).unwrap(), Some(filled()));
        });
    });
}

/// Packets from here to a service address that only nftables knows, and what clients leave in a dynamic map.
#[test]
fn a_dynamic_map_is_listed_and_cleared_but_never_planned() {
    in_fresh_namespace(|| {
        run("ip", &["link", "set", "lo", "up"]);
        let mut nft = Nftables::open().unwrap();
        let mut desired = Ruleset::new(table());
        let definition =
            SetDefinition::map([Type::Ipv4Address], [Type::Ipv4Address, Type::Port]).dynamic(10, None);
        let seen = SET;
        desired.sets.insert(seen.clone(), Set::new(definition.clone()));
        let note = Statement::Update {
            mode: netstate::nft::UpdateMode::Update,
            key: vec![Selector::SourceAddress],
            data: netstate::nft::UpdateData::Selectors(vec![
                Selector::DestinationAddress,
                Selector::DestinationPort,
            ]),
            timeout: Some(Duration::from_secs(60)),
            set: seen.clone(),
        };
        let base =
            BaseChain { kind: ChainKind::Filter, hook: Hook::Output, priority: 0, policy: Policy::Accept };
        let rule = Rule::new([Statement::equal(Selector::Protocol, L4Protocol::UDP), note]);
        desired.chains.insert(Name::constant("output"), Chain::base(base, [rule]));
        nft.commit(&diff(None, &desired)).unwrap();

        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"x", "127.0.0.2:9").unwrap();
        let elements = nft.elements(&table(), &seen, &definition).unwrap();
        let address = |text: &str| Value::Address(text.parse().unwrap());
        let went = Element::values([address("127.0.0.1")], [address("127.0.0.2"), Value::Port(9)]);
        assert_eq!(elements, [went]);
        let observed = nft.observe(&table()).unwrap().unwrap();
        assert_eq!(observed.sets[&seen].elements.len(), 1);
        assert_eq!(diff(Some(&observed), &desired).ops, []);

        let keys = vec![Tuple::from([address("127.0.0.1")]), Tuple::from([address("127.0.0.7")])];
        let clear = Op::DeleteElements {
            set: seen.clone(),
            definition: definition.clone(),
            keys,
            missing: Missing::Ignore,
        };
        nft.commit(&transaction(vec![clear])).unwrap();
        assert_eq!(nft.elements(&table(), &seen, &definition).unwrap(), []);
        let none = nft.elements(&table(), &Name::constant("none"), &definition).unwrap_err();
        assert!(none.is_not_found(), "{none}");
    });
}
