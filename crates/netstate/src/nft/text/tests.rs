use super::*;
use crate::nft::{Chain, L4Protocol, Missing, Name, Set, Table, diff};

const LB: Name = Name::constant("lb-2");

fn ruleset() -> Ruleset {
    let mut ruleset = Ruleset::new(Table::new(Family::Ip, Name::constant("portolan-services")));
    let door = [Selector::DestinationAddress, Selector::Protocol, Selector::DestinationPort];
    let mut services = Set::new(SetDefinition::verdict_map([Type::Ipv4Address, Type::Protocol, Type::Port]));
    for last in 1..=2 {
        let address = Value::Address(std::net::Ipv4Addr::new(10, 96, 0, last).into());
        let key = [address, L4Protocol::TCP.into(), Value::Port(80)];
        services.elements.insert(key.into(), Data::Verdict(Verdict::Goto(LB)));
    }
    let affinity = SetDefinition::map([Type::Ipv4Address], [Type::Ipv4Address, Type::Port]);
    ruleset.sets.insert(Name::constant("services"), Set::new(services.definition.clone()));
    ruleset.sets.insert(Name::constant("services"), services);
    ruleset
        .sets
        .insert(Name::constant("affinity"), Set::new(affinity.dynamic(9, Some(Duration::from_secs(10_800)))));
    ruleset.chains.insert(
        LB,
        Chain::regular([Rule::new([Statement::dnat_map([door[0]], Name::constant("affinity"))])]),
    );
    let base = BaseChain {
        kind: ChainKind::Nat,
        hook: Hook::Prerouting,
        priority: priority::DESTINATION_NAT,
        policy: Policy::Accept,
    };
    let rule =
        Rule::new([Statement::to_this_node(), Statement::verdict_map(door, Name::constant("services"))]);
    ruleset.chains.insert(Name::constant("prerouting"), Chain::base(base, [rule]));
    ruleset
}

#[test]
fn a_table_reads_as_nft_lists_it() {
    let expected = "\
table ip portolan-services {
	map affinity {
		type ipv4_addr : ipv4_addr . inet_service
		size 9
		flags dynamic,timeout
		timeout 3h
	}

	map services {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = { 10.96.0.1 . tcp . 80 : goto lb-2,
			     10.96.0.2 . tcp . 80 : goto lb-2 }
	}

	chain lb-2 {
		dnat ip to ip daddr map @affinity
	}

	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local ip daddr . meta l4proto . th dport vmap @services
	}
}
";
    assert_eq!(ruleset().to_string(), expected);
}

#[test]
fn a_transaction_reads_as_a_script() {
    let mut transaction = diff(None, &ruleset());
    transaction.ops.push(Op::DeleteElements {
        set: Name::constant("affinity"),
        definition: ruleset().sets[&Name::constant("affinity")].definition.clone(),
        keys: vec![Tuple::from([Value::Address(std::net::Ipv4Addr::LOCALHOST.into())])],
        missing: Missing::Ignore,
    });
    let expected = "\
add table ip portolan-services
add chain ip portolan-services lb-2
add chain ip portolan-services prerouting { type nat hook prerouting priority dstnat; policy accept; }
add map ip portolan-services affinity { type ipv4_addr : ipv4_addr . inet_service; size 9; flags dynamic,timeout; timeout 3h }
add map ip portolan-services services { type ipv4_addr . inet_proto . inet_service : verdict }
add element ip portolan-services services { 10.96.0.1 . tcp . 80 : goto lb-2, 10.96.0.2 . tcp . 80 : goto lb-2 }
flush chain ip portolan-services lb-2
add rule ip portolan-services lb-2 dnat ip to ip daddr map @affinity
flush chain ip portolan-services prerouting
add rule ip portolan-services prerouting fib daddr type local ip daddr . meta l4proto . th dport vmap @services
destroy element ip portolan-services affinity { 127.0.0.1 }
";
    assert_eq!(transaction.to_string(), expected);
}

#[test]
fn a_change_is_told_in_a_few_words() {
    let summaries: Vec<String> = diff(None, &ruleset()).ops.iter().map(Op::summary).collect();
    assert_eq!(
        summaries,
        [
            "add table",
            "add chain lb-2",
            "add chain prerouting",
            "add map affinity",
            "add map services",
            "add 2 elements to services",
            "replace the rules of chain lb-2 by 1",
            "replace the rules of chain prerouting by 1",
        ]
    );
}

#[test]
fn durations_read_as_nfts() {
    let text = |milliseconds| DurationText(Duration::from_millis(milliseconds)).to_string();
    assert_eq!(text(0), "0s");
    assert_eq!(text(10_800_000), "3h");
    assert_eq!(text(90_061_001), "1d1h1m1s1ms");
}
