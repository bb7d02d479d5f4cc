//! What becomes of packets: the contract of this mode, walked through without a kernel.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use model::{Changes, Port, Protocol, Service, ServiceKind, ServicePort, SessionAffinity, TrafficPolicy};
use netstate::conntrack::FakeConntrack;
use netstate::nft::trace::{Fate, Host, Origin, Packet};
use netstate::nft::{FakeNft, InterfaceName, L4Protocol};

use super::NftablesProxy;
use crate::sample::Cluster;
use crate::{Dataplane, LocalTraffic, NodeContext, NodePortAddresses};

fn interface(name: &str) -> InterfaceName {
    InterfaceName::new(name).unwrap()
}

/// node1 of the reference cluster.
fn host() -> Host {
    let addresses = [("10.100.0.2", "eth0"), ("10.244.1.1", "cbr0")];
    let routes = [("10.100.0.0/24", "eth0"), ("10.244.1.0/24", "cbr0"), ("0.0.0.0/0", "eth0")];
    Host {
        addresses: addresses.map(|(address, name)| (address.parse().unwrap(), interface(name))).into(),
        routes: routes.map(|(range, name)| (range.parse().unwrap(), interface(name))).into(),
    }
}

/// Three endpoints, of which the last is on another node; a service without any; one that remembers.
fn cluster() -> Cluster {
    let node_port =
        |number| move |service: &mut Service| service.ports[0].node_port = Port::try_from(number).ok();
    let endpoints = ["10.244.1.28", "10.244.1.29", "10.244.2.22"];
    Cluster::new()
        .service("httpd-svc", "10.96.203.6", |service| {
            node_port(30_000)(service);
            service.ports.push(ServicePort {
                name: "".into(),
                protocol: Protocol::Udp,
                port: Port::try_from(53).unwrap(),
                node_port: None,
            });
        })
        .endpoints("httpd-svc", &endpoints)
        .service("empty", "10.96.0.8", node_port(30_001))
        .service("sticky", "10.96.0.9", |service| {
            node_port(30_002)(service);
            service.affinity = SessionAffinity::ClientAddress { timeout: Duration::from_secs(10_800) };
        })
        .endpoints("sticky", &endpoints)
}

/// A service behind a load balancer, with an external address and a node port, by these policies.
fn balanced(external: TrafficPolicy, internal: TrafficPolicy, endpoints: &[&str]) -> Cluster {
    Cluster::new()
        .service("nginx", "10.96.0.5", |service| {
            service.kind = ServiceKind::LoadBalancer;
            service.ports[0].node_port = Port::try_from(30_005).ok();
            service.external_addresses = vec!["198.51.100.7".parse().unwrap()];
            service.load_balancer.addresses = vec!["203.0.113.1".parse().unwrap()];
            service.load_balancer.source_ranges =
                ["192.0.2.0/25", "10.244.1.0/24"].map(|range| range.parse().unwrap()).into();
            (service.external_policy, service.internal_policy) = (external, internal);
        })
        .endpoints("nginx", endpoints)
}

fn written() -> FakeNft {
    write(&cluster(), node1())
}

fn write(cluster: &Cluster, context: NodeContext) -> FakeNft {
    let nft = FakeNft::new();
    let mut proxy = NftablesProxy::new(context, nft.clone(), FakeConntrack::new());
    proxy.sync(&cluster.index().snapshot().unwrap(), &Changes::Everything).unwrap();
    nft
}

/// What becomes of the first packet of a connection when chance says `random`.
fn fate(nft: &FakeNft, (origin, from, protocol, to): (&str, &str, &str, &str), random: u32) -> String {
    let protocol = if protocol == "udp" { L4Protocol::UDP } else { L4Protocol::TCP };
    let address = |text: &str| -> SocketAddr { text.parse().unwrap() };
    let origin = if origin == "here" { Origin::Local } else { Origin::Interface(interface(origin)) };
    let packet = Packet::first(protocol, SocketAddr::new(from.parse().unwrap(), 40_000), address(to));
    let outcome = nft.trace(&host(), &origin, packet, &mut |modulus| random % modulus);
    // The class by which it was led.
    if matches!(outcome.fate, Fate::Delivered | Fate::Sent(_)) {
        assert_eq!(outcome.packet.priority, 0, "{origin:?} {from} {to}");
    }
    let seen = format!("{} as {}", outcome.packet.destination, outcome.packet.source.ip());
    match outcome.fate {
        Fate::Delivered => format!("here {seen}"),
        Fate::Sent(interface) => format!("{interface} {seen}"),
        Fate::Rejected(how) => format!("{how:?}"),
        Fate::Dropped => "dropped".to_owned(),
        Fate::Unroutable => "unroutable".to_owned(),
    }
}

