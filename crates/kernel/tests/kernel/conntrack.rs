//! Connection tracking: what traffic leaves there is listed and forgotten.

use std::net::UdpSocket;

use netstate::conntrack::{ConntrackPort, Filter};
use netstate::nft::{
    BaseChain, Chain, ChainKind, Family, Hook, L4Protocol, Name, NatTarget, NftPort, Policy, Rule, Ruleset,
    Selector, Statement, Table, Value, diff, priority,
};
use portolan_kernel::{conntrack::Conntrack, nft::Nftables};

use super::isolation::{in_fresh_namespace, run};

/// UDP to 10.96.0.10:53 goes to this endpoint.
fn service(endpoint: &str) -> Ruleset {
    let mut ruleset = Ruleset::new(Table::new(Family::Ip, Name::constant("portolan-test")));
    let base = BaseChain {
        kind: ChainKind::Nat,
        hook: Hook::Output,
        priority: priority::DESTINATION_NAT,
        policy: Policy::Accept,
    };
    let rule = Rule::new([
        Statement::equal(Selector::DestinationAddress, Value::Address("10.96.0.10".parse().unwrap())),
        Statement::equal(Selector::Protocol, L4Protocol::UDP),
        Statement::equal(Selector::DestinationPort, Value::Port(53)),
        Statement::DestinationNat(NatTarget::Address {
            address: endpoint.parse().unwrap(),
            port: Some(5353),
        }),
    ]);
    ruleset.chains.insert(Name::constant("output"), Chain::base(base, [rule]));
    ruleset
}

fn hears(endpoint: &UdpSocket, word: &[u8]) -> bool {
    let mut buffer = [0; 16];
    endpoint.recv(&mut buffer).is_ok_and(|length| &buffer[..length] == word)
}

#[test]
fn a_udp_client_leaves_a_vanished_endpoint_once_its_entry_is_gone() {
    in_fresh_namespace(|| {
        run("ip", &["link", "set", "lo", "up"]);
        run("ip", &["address", "add", "10.244.1.2/32", "dev", "lo"]);
        run("ip", &["address", "add", "10.244.1.3/32", "dev", "lo"]);
        run("ip", &["route", "add", "10.96.0.0/12", "dev", "lo"]);
        let endpoints = ["10.244.1.2", "10.244.1.3"].map(|address| {
            let socket = UdpSocket::bind((address, 5353)).unwrap();
            socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
            socket
        });
        let mut nft = Nftables::open().unwrap();
        let mut conntrack = Conntrack::open().unwrap();
        let first = service("10.244.1.2");
        nft.commit(&diff(None, &first)).unwrap();
        let client = UdpSocket::bind("10.244.1.2:0").unwrap();
        client.connect("10.96.0.10:53").unwrap();
        client.send(b"one").unwrap();
        assert!(hears(&endpoints[0], b"one"));

        nft.commit(&diff(Some(&first), &service("10.244.1.3"))).unwrap();
        client.send(b"two").unwrap();
        assert!(hears(&endpoints[0], b"two"), "the connection is still remembered");

        let to_service = Filter::protocol(L4Protocol::UDP).to("10.96.0.10".parse().unwrap(), 53);
        let stale = to_service.answered_by("10.244.1.2".parse().unwrap(), 5353);
        let listed = conntrack.list(&[stale]).unwrap();
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!(listed[0].original.source, client.local_addr().unwrap());
        assert_eq!(conntrack.list(&[]).unwrap(), []);
        let other = to_service.answered_by("10.244.1.9".parse().unwrap(), 5353);
        let over_tcp = Filter { protocol: L4Protocol::TCP, ..stale };
        assert_eq!(conntrack.delete(&[other, over_tcp]).unwrap(), 0);
        assert_eq!(conntrack.delete(&[stale, to_service]).unwrap(), 1);
        assert_eq!(conntrack.delete(&[stale]).unwrap(), 0);

        client.send(b"three").unwrap();
        assert!(hears(&endpoints[1], b"three"));
    });
}

#[test]
fn many_entries_are_forgotten_at_once() {
    in_fresh_namespace(|| {
        run("ip", &["link", "set", "lo", "up"]);
        run("ip", &["address", "add", "10.244.1.2/32", "dev", "lo"]);
        run("ip", &["route", "add", "10.96.0.0/12", "dev", "lo"]);
        Nftables::open().unwrap().commit(&diff(None, &service("10.244.1.2"))).unwrap();
        let mut conntrack = Conntrack::open().unwrap();
        let client = UdpSocket::bind("10.244.1.2:0").unwrap();
        // One connection per source address on lo.
        for number in 0..1_200u32 {
            let source = std::net::Ipv4Addr::from_bits(0x7f01_0000 + number);
            let client = UdpSocket::bind((source, 0)).unwrap();
            client.send_to(b"x", "10.96.0.10:53").unwrap();
        }
        drop(client);
        let filter = Filter::protocol(L4Protocol::UDP).answered_by("10.244.1.2".parse().unwrap(), 5353);
        assert_eq!(conntrack.delete(&[filter]).unwrap(), 1_200);
        assert_eq!(conntrack.list(&[filter]).unwrap(), []);
    });
}
