use std::collections::BTreeMap;
use std::net::SocketAddr;

use netstate::nft::trace::{Fate, Host, Origin, Packet};
use netstate::nft::{FakeNft, InterfaceName, L4Protocol};

use super::*;

fn config(range: &str, non_masquerade: &[&str]) -> Config {
    Config {
        range: range.parse().unwrap(),
        non_masquerade: non_masquerade.iter().map(|net| net.parse().unwrap()).collect(),
        uplink: LinkName::eth0(),
    }
}

/// The source address that is seen when 10.244.1.7 sends to an address, or this node to it.
fn seen(config: &Config, source: &str, destination: &str) -> String {
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
    let nft = FakeNft::new();
    nft.put(masquerade(config));
    let source: SocketAddr = format!("{source}:1025").parse().unwrap();
    let destination = format!("{destination}:80").parse().unwrap();
    let origin =
        if source.ip() == IpAddr::from([10, 100, 0, 2]) { Origin::Local } else { Origin::Interface(cbr0) };
    let packet = Packet::first(L4Protocol::TCP, source, destination);
    let outcome = nft.trace(&host, &origin, packet, &mut |_| 0);
    assert!(matches!(outcome.fate, Fate::Sent(_)), "{outcome:?}");
    outcome.packet.source.ip().to_string()
}

#[test]
fn only_what_leaves_the_cluster_is_masqueraded() {
    let config = config("10.244.1.0/24", &["10.0.0.0/8", "172.16.0.0/12"]);
    assert_eq!(seen(&config, "10.244.1.7", "192.0.2.2"), "10.100.0.2");
    assert_eq!(seen(&config, "10.244.1.7", "10.100.0.3"), "10.244.1.7");
    assert_eq!(seen(&config, "10.244.1.7", "10.244.2.9"), "10.244.1.7");
    assert_eq!(seen(&config, "10.244.1.7", "172.20.0.9"), "10.244.1.7");
    assert_eq!(seen(&config, "10.100.0.2", "192.0.2.2"), "10.100.0.2");
    assert_eq!(seen(&config, "10.245.1.7", "192.0.2.2"), "10.245.1.7", "not a pod of this node");
}

#[test]
fn the_nodes_own_range_is_never_masqueraded_to() {
    let config = config("10.244.1.0/24", &[]);
    assert_eq!(seen(&config, "10.244.1.7", "10.244.1.8"), "10.244.1.7");
    assert_eq!(seen(&config, "10.244.1.7", "10.244.2.8"), "10.100.0.2");
}

#[test]
fn ranges_within_others_are_named_once() {
    let text = |ranges: &[&str]| format!("{:?}", masquerade(&config("10.244.1.0/24", ranges)));
    assert_eq!(text(&["10.0.0.0/8", "10.96.0.0/12", "10.244.0.0/16"]), text(&["10.0.0.0/8"]));
}

#[test]
fn links_are_named_by_the_addresses_place_in_the_range() {
    let small = config("10.244.1.0/24", &[]);
    assert_eq!(small.host_link(Ipv4Addr::new(10, 244, 1, 7)).as_str(), "ptlp7");
    assert_eq!(small.gateway(), Ipv4Addr::new(10, 244, 1, 1));
    let largest = config("0.0.0.0/0", &[]);
    assert_eq!(largest.host_link(Ipv4Addr::BROADCAST).as_str(), "ptlp4294967295");
}