/// Who asks (interface, address), for what, and what becomes of it.
#[test]
fn first_packets_go_where_they_should() {
    let table = [
        // The virtual address, from a pod, the node itself, and a machine that routes it to the node.
        (POD, "tcp", "10.96.203.6:8080", 0, "cbr0 10.244.1.28:80 as 10.244.1.77"),
        (POD, "tcp", "10.96.203.6:8080", 2, "eth0 10.244.2.22:80 as 10.244.1.77"),
        (REMOTE_POD, "tcp", "10.96.203.6:8080", 1, "cbr0 10.244.1.29:80 as 10.244.2.5"),
        (NODE, "tcp", "10.96.203.6:8080", 1, "cbr0 10.244.1.29:80 as 10.244.1.1"),
        (NODE, "tcp", "10.96.203.6:8080", 2, "eth0 10.244.2.22:80 as 10.100.0.2"),
        (OUTSIDE, "tcp", "10.96.203.6:8080", 2, "eth0 10.244.2.22:80 as 10.100.0.2"),
        (POD, "udp", "10.96.203.6:53", 1, "cbr0 10.244.1.29:80 as 10.244.1.77"),
        // Node ports at every address of the node, but not on loopback or of other machines.
        (OUTSIDE, "tcp", "10.100.0.2:30000", 0, "cbr0 10.244.1.28:80 as 10.244.1.1"),
        (OUTSIDE, "tcp", "10.100.0.2:30000", 2, "eth0 10.244.2.22:80 as 10.100.0.2"),
        (NODE, "tcp", "10.100.0.2:30000", 0, "cbr0 10.244.1.28:80 as 10.244.1.1"),
        (POD, "tcp", "10.244.1.1:30000", 1, "cbr0 10.244.1.29:80 as 10.244.1.1"),
        (NODE, "tcp", "127.0.0.1:30000", 0, "here 127.0.0.1:30000 as 10.100.0.2"),
        (POD, "tcp", "10.100.0.3:30000", 0, "eth0 10.100.0.3:30000 as 10.244.1.77"),
        (OUTSIDE, "udp", "10.100.0.2:30000", 0, "here 10.100.0.2:30000 as 192.0.2.2"),
        // A pod that meets itself would not see its own answer as one.
        (("cbr0", "10.244.1.28"), "tcp", "10.96.203.6:8080", 0, "cbr0 10.244.1.28:80 as 10.244.1.1"),
        (("cbr0", "10.244.1.28"), "tcp", "10.96.203.6:8080", 1, "cbr0 10.244.1.29:80 as 10.244.1.28"),
        // Nobody serves.
        (POD, "tcp", "10.96.0.8:8080", 0, "TcpReset"),
        (NODE, "tcp", "10.96.0.8:8080", 0, "TcpReset"),
        (OUTSIDE, "tcp", "10.100.0.2:30001", 0, "TcpReset"),
        (POD, "tcp", "10.96.203.6:81", 0, "TcpReset"),
        (POD, "udp", "10.96.203.6:8080", 0, "PortUnreachable"),
        // None of our business: straight to a pod, to an address nobody has, to the world.
        (OUTSIDE, "tcp", "10.244.1.28:80", 0, "cbr0 10.244.1.28:80 as 192.0.2.2"),
        (POD, "tcp", "10.96.0.200:80", 0, "eth0 10.96.0.200:80 as 10.244.1.77"),
        (POD, "tcp", "192.0.2.2:8080", 0, "eth0 192.0.2.2:8080 as 10.244.1.77"),
    ];
    let nft = written();
    for ((origin, from), protocol, to, random, expected) in table {
        let case = (origin, from, protocol, to);
        assert_eq!(fate(&nft, case, random), expected, "{case:?} with {random}");
    }
}

