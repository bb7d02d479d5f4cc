use super::*;
use crate::iptables::{Chain, FakeIptables, parse};
use crate::nft::{ConnectionState, InterfaceName, L4Protocol};

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

fn with(text: &str) -> FakeIptables {
    let fake = FakeIptables::new(Family::Ip);
    for table in Table::ALL {
        let chains = parse(Family::Ip, table, text).unwrap();
        fake.change(table, |there| there.0.extend(chains.0));
    }
    fake
}

fn service() -> FakeIptables {
    with(
        "*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:MARK-IT - [0:0]
:SVC - [0:0]
:SEP-1 - [0:0]
:SEP-2 - [0:0]
:STICKY - [0:0]
:LEAVE - [0:0]
-A PREROUTING -j SVC
-A OUTPUT -j SVC
-A POSTROUTING -j LEAVE
-A MARK-IT -j MARK --set-xmark 0x4000/0x4000
-A SVC -d 10.96.0.2/32 -p tcp -m tcp --dport 80 -j STICKY
-A SVC ! -d 10.96.0.1/32 -j RETURN
-A SVC ! -s 10.244.0.0/16 -j MARK-IT
-A SVC -m statistic --mode random --probability 0.50000000000 -j SEP-1
-A SVC -j SEP-2
-A STICKY -m recent --rcheck --seconds 60 --reap --name SEP-1 --mask 255.255.255.255 --rsource -j SEP-1
-A STICKY -m statistic --mode random --probability 0.50000000000 -j SEP-1
-A STICKY -j SEP-2
-A SEP-1 -p tcp -m recent --set --name SEP-1 --mask 255.255.255.255 --rsource -m tcp -j DNAT --to-destination 10.244.1.2:8080
-A SEP-2 -p tcp -m tcp -j DNAT --to-destination 10.244.2.2:8080
-A LEAVE -m mark ! --mark 0x4000/0x4000 -j RETURN
-A LEAVE -j MARK --set-xmark 0x4000/0x0
-A LEAVE -j MASQUERADE --random-fully
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:PORTS - [0:0]
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
-A FORWARD -m conntrack --ctstate NEW -g PORTS
-A FORWARD -j DROP
-A PORTS -d 10.96.0.3/32 -j REJECT --reject-with icmp-port-unreachable
COMMIT
",
    )
}

fn ask(fake: &FakeIptables, origin: &str, from: &str, to: &str, random: u32) -> Outcome {
    let origin = if origin == "here" { Origin::Local } else { Origin::Interface(interface(origin)) };
    let packet = Packet::first(L4Protocol::TCP, from.parse().unwrap(), to.parse().unwrap());
    fake.trace(&node(), &origin, packet, &mut |below| {
        assert_eq!(below, Chance::WHOLE);
        random
    })
}

#[test]
fn a_pods_packet_is_balanced_and_keeps_its_source() {
    let fake = service();
    for (random, endpoint, way) in [(0, "10.244.1.2:8080", "cbr0"), (1 << 30, "10.244.2.2:8080", "eth0")] {
        let outcome = ask(&fake, "cbr0", "10.244.1.9:4000", "10.96.0.1:80", random);
        assert_eq!(outcome.fate, Fate::Sent(interface(way)));
        assert_eq!(outcome.destination_nat, Some(endpoint.parse().unwrap()));
        assert_eq!(outcome.masqueraded, None);
        let last = &outcome.trail[outcome.trail.len() - 4..];
        assert!(
            last.iter().any(|step| step.effect == Effect::DestinationNat(endpoint.parse().unwrap())),
            "{last:?}"
        );
    }
}

#[test]
fn a_nodes_packet_is_marked_and_masqueraded_and_the_mark_is_gone() {
    let outcome = ask(&service(), "here", "10.100.0.2:4000", "10.96.0.1:80", 0);
    assert_eq!(outcome.fate, Fate::Sent(interface("cbr0")));
    assert_eq!(outcome.masqueraded, Some("10.244.1.1".parse().unwrap()));
    assert_eq!(outcome.packet.mark, 0);
}

#[test]
fn who_was_seen_lately_stays() {
    let fake = service();
    let ask = |from, random| ask(&fake, "cbr0", from, "10.96.0.2:80", random).packet.destination.to_string();
    assert_eq!(ask("10.244.1.9:1", u32::MAX), "10.244.2.2:8080");
    assert_eq!(ask("10.244.1.9:1", 0), "10.244.1.2:8080");
    assert_eq!(ask("10.244.1.9:1", u32::MAX), "10.244.1.2:8080");
    assert_eq!(ask("10.244.1.8:1", u32::MAX), "10.244.2.2:8080");
}

#[test]
fn policies_refusals_and_the_way_back_from_goto() {
    let fake = service();
    let fate = |to| ask(&fake, "eth0", "192.0.2.1:1", to, 0).fate;
    assert_eq!(fate("10.100.0.2:22"), Fate::Delivered);
    assert_eq!(fate("10.100.0.2:23"), Fate::Dropped, "the policy");
    assert_eq!(fate("10.96.0.3:80"), Fate::Rejected(Reject::PortUnreachable));
    assert_eq!(fate("10.96.0.4:80"), Fate::Sent(interface("eth0")), "goto does not come back");
    let mut later =
        Packet::first(L4Protocol::TCP, "192.0.2.1:1".parse().unwrap(), "10.96.0.1:80".parse().unwrap());
    later.state = ConnectionState::Established;
    let outcome = fake.trace(&node(), &Origin::Interface(interface("eth0")), later, &mut |_| 0);
    assert_eq!((outcome.destination_nat, outcome.fate), (None, Fate::Dropped), "no first packet");
}

#[test]
fn chains_that_lead_to_themselves_end() {
    let fake = service();
    let at = ChainName::constant("SVC");
    let round = Chain { policy: None, rules: vec![Rule::new([], Target::Jump(at))] };
    fake.change(Table::Nat, |chains| drop(chains.0.insert(at, round)));
    assert_eq!(ask(&fake, "eth0", "192.0.2.1:1", "10.96.0.1:80", 0).fate, Fate::Dropped);
}
