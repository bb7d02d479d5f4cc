use std::net::SocketAddr;

use netstate::link::LinkName;
use netstate::nft::FakeNft;
use netstate::nft::trace::{Fate, Host, Origin, Outcome, Packet};

use super::*;

const POD: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 7);

fn port(protocol: L4Protocol, address: Option<&str>, port: u16) -> HostPort {
    HostPort { protocol, address: address.map(|address| address.parse().unwrap()), port, pod_port: 80 }
}

fn published(ports: &[HostPort]) -> Published {
    BTreeMap::from([(SandboxId::new("a"), (POD, ports.to_vec()))])
}

/// What becomes of a packet of the node whose pod has these ports.
fn sent(ports: &[HostPort], via: &str, protocol: L4Protocol, from: &str, to: &str) -> Outcome {
    let (eth0, cbr0) = (InterfaceName::new("eth0").unwrap(), InterfaceName::new("cbr0").unwrap());
    let host = Host {
        addresses: BTreeMap::from([
            ("10.100.0.2".parse().unwrap(), eth0),
            ("10.244.1.1".parse().unwrap(), cbr0),
        ]),
        routes: BTreeMap::from([
            ("0.0.0.0/0".parse().unwrap(), eth0),
            ("10.244.1.0/24".parse().unwrap(), cbr0),
        ]),
    };
    let config = Config {
        range: "10.244.1.0/24".parse().unwrap(),
        non_masquerade: Vec::new(),
        uplink: LinkName::eth0(),
    };
    let nft = FakeNft::new();
    nft.put(ruleset(&config, &published(ports)));
    let origin =
        if via == "here" { Origin::Local } else { Origin::Interface(InterfaceName::new(via).unwrap()) };
    let packet = Packet::first(protocol, from.parse().unwrap(), to.parse().unwrap());
    nft.trace(&host, &origin, packet, &mut |_| 0)
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn the_nodes_port_leads_to_the_pod_from_everywhere() {
    let ports = [port(L4Protocol::TCP, None, 8080)];
    let cbr0 = Fate::Sent(InterfaceName::new("cbr0").unwrap());
    for (via, from, to, seen) in [
        ("eth0", "192.0.2.2:4000", "10.100.0.2:8080", "192.0.2.2"),
        ("cbr0", "10.244.1.8:4000", "10.100.0.2:8080", "10.244.1.8"),
        ("here", "10.100.0.2:4000", "10.100.0.2:8080", "10.100.0.2"),
        // The pod itself, and the node's loopback, would not find the way back.
        ("cbr0", "10.244.1.7:4000", "10.100.0.2:8080", "10.244.1.1"),
        ("here", "127.0.0.1:4000", "127.0.0.1:8080", "10.244.1.1"),
    ] {
        let outcome = sent(&ports, via, L4Protocol::TCP, from, to);
        assert_eq!((outcome.fate, outcome.packet.destination), (cbr0, address("10.244.1.7:80")), "{from}");
        assert_eq!(outcome.packet.source.ip().to_string(), seen, "{from}");
    }
}

#[test]
fn other_ports_protocols_and_addresses_are_left_alone() {
    let ports = [port(L4Protocol::TCP, None, 8080), port(L4Protocol::UDP, Some("10.100.0.2"), 53)];
    for (protocol, to) in [
        (L4Protocol::TCP, "10.100.0.2:8081"),
        (L4Protocol::UDP, "10.100.0.2:8080"),
        (L4Protocol::TCP, "10.100.0.3:8080"),
        (L4Protocol::UDP, "10.244.1.1:53"),
    ] {
        let outcome = sent(&ports, "eth0", protocol, "192.0.2.2:4000", to);
        assert_eq!((outcome.packet.destination, outcome.masqueraded), (address(to), None));
    }
    let at_address = sent(&ports, "eth0", L4Protocol::UDP, "192.0.2.2:4000", "10.100.0.2:53");
    assert_eq!(at_address.destination_nat, Some(address("10.244.1.7:80")));
}

#[test]
fn pods_do_not_reach_the_nodes_loopback() {
    let outcome = sent(&[], "cbr0", L4Protocol::TCP, "10.244.1.8:4000", "127.0.0.1:6443");
    assert_eq!(outcome.fate, Fate::Dropped);
    let own = sent(&[], "here", L4Protocol::TCP, "127.0.0.1:4000", "127.0.0.1:6443");
    assert_eq!(own.fate, Fate::Delivered);
}

#[test]
fn udp_clients_of_a_port_that_changes_hands_start_over() {
    let (tcp, udp) = (port(L4Protocol::TCP, None, 8080), port(L4Protocol::UDP, None, 53));
    let (none, both) = (Published::new(), published(&[tcp, udp]));
    let all = Filter::protocol(L4Protocol::UDP).to_port(53);
    assert_eq!(stale(&none, &both), [all]);
    assert_eq!(stale(&both, &none), [all]);
    assert_eq!(stale(&both, &both), []);
}

#[test]
fn the_first_of_two_has_the_port() {
    let ports = vec![port(L4Protocol::TCP, None, 8080)];
    let mut both = published(&ports);
    both.insert(SandboxId::new("b"), (Ipv4Addr::new(10, 244, 1, 8), ports));
    assert_eq!(doors(&both).into_values().collect::<Vec<_>>(), [(POD, 80)]);
}