const POD: (&str, &str) = ("cbr0", "10.244.1.77");
const REMOTE_POD: (&str, &str) = ("eth0", "10.244.2.5");
const NODE: (&str, &str) = ("here", "10.100.0.2");
const OUTSIDE: (&str, &str) = ("eth0", "192.0.2.2");
const FAR: (&str, &str) = ("eth0", "192.0.2.200");

fn check(nft: &FakeNft, table: &[((&str, &str), &str, u32, &str)]) {
    for ((origin, from), to, random, expected) in table {
        let case = (*origin, *from, "tcp", *to);
        assert_eq!(fate(nft, case, *random), *expected, "{case:?} with {random}");
    }
}

fn node1() -> NodeContext {
    NodeContext::new("node1".into(), vec!["10.244.0.0/16".parse().unwrap()])
}

#[test]
fn a_load_balancers_addresses_are_for_its_clients() {
    let nft = write(
        &balanced(TrafficPolicy::Cluster, TrafficPolicy::Cluster, &["10.244.1.28", "10.244.2.22"]),
        node1(),
    );
    check(
        &nft,
        &[
            (OUTSIDE, "203.0.113.1:8080", 0, "cbr0 10.244.1.28:80 as 10.244.1.1"),
            (OUTSIDE, "203.0.113.1:8080", 1, "eth0 10.244.2.22:80 as 10.100.0.2"),
            (POD, "203.0.113.1:8080", 1, "eth0 10.244.2.22:80 as 10.100.0.2"),
            (FAR, "203.0.113.1:8080", 0, "dropped"),
            (REMOTE_POD, "203.0.113.1:8080", 0, "dropped"),
            // The ranges are the load balancer's alone.
            (FAR, "198.51.100.7:8080", 0, "cbr0 10.244.1.28:80 as 10.244.1.1"),
            (FAR, "10.100.0.2:30005", 1, "eth0 10.244.2.22:80 as 10.100.0.2"),
            // Neither address is ours at other ports.
            (OUTSIDE, "203.0.113.1:80", 0, "eth0 203.0.113.1:80 as 192.0.2.2"),
        ],
    );
}

/// From outside to this node's endpoints, addresses kept; whoever is inside already goes anywhere.
#[test]
fn local_external_traffic_stays_on_the_node() {
    let nft = write(
        &balanced(TrafficPolicy::Local, TrafficPolicy::Cluster, &["10.244.1.28", "10.244.2.22"]),
        node1(),
    );
    for door in ["203.0.113.1:8080", "198.51.100.7:8080", "10.100.0.2:30005"] {
        check(
            &nft,
            &[
                (OUTSIDE, door, 1, "cbr0 10.244.1.28:80 as 192.0.2.2"),
                (POD, door, 1, "eth0 10.244.2.22:80 as 10.244.1.77"),
            ],
        );
    }
    let own = "eth0 10.244.2.22:80 as 10.100.0.2";
    check(
        &nft,
        &[
            (NODE, "198.51.100.7:8080", 1, own),
            (NODE, "10.100.0.2:30005", 1, own),
            (POD, "10.96.0.5:8080", 1, "eth0 10.244.2.22:80 as 10.244.1.77"),
        ],
    );

    let elsewhere = write(&balanced(TrafficPolicy::Local, TrafficPolicy::Cluster, &["10.244.2.22"]), node1());
    for door in ["203.0.113.1:8080", "198.51.100.7:8080", "10.100.0.2:30005"] {
        check(
            &elsewhere,
            &[(OUTSIDE, door, 0, "dropped"), (POD, door, 0, "eth0 10.244.2.22:80 as 10.244.1.77")],
        );
    }
    let nobody = write(&balanced(TrafficPolicy::Local, TrafficPolicy::Local, &[]), node1());
    for door in ["203.0.113.1:8080", "198.51.100.7:8080", "10.100.0.2:30005", "10.96.0.5:8080"] {
        check(&nobody, &[(OUTSIDE, door, 0, "TcpReset"), (POD, door, 0, "TcpReset")]);
    }
}

