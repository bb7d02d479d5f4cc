use super::*;
use crate::nft::Family;

/// As iptables 1.8.9 prints it, in both variants alike.
const SAVED: &str = r#"*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING DROP [0:0]
:KUBE-SEP-A - [0:0]
:KUBE-SVC-B - [0:0]
-A PREROUTING -m comment --comment "somebody\'s \"own\"" -j LOG --log-prefix "a b"
-A PREROUTING -m ttl --ttl-lt 3 -m comment --comment x -j KUBE-SVC-B
-A POSTROUTING -s 10.0.0.0/255.0.255.0 -j SNAT --to-source 1.2.3.4
-A KUBE-SEP-A -s 1.2.3.4/32 -m comment --comment "a/b" -j MARK --set-xmark 0x4000/0x4000
-A KUBE-SEP-A -p tcp -m recent --set --name KUBE-SEP-A --mask 255.255.255.255 --rsource -m tcp -j DNAT --to-destination 1.2.3.4:80
-A KUBE-SEP-A -p sctp -m sctp --dport 80 -j DNAT --to-destination 1.2.3.4:80
-A KUBE-SEP-A -p udp -j REDIRECT --to-ports 53
-A KUBE-SEP-A -j MASQUERADE --random-fully
-A KUBE-SEP-A -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-SEP-A -j MARK --set-xmark 0x4000/0x0
-A KUBE-SEP-A -j SET --map-set KUBE-INSIDE dst,dst --map-mark
-A KUBE-SVC-B -m comment --comment x -m statistic --mode random --probability 0.33333333349 -j KUBE-SEP-A
-A KUBE-SVC-B -m comment --comment "default/a: x" -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-A --mask 255.255.255.255 --rsource -j KUBE-SEP-A
-A KUBE-SVC-B ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j KUBE-SEP-A
-A KUBE-SVC-B ! -i cbr0 -m addrtype --src-type LOCAL -j KUBE-SEP-A
-A KUBE-SVC-B -i cb+ -o eth0 -m addrtype ! --src-type LOCAL -g KUBE-SEP-A
-A KUBE-SVC-B -m set --match-set KUBE-CLUSTER-IP src,dst -j KUBE-SEP-A
-A KUBE-SVC-B -p tcp -m conntrack --ctstate RELATED,NEW -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable
-A KUBE-SVC-B -m comment --comment "kubernetes forwarding"
-A KUBE-SVC-B
COMMIT
"#;

fn name(text: &str) -> ChainName {
    ChainName::new(text).unwrap()
}

fn jump(chain: &str) -> Rule {
    Rule::new([], Target::Jump(name(chain)))
}

fn chain(rules: impl Into<Vec<Rule>>) -> Chain {
    Chain { policy: None, rules: rules.into() }
}

fn ours(chain: ChainName) -> bool {
    chain.as_str().starts_with("KUBE-")
}

#[test]
fn what_is_read_is_printed_again() {
    let chains = parse(Family::Ip, Table::Nat, SAVED).unwrap();
    // The order of states alone is ours.
    assert_eq!(save(Family::Ip, Table::Nat, &chains), SAVED);
    assert_eq!(chains.0[&name("POSTROUTING")].policy, Some(Policy::Drop));
    let foreign = |chain: &str, number: usize| &chains.0[&name(chain)].rules[number];
    assert!(matches!(foreign("PREROUTING", 0).target, Target::Other(_)));
    assert!(matches!(foreign("PREROUTING", 1).matches[0], Match::Other(_)));
    assert_eq!(foreign("PREROUTING", 1).chain(), Some(name("KUBE-SVC-B")), "what we know of it");
    let chance =
        Rule::new([Match::comment("x"), Match::Chance(Chance::one_in(3))], Target::Jump(name("KUBE-SEP-A")));
    assert_eq!(*foreign("KUBE-SVC-B", 0), chance);
}

#[test]
fn other_tables_counters_and_comments_are_passed_over() {
    let text = "# Generated\n*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j NOTRACK\nCOMMIT\n\n*filter\n:A - [3:4]\n\
                [5:60] -A A -j DROP\nCOMMIT\n";
    let chains = parse(Family::Ip, Table::Filter, text).unwrap();
    assert_eq!(chains, Chains([(name("A"), chain([Rule::new([], Target::Drop)]))].into()));
    assert_eq!(parse(Family::Ip, Table::Nat, text).unwrap(), Chains::default());
}

