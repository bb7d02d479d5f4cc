use super::*;

const CLUSTER: SetName = SetName::constant("KUBE-CLUSTER-IP");
const LOOP_BACK: SetName = SetName::constant("KUBE-LOOP-BACK");
const PORTS: SetName = SetName::constant("KUBE-NODE-PORT-TCP");
const MARKS: SetName = SetName::constant("KUBE-INSIDE");

fn at(address: &str, protocol: L4Protocol, port: u16) -> IpPort {
    IpPort { address: address.parse().unwrap(), protocol, port }
}

fn set(kind: SetKind, members: &[Member]) -> Set {
    Set { members: members.iter().copied().collect(), ..Set::new(kind, Family::Ip) }
}

fn words(ops: &[Op]) -> Vec<String> {
    ops.iter().map(ToString::to_string).collect()
}

fn sample() -> Sets {
    let https = at("10.96.0.1", L4Protocol::TCP, 443);
    let dns = at("10.96.0.10", L4Protocol::UDP, 53);
    let pod: IpAddr = "10.244.1.28".parse().unwrap();
    Sets::from([
        (CLUSTER, set(SetKind::IpPort, &[Member::IpPort(https), Member::IpPort(dns)])),
        (LOOP_BACK, set(SetKind::IpPortIp, &[Member::IpPortIp(at("10.244.1.28", L4Protocol::TCP, 80), pod)])),
        (PORTS, set(SetKind::Port, &[Member::Port(30_000)])),
        (MARKS, set(SetKind::IpPortMark, &[Member::IpPortMark(https, 0x10000)])),
    ])
}

#[test]
fn sets_read_as_ipset_saves_them() {
    let expected = "create KUBE-CLUSTER-IP hash:ip,port family inet
add KUBE-CLUSTER-IP 10.96.0.1,tcp:443
add KUBE-CLUSTER-IP 10.96.0.10,udp:53
create KUBE-INSIDE hash:ip,port family inet skbinfo
add KUBE-INSIDE 10.96.0.1,tcp:443 skbmark 0x10000
create KUBE-LOOP-BACK hash:ip,port,ip family inet
add KUBE-LOOP-BACK 10.244.1.28,tcp:80,10.244.1.28
create KUBE-NODE-PORT-TCP bitmap:port range 0-65535
add KUBE-NODE-PORT-TCP 30000
";
    assert_eq!(Saved(&sample()).to_string(), expected);
}

#[test]
fn only_what_differs_is_changed() {
    let mut fake = FakeIpset::new();
    fake.commit(&diff(&Sets::new(), &sample())).unwrap();
    assert_eq!(fake.sets(), sample());
    assert_eq!(fake.counts("KUBE-").unwrap().into_values().collect::<Vec<_>>(), [2, 1, 1, 1]);
    assert_eq!(fake.observe("KUBE-N").unwrap().into_keys().collect::<Vec<_>>(), [PORTS]);

    let mut wanted = sample();
    let https = at("10.96.0.1", L4Protocol::TCP, 443);
    wanted.insert(CLUSTER, set(SetKind::IpPort, &[Member::IpPort(https)]));
    wanted.insert(MARKS, set(SetKind::IpPortMark, &[Member::IpPortMark(https, 0x20000)]));
    wanted.insert(
        PORTS,
        set(SetKind::Port, &[Member::Port(30_000), Member::Port(30_001), Member::Port(30_002)]),
    );
    wanted.remove(&LOOP_BACK);
    let ops = diff(&fake.sets(), &wanted);
    let expected = [
        "destroy KUBE-LOOP-BACK",
        "add KUBE-INSIDE 10.96.0.1,tcp:443 skbmark 0x20000",
        "add KUBE-NODE-PORT-TCP 30001 and 1 more",
        "del KUBE-CLUSTER-IP 10.96.0.10,udp:53",
    ];
    assert_eq!(words(&ops), expected);
    fake.commit(&ops).unwrap();
    assert_eq!(fake.sets(), wanted);
    assert_eq!(diff(&fake.sets(), &wanted), []);
}

#[test]
fn a_set_of_another_kind_is_made_anew() {
    let mut found = sample();
    found.insert(PORTS, set(SetKind::Ip, &[]));
    let expected = [
        "destroy KUBE-NODE-PORT-TCP",
        "create KUBE-NODE-PORT-TCP bitmap:port range 0-65535",
        "add KUBE-NODE-PORT-TCP 30000",
    ];
    assert_eq!(words(&diff(&found, &sample())), expected);
}

#[test]
fn the_fake_refuses_what_the_kernel_refuses() {
    let mut fake = FakeIpset::new();
    fake.commit(&diff(&Sets::new(), &sample())).unwrap();
    fake.set_in_use([CLUSTER]);
    let error = fake.commit(&[Op::Destroy { set: CLUSTER }]).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("a rule still matches"), "{error}");
    let v6 = Member::IpPort(at("fd00::1", L4Protocol::TCP, 443));
    for member in [v6, Member::Port(1), Member::Ip("10.96.0.1".parse().unwrap())] {
        let op = Op::Add { set: CLUSTER, members: vec![member] };
        assert!(matches!(fake.commit(&[op]), Err(IpsetError::Unwritable { .. })), "{member}");
    }
    fake.commit(&[Op::Destroy { set: PORTS }]).unwrap();
    let gone = Op::Add { set: PORTS, members: vec![Member::Port(1)] };
    assert!(fake.commit(&[gone]).unwrap_err().is_not_found());
    // What is not in a set can be taken out, and what is can be put in.
    let member = Member::IpPort(at("10.96.0.99", L4Protocol::TCP, 1));
    fake.commit(&[Op::Delete { set: CLUSTER, members: vec![member] }]).unwrap();
}

#[test]
fn names_are_checked() {
    assert_eq!(SetName::parse("KUBE-6-CLUSTER-IP").unwrap().as_str(), "KUBE-6-CLUSTER-IP");
    for bad in ["", "two words", "quo\"te", "KUBE-LOAD-BALANCER-SOURCE-CIDR-X2"] {
        assert!(SetName::parse(bad).is_err(), "{bad:?}");
    }
}