#[test]
fn local_internal_traffic_stays_on_the_node() {
    let both = ["10.244.1.28", "10.244.2.22"];
    let nft = write(&balanced(TrafficPolicy::Cluster, TrafficPolicy::Local, &both), node1());
    check(
        &nft,
        &[
            (POD, "10.96.0.5:8080", 1, "cbr0 10.244.1.28:80 as 10.244.1.77"),
            (NODE, "10.96.0.5:8080", 1, "cbr0 10.244.1.28:80 as 10.244.1.1"),
            (OUTSIDE, "198.51.100.7:8080", 1, "eth0 10.244.2.22:80 as 10.100.0.2"),
        ],
    );
    let elsewhere = write(&balanced(TrafficPolicy::Cluster, TrafficPolicy::Local, &both[1..]), node1());
    check(&elsewhere, &[(POD, "10.96.0.5:8080", 0, "dropped"), (NODE, "10.96.0.5:8080", 0, "dropped")]);
}

/// Ways to tell pods apart, masquerade-all, and node ports at some addresses.
#[test]
fn the_node_decides_who_is_masqueraded_and_where_node_ports_are() {
    let cluster = balanced(TrafficPolicy::Cluster, TrafficPolicy::Cluster, &["10.244.2.22"]);
    let door = "10.96.0.5:8080";
    let (kept, translated) =
        (|from: &str| format!("eth0 10.244.2.22:80 as {from}"), "eth0 10.244.2.22:80 as 10.100.0.2");
    let by = |pods| NodeContext { pods, ..node1() };
    let tables = [
        (by(LocalTraffic::Interface(interface("cbr0"))), kept("10.244.1.77"), translated.to_owned()),
        (by(LocalTraffic::InterfacePrefix(interface("cb"))), kept("10.244.1.77"), translated.to_owned()),
        (by(LocalTraffic::Unknown), kept("10.244.1.77"), kept("10.244.2.5")),
        (NodeContext { masquerade_all: true, ..node1() }, translated.to_owned(), translated.to_owned()),
    ];
    for (context, pod, remote) in tables {
        let nft = write(&cluster, context);
        check(&nft, &[(POD, door, 0, &pod), (REMOTE_POD, door, 0, &remote)]);
    }
    let ranges =
        NodePortAddresses::Ranges(vec!["10.100.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()]);
    let nft = write(&cluster, NodeContext { node_port_addresses: ranges, ..node1() });
    check(
        &nft,
        &[
            (OUTSIDE, "10.100.0.2:30005", 0, translated),
            (POD, "10.244.1.1:30005", 0, "here 10.244.1.1:30005 as 10.244.1.77"),
        ],
    );
}

#[test]
fn packets_of_connections_that_exist_are_left_alone() {
    let nft = written();
    let mut packet = Packet::first(
        L4Protocol::TCP,
        "10.244.1.77:40000".parse().unwrap(),
        "10.96.203.6:8080".parse().unwrap(),
    );
    packet.state = netstate::nft::ConnectionState::Established;
    let outcome = nft.trace(&host(), &Origin::Interface(interface("cbr0")), packet, &mut |_| 0);
    assert_eq!((outcome.packet, outcome.trail.len()), (packet, 0));
}

/// Whatever chance says later, a client stays where it was led first; by each door for itself.
#[test]
fn a_client_stays_with_its_endpoint() {
    let nft = written();
    let doors = [
        (("cbr0", "10.244.1.77", "tcp", "10.96.0.9:8080"), "eth0 10.244.2.22:80 as 10.244.1.77"),
        (("eth0", "192.0.2.2", "tcp", "10.100.0.2:30002"), "eth0 10.244.2.22:80 as 10.100.0.2"),
        (("here", "10.100.0.2", "tcp", "10.96.0.9:8080"), "eth0 10.244.2.22:80 as 10.100.0.2"),
    ];
    for (case, expected) in doors {
        for random in [2, 0, 1] {
            assert_eq!(fate(&nft, case, random), expected, "{case:?} with {random}");
        }
    }
    let other = ("cbr0", "10.244.1.78", "tcp", "10.96.0.9:8080");
    assert_eq!(fate(&nft, other, 0), "cbr0 10.244.1.28:80 as 10.244.1.78");
}

#[test]
fn every_endpoint_gets_its_share() {
    let nft = written();
    let mut shares: BTreeMap<String, usize> = BTreeMap::new();
    for random in 0..300 {
        let case = ("cbr0", "10.244.1.77", "tcp", "10.96.203.6:8080");
        *shares.entry(fate(&nft, case, random)).or_default() += 1;
    }
    assert_eq!(shares.into_values().collect::<Vec<_>>(), [100, 100, 100]);
}