#[test]
fn ipv6_has_its_own_words() {
    let text = "*filter\n:A - [0:0]\n-A A -d fd00::1/128 -p tcp -m recent --set --name L --mask \
                ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff --rsource -j REJECT --reject-with \
                icmp6-port-unreachable\n-A A -p tcp -j DNAT --to-destination [fd00::2]:80\nCOMMIT\n";
    let chains = parse(Family::Ip6, Table::Filter, text).unwrap();
    assert_eq!(save(Family::Ip6, Table::Filter, &chains), text);
    let wrong_family = parse(Family::Ip, Table::Filter, text).unwrap();
    assert!(matches!(wrong_family.rules(name("A"))[0].target, Target::Other(_)));
}

#[test]
fn what_is_no_listing_is_refused_with_its_line() {
    for (text, line) in [
        ("-A A -j DROP\n", 1),
        ("*nat\n:A - [0:0]\n", 2),
        ("*nat\nx\nCOMMIT\n", 2),
        ("*nat\n:A MAYBE [0:0]\nCOMMIT\n", 2),
        ("*nat\n-A A -j DROP\nCOMMIT\n", 2),
        ("*nat\n:A - [0:0]\n-A A -m comment --comment \"x -j DROP\nCOMMIT\n", 3),
        ("*nat\n:A - [0:0]\n-A A -j DROP -j DROP\nCOMMIT\n", 3),
        ("*nat\n:A - [0:0]\n[1:2 -A A -j DROP\nCOMMIT\n", 3),
    ] {
        assert_eq!(parse(Family::Ip, Table::Nat, text).map_err(|error| error.line), Err(line), "{text}");
    }
}

#[test]
fn only_what_differs_is_changed() {
    let mut observed = parse(Family::Ip, Table::Nat, SAVED).unwrap();
    observed.0.insert(name("KUBE-OLD"), chain([jump("KUBE-SEP-A")]));
    observed.0.insert(name("KUBE-USED"), chain([]));
    observed.0.insert(name("CNI-X"), chain([jump("KUBE-USED")]));
    observed.0.get_mut(&name("OUTPUT")).unwrap().rules =
        vec![jump("CNI-X"), jump("KUBE-SVC-B"), jump("KUBE-OLD")];
    let desired: Desired = [
        (name("OUTPUT"), Wanted::Hooked(vec![jump("KUBE-NEW"), jump("KUBE-SVC-B")])),
        (name("KUBE-SEP-A"), Wanted::Exactly(observed.rules(name("KUBE-SEP-A")).to_vec())),
        (name("KUBE-SVC-B"), Wanted::Exactly(vec![jump("KUBE-SEP-A")])),
        (name("KUBE-NEW"), Wanted::Exactly(vec![])),
    ]
    .into();
    let transaction = diff(Table::Nat, &observed, desired, Scope::Whole, ours);
    let stray = observed.rules(name("PREROUTING"))[1].clone();
    let expected = Transaction {
        table: Table::Nat,
        replace: [(name("KUBE-NEW"), vec![]), (name("KUBE-SVC-B"), vec![jump("KUBE-SEP-A")])].into(),
        delete: vec![(name("PREROUTING"), stray), (name("OUTPUT"), jump("KUBE-OLD"))],
        insert: vec![(name("OUTPUT"), jump("KUBE-NEW"))],
        delete_chains: [name("KUBE-OLD")].into(),
    };
    assert_eq!(transaction, expected);
}

