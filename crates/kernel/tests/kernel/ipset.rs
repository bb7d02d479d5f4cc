//! Sets as the kernel keeps them, judged by `ipset`.

use std::collections::BTreeSet;

use netstate::ipset::{IpPort, IpsetPort, Member, Op, Saved, Set, SetKind, SetName, Sets, diff};
use netstate::nft::{Family, L4Protocol};
use portolan_kernel::ipset::Ipset;

use super::isolation::{in_fresh_namespace, run};

fn name(text: &str) -> SetName {
    SetName::parse(text).unwrap()
}

fn at(address: &str, protocol: L4Protocol, port: u16) -> IpPort {
    IpPort { address: address.parse().unwrap(), protocol, port }
}

/// One of each kind, of each family.
fn sample() -> Sets {
    let mut sets = Sets::new();
    let families = [
        (Family::Ip, "KUBE-", ["10.96.0.1", "10.96.0.10", "10.244.1.28"], "192.0.2.0/24"),
        (Family::Ip6, "KUBE-6-", ["fd00::1", "fd00::a", "fd01::1c"], "2001:db8::/64"),
    ];
    for (family, prefix, [api, dns, pod], clients) in families {
        let (https, dns) = (at(api, L4Protocol::TCP, 443), at(dns, L4Protocol::UDP, 53));
        let (pod_address, clients) = (pod.parse().unwrap(), clients.parse().unwrap());
        let sctp = at(pod, L4Protocol::SCTP, 9999);
        let mut put = |tag: &str, kind, members: &[Member]| {
            let members = members.iter().copied().collect();
            sets.insert(name(&format!("{prefix}{tag}")), Set { members, ..Set::new(kind, family) });
        };
        put("IP", SetKind::Ip, &[Member::Ip(https.address), Member::Ip(dns.address)]);
        put("IP-PORT", SetKind::IpPort, &[Member::IpPort(https), Member::IpPort(dns), Member::IpPort(sctp)]);
        put("MARK", SetKind::IpPortMark, &[Member::IpPortMark(https, 0x8001_0000)]);
        put("IP-PORT-IP", SetKind::IpPortIp, &[Member::IpPortIp(sctp, pod_address)]);
        put("IP-PORT-NET", SetKind::IpPortNet, &[Member::IpPortNet(https, clients)]);
        put("PORT", SetKind::Port, &[Member::Port(30_000), Member::Port(0), Member::Port(65_535)]);
        put("EMPTY", SetKind::IpPort, &[]);
    }
    sets
}

#[test]
fn every_kind_of_set_is_read_back_and_shown_by_ipset() {
    in_fresh_namespace(|| {
        let mut ipset = Ipset::open().unwrap();
        assert_eq!(ipset.observe("").unwrap(), Sets::new());
        ipset.commit(&diff(&Sets::new(), &sample())).unwrap();
        assert_eq!(ipset.observe("KUBE-").unwrap(), sample());
        let members = sample().into_iter().map(|(name, set)| (name, set.members.len())).collect();
        assert_eq!(ipset.counts("KUBE-").unwrap(), members);
        assert_eq!(ipset.observe("KUBE-6-IP-PORT-").unwrap().len(), 2);

        let shown = run("ipset", &["save"]);
        let added = |text: &str| -> BTreeSet<String> {
            text.lines().filter(|line| line.starts_with("add")).map(str::to_owned).collect()
        };
        assert_eq!(added(&shown), added(&Saved(&sample()).to_string()));
        assert!(shown.contains("create KUBE-6-MARK hash:ip,port family inet6"), "{shown}");
    });
}

#[test]
fn members_come_and_go_and_what_is_not_there_is_no_error() {
    in_fresh_namespace(|| {
        let mut ipset = Ipset::open().unwrap();
        ipset.commit(&diff(&Sets::new(), &sample())).unwrap();
        let mut wanted = sample();
        let https = at("10.96.0.1", L4Protocol::TCP, 443);
        wanted.get_mut(&name("KUBE-IP-PORT")).unwrap().members.remove(&Member::IpPort(https));
        wanted.get_mut(&name("KUBE-PORT")).unwrap().members.insert(Member::Port(30_001));
        wanted.get_mut(&name("KUBE-MARK")).unwrap().members = [Member::IpPortMark(https, 0x8002_0000)].into();
        wanted.remove(&name("KUBE-EMPTY"));
        let ops = diff(&ipset.observe("KUBE-").unwrap(), &wanted);
        assert_eq!(ops.len(), 4, "{ops:?}");
        ipset.commit(&ops).unwrap();
        // Everything once more.
        let set = name("KUBE-IP-PORT");
        let gone = Op::Delete { set, members: vec![Member::IpPort(https)] };
        ipset
            .commit(&[gone, Op::Add { set: name("KUBE-PORT"), members: vec![Member::Port(30_001)] }])
            .unwrap();
        assert_eq!(ipset.observe("KUBE-").unwrap(), wanted);
    });
}

#[test]
fn refusals_say_which_change_and_why() {
    in_fresh_namespace(|| {
        let mut ipset = Ipset::open().unwrap();
        let (set, missing) = (name("KUBE-IP"), name("KUBE-MISSING"));
        ipset.commit(&diff(&Sets::new(), &Sets::from([(set.clone(), sample()[&set].clone())]))).unwrap();
        let lost = Op::Add { set: missing.clone(), members: vec![Member::Port(1)] };
        let there = Op::Add { set: set.clone(), members: vec![Member::Ip("10.96.0.77".parse().unwrap())] };
        let error = ipset.commit(&[lost, there]).unwrap_err();
        assert!(error.is_not_found(), "{error}");
        assert_eq!(
            ipset.observe("KUBE-").unwrap()[&set].members.len(),
            3,
            "the others are made all the same"
        );

        run("iptables", &["-A", "INPUT", "-m", "set", "--match-set", "KUBE-IP", "dst", "-j", "DROP"]);
        let error = ipset.commit(&[Op::Destroy { set }]).unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("a rule still matches on the set"), "{error}");
    });
}

#[test]
fn sets_that_others_made_differently_are_told_apart() {
    in_fresh_namespace(|| {
        run("ipset", &["create", "KUBE-LIST", "list:set"]);
        run("ipset", &["create", "KUBE-OLD", "hash:ip", "timeout", "60"]);
        run("ipset", &["create", "KUBE-FEW", "bitmap:port", "range", "1-9"]);
        run("ipset", &["create", "OTHER", "hash:ip"]);
        let found = Ipset::open().unwrap().observe("KUBE-").unwrap();
        assert_eq!(found.len(), 3);
        assert!(found.values().all(|set| set.definition.kind == SetKind::Foreign), "{found:?}");
    });
}

#[test]
fn many_members_are_written_at_once() {
    in_fresh_namespace(|| {
        let mut ipset = Ipset::open().unwrap();
        let address = |number: u32| std::net::Ipv4Addr::from_bits(0x0a60_0000 + number).to_string();
        let members =
            (0..100_000).map(|number| Member::IpPort(at(&address(number), L4Protocol::TCP, 80))).collect();
        let set = Set { members, ..Set::new(SetKind::IpPort, Family::Ip) };
        let wanted = Sets::from([(name("KUBE-MANY"), set)]);
        ipset.commit(&diff(&Sets::new(), &wanted)).unwrap();
        assert_eq!(ipset.counts("KUBE-").unwrap().into_values().collect::<Vec<_>>(), [100_000]);
        assert_eq!(ipset.observe("KUBE-").unwrap(), wanted);
    });
}
