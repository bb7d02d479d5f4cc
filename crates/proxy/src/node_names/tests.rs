use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use netstate::nft::trace::{Host, Origin, Outcome, Packet};
use netstate::nft::{ConnectionState, FakeNft, InterfaceName, L4Protocol};

use super::*;

const DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

fn servers(last: &[u8]) -> BTreeSet<Ipv4Addr> {
    last.iter().map(|last| Ipv4Addr::new(10, 100, 0, *last)).collect()
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// What becomes of a packet from a pod.
fn ask(nft: &FakeNft, protocol: L4Protocol, to: &str, chance: u32) -> Outcome {
    let lo = InterfaceName::new("lo").unwrap();
    let bridge = InterfaceName::new("cbr0").unwrap();
    let host = Host {
        addresses: [(DNS.into(), lo)].into(),
        routes: [("10.0.0.0/8".parse().unwrap(), bridge)].into(),
    };
    let packet = Packet::first(protocol, address("10.244.1.7:4000"), address(to));
    nft.trace(&host, &Origin::Interface(bridge), packet, &mut |modulus| chance % modulus)
}

#[test]
fn queries_stay_here_while_somebody_answers_and_go_elsewhere_afterwards() {
    let nft = FakeNft::new();
    let mut names = NodeNames::new(DNS, nft.clone(), nft.clone());
    for protocol in [L4Protocol::UDP, L4Protocol::TCP] {
        names.sync(true, &servers(&[3, 4])).unwrap();
        let outcome = ask(&nft, protocol, "10.96.0.10:53", 0);
        assert_eq!((outcome.packet.destination, outcome.destination_nat), (address("10.96.0.10:53"), None));
        assert_eq!(outcome.packet.state, ConnectionState::Untracked);
        assert_eq!(ask(&nft, protocol, "10.96.0.10:80", 0).packet.state, ConnectionState::New, "other ports");
        assert_eq!(
            ask(&nft, protocol, "10.96.0.11:53", 0).packet.state,
            ConnectionState::New,
            "other addresses"
        );

        names.sync(false, &servers(&[3, 4])).unwrap();
        let gone: Vec<_> =
            [0, 1].map(|chance| ask(&nft, protocol, "10.96.0.10:53", chance).packet.destination).into();
        assert_eq!(gone, [address("10.100.0.3:53"), address("10.100.0.4:53")]);
    }
    names.sync(false, &servers(&[])).unwrap();
    let outcome = ask(&nft, L4Protocol::UDP, "10.96.0.10:53", 0);
    assert_eq!(outcome.destination_nat, None, "left to the service proxy");
}

#[test]
fn nothing_is_written_twice_and_what_others_wrote_over_is_mended() {
    let nft = FakeNft::new();
    let mut names = NodeNames::new(DNS, nft.clone(), nft.clone());
    assert!(names.sync(true, &servers(&[3])).unwrap() > 0);
    for _ in 0..3 {
        assert_eq!(names.sync(true, &servers(&[3])).unwrap(), 0);
    }
    let before = nft.observations();
    assert_eq!(
        (names.sync(true, &servers(&[3])).unwrap(), nft.observations()),
        (0, before),
        "the kernel is not read"
    );
    let mut damaged = nft.table(&OTHERS).unwrap();
    damaged.chains.clear();
    nft.put(damaged);
    assert!(names.sync(true, &servers(&[3])).unwrap() > 0);
    assert_eq!(nft.table(&OTHERS).unwrap(), others(DNS, &servers(&[3])));
}

#[test]
fn a_refusal_is_tried_again() {
    let nft = FakeNft::new();
    let mut names = NodeNames::new(DNS, nft.clone(), nft.clone());
    nft.fail_next_commit(16);
    assert!(names.sync(true, &servers(&[3])).is_err());
    names.sync(true, &servers(&[3])).unwrap();
    assert_eq!(nft.table(&HERE).unwrap(), here(DNS));
}