#[test]
fn a_chain_without_order_changes_by_single_rules() {
    let rules = |numbers: std::ops::Range<u32>| -> Vec<Rule> {
        let rule =
            |number| Rule::new([Match::Mark { sense: Sense::Is, value: number, mask: 1 }], Target::Drop);
        numbers.map(rule).collect()
    };
    let last = vec![jump("KUBE-SEP-A")];
    let at = name("KUBE-SERVICES");
    let observed = Chains([(at, chain([rules(0..20), last.clone()].concat()))].into());
    let wanted = |mut rules: Vec<Rule>| -> Desired {
        rules.reverse();
        [(at, Wanted::AnyOrder { rules, last: last.clone() })].into()
    };
    let change = |desired| diff(Table::Nat, &observed, desired, Scope::Whole, ours);
    assert!(change(wanted(rules(0..20))).is_empty(), "order is no difference");
    let moved = change(wanted(rules(1..21)));
    assert_eq!(moved.delete, [(at, rules(0..1)[0].clone())]);
    assert_eq!(moved.insert, [(at, rules(20..21)[0].clone())]);
    assert!(moved.replace.is_empty());
    assert_eq!(change(wanted(rules(30..50))).replace.len(), 1, "too much differs");
    let twice = [rules(0..20), rules(0..1)].concat();
    assert_eq!(change(wanted(twice)).insert.len(), 1);
    let without_last = Chains([(at, chain(rules(0..20)))].into());
    assert_eq!(diff(Table::Nat, &without_last, wanted(rules(0..20)), Scope::Whole, ours).replace.len(), 1);

    let part = |from: &[Rule], to: Vec<Rule>| {
        let observed = Chains([(at, chain(from))].into());
        let desired = [(at, Wanted::AnyOrder { rules: to, last: vec![] })].into();
        diff(Table::Nat, &observed, desired, Scope::Part, ours)
    };
    let first = part(&[], rules(0..1));
    assert!(first.replace.is_empty(), "the rest of the chain is not told");
    assert_eq!(first.insert.len(), 1);
}

#[test]
fn a_restore_declares_fills_changes_and_removes() {
    let transaction = Transaction {
        table: Table::Nat,
        replace: [(name("KUBE-B"), vec![jump("KUBE-A")]), (name("KUBE-A"), vec![])].into(),
        delete: vec![(name("OUTPUT"), jump("KUBE-OLD"))],
        insert: vec![(name("OUTPUT"), jump("KUBE-A")), (name("OUTPUT"), jump("KUBE-B"))],
        delete_chains: [name("KUBE-OLD")].into(),
    };
    let text = restore_input(Family::Ip, &[Transaction::new(Table::Filter), transaction.clone()]);
    let expected = "*nat\n:KUBE-B - [0:0]\n:KUBE-A - [0:0]\n-A KUBE-B -j KUBE-A\n\
                    -D OUTPUT -j KUBE-OLD\n-I OUTPUT -j KUBE-B\n-I OUTPUT -j KUBE-A\n-F KUBE-OLD\n-X KUBE-OLD\nCOMMIT\n";
    assert_eq!(text, expected);
    assert_eq!(transaction.weight(), 3 + 1 + 2 + 1);
    let (growing, shrinking) = transaction.growing_and_shrinking();
    assert_eq!((growing.weight(), shrinking.weight()), (5, 2));
}

#[test]
fn pieces_come_after_what_they_lead_to() {
    let mut whole = Transaction::new(Table::Nat);
    whole.replace.insert(name("KUBE-MARK"), vec![]);
    let mut services = Vec::new();
    for service in 0..40 {
        let ends = [0, 1].map(|end| format!("KUBE-SEP-{}", 1000 + (service * 7 % 40) * 2 + end));
        for end in &ends {
            whole.replace.insert(name(end), vec![jump("KUBE-MARK")]);
        }
        let at = format!("KUBE-SVC-{service}");
        whole.replace.insert(name(&at), ends.iter().map(|end| jump(end)).collect());
        services.push(jump(&at));
    }
    whole.replace.insert(name("KUBE-SERVICES"), services);
    whole.insert.push((name("OUTPUT"), jump("KUBE-SERVICES")));
    let pieces = whole.clone().split(30);
    assert_eq!(pieces.len(), 5);
    let mut there = std::collections::BTreeSet::new();
    for piece in &pieces {
        assert!(piece.replace.len() <= 33);
        there.extend(piece.replace.keys().copied());
        let targets = piece.replace.values().flatten().chain(piece.insert.iter().map(|(_, rule)| rule));
        assert!(targets.filter_map(Rule::chain).all(|target| there.contains(&target)));
    }
    assert_eq!(pieces.iter().map(Transaction::weight).sum::<usize>(), whole.weight());
    assert_eq!(pieces.last().unwrap().insert.len(), 1);
    assert_eq!(whole.clone().split(100).len(), 1);
}
