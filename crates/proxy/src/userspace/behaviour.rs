//! What becomes of connections: through the table to a relay, and from there to an endpoint.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use model::{
    AddressFamily, Changes, Endpoint, EndpointSlice, Object, Port, Protocol, ServiceKind, ServicePort,
    SessionAffinity, SliceKey, SlicePort, TrafficPolicy,
};
use netstate::conntrack::FakeConntrack;
use netstate::nft::trace::{Fate, Host, Origin, Packet};
use netstate::nft::{FakeNft, InterfaceName, L4Protocol};
use netstate::relay::FakeRelays;

use super::UserspaceProxy;
use crate::sample::Cluster;
use crate::{Dataplane, LocalTraffic, NodeContext, NodePortAddresses};

fn interface(name: &str) -> InterfaceName {
    InterfaceName::new(name).unwrap()
}

/// node1 of the reference cluster, with IPv6 beside it.
fn host() -> Host {
    let addresses =
        [("10.100.0.2", "eth0"), ("10.244.1.1", "cbr0"), ("fd10:100::2", "eth0"), ("fd10:244:1::1", "cbr0")];
    let routes = [
        ("10.100.0.0/24", "eth0"),
        ("10.244.1.0/24", "cbr0"),
        ("0.0.0.0/0", "eth0"),
        ("fd10:244:1::/64", "cbr0"),
        ("::/0", "eth0"),
    ];
    Host {
        addresses: addresses.map(|(address, name)| (address.parse().unwrap(), interface(name))).into(),
        routes: routes.map(|(range, name)| (range.parse().unwrap(), interface(name))).into(),
    }
}

fn node1() -> NodeContext {
    let ranges = ["10.244.0.0/16", "fd10:244::/32"];
    NodeContext::new("node1".into(), ranges.map(|range| range.parse().unwrap()).into())
}

/// A node with its table and its relays.
struct World {
    nft: FakeNft,
    relays: FakeRelays,
    now: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Who(&'static str, &'static str);

const POD: Who = Who("cbr0", "10.244.1.77");
const REMOTE_POD: Who = Who("eth0", "10.244.2.5");
const NODE: Who = Who("here", "10.100.0.2");
const OUTSIDE: Who = Who("eth0", "192.0.2.2");
const FAR: Who = Who("eth0", "192.0.2.200");

impl World {
    fn new(cluster: &Cluster, context: NodeContext) -> Self {
        let (nft, relays) = (FakeNft::new(), FakeRelays::new());
        let mut proxy = UserspaceProxy::new(context, nft.clone(), relays.clone(), FakeConntrack::new());
        proxy.sync(&cluster.index().snapshot().unwrap(), &Changes::Everything).unwrap();
        Self { nft, relays, now: Instant::now() }
    }

    /// What becomes of a connection: who gets it, or how it ends.
    fn fate(&self, Who(origin, from): Who, protocol: L4Protocol, to: &str) -> String {
        let to: SocketAddr = to.parse().unwrap();
        let from: IpAddr = from.parse().unwrap();
        let origin = if origin == "here" { Origin::Local } else { Origin::Interface(interface(origin)) };
        let packet = Packet::first(protocol, SocketAddr::new(from, 40_000), to);
        let outcome = self.nft.trace(&host(), &origin, packet, &mut |_| 0);
        assert_eq!(outcome.packet.source, packet.source, "nobody is masqueraded");
        match outcome.fate {
            Fate::Delivered if outcome.packet.destination == to => "here".to_owned(),
            Fate::Delivered => {
                let port = outcome.packet.destination.port();
                let endpoint = self.relays.lead(protocol, port, from, self.now);
                endpoint.map_or("nobody".to_owned(), |endpoint| endpoint.to_string())
            }
            Fate::Sent(interface) => format!("passes to {interface}"),
            Fate::Rejected(how) => format!("{how:?}"),
            Fate::Dropped => "dropped".to_owned(),
            Fate::Unroutable => "unroutable".to_owned(),
        }
    }

    fn check(&self, table: &[(Who, &str, &str)]) {
        for (who, to, expected) in table {
            assert_eq!(self.fate(*who, L4Protocol::TCP, to), *expected, "{who:?} to {to}");
        }
    }
}

fn port(protocol: Protocol, number: i64) -> ServicePort {
    ServicePort { name: "".into(), protocol, port: Port::try_from(number).unwrap(), node_port: None }
}

/// Three endpoints, of which the last is on another node; a service without any; one that remembers; one on IPv6.
fn cluster() -> Cluster {
    let endpoints = ["10.244.1.28", "10.244.1.29", "10.244.2.22"];
    let mut cluster = Cluster::new()
        .service("httpd-svc", "10.96.203.6", |service| {
            service.ports[0].node_port = Port::try_from(30_000).ok();
            service.ports.push(port(Protocol::Udp, 53));
        })
        .endpoints("httpd-svc", &endpoints)
        .service("empty", "10.96.0.8", |service| service.ports[0].node_port = Port::try_from(30_001).ok())
        .service("sticky", "10.96.0.9", |service| {
            service.ports[0].node_port = Port::try_from(30_002).ok();
            service.affinity = SessionAffinity::ClientAddress { timeout: Duration::from_secs(10_800) };
        })
        .endpoints("sticky", &endpoints)
        .service("six", "fd10:96::6", |_| {})
        .service("streams", "10.96.0.11", |service| service.ports = vec![port(Protocol::Sctp, 9)])
        .endpoints("streams", &endpoints);
    let endpoint = Endpoint {
        address: "fd10:244:1::28".parse().unwrap(),
        ready: true,
        serving: true,
        terminating: false,
        node: Some("node1".into()),
        zone: None,
        hints: None,
    };
    let slice_port = |protocol| SlicePort { name: "".into(), protocol, port: Port::try_from(80).unwrap() };
    cluster.objects.push(Object::EndpointSlice(EndpointSlice {
        key: SliceKey::new("default", "six"),
        service: Some(model::ServiceKey::new("default", "six")),
        family: AddressFamily::V6,
        ports: vec![slice_port(Protocol::Tcp)],
        endpoints: vec![endpoint],
    }));
    // The sample's slices know no SCTP.
    if let Some(Object::EndpointSlice(slice)) = cluster
        .objects
        .iter_mut()
        .find(|object| matches!(object, Object::EndpointSlice(slice) if slice.key.name.as_ref() == "streams"))
    {
        slice.ports.push(slice_port(Protocol::Sctp));
    }
    cluster
}

#[test]
fn connections_go_where_they_should() {
    let world = World::new(&cluster(), node1());
    world.check(&[
        // The relay's turns go on whoever asks, by whichever door.
        (POD, "10.96.203.6:8080", "10.244.1.28:80"),
        (REMOTE_POD, "10.96.203.6:8080", "10.244.1.29:80"),
        (NODE, "10.96.203.6:8080", "10.244.2.22:80"),
        (OUTSIDE, "10.96.203.6:8080", "10.244.1.28:80"),
        (OUTSIDE, "10.100.0.2:30000", "10.244.1.29:80"),
        (NODE, "10.100.0.2:30000", "10.244.2.22:80"),
        (POD, "10.244.1.1:30000", "10.244.1.28:80"),
        // Node ports are not served on loopback, nor of other machines, nor for other protocols.
        (NODE, "127.0.0.1:30000", "here"),
        (POD, "10.100.0.3:30000", "passes to eth0"),
        // A pod that meets itself does it through the relay.
        (Who("cbr0", "10.244.1.29"), "10.96.203.6:8080", "10.244.1.29:80"),
        // Nobody serves.
        (POD, "10.96.0.8:8080", "TcpReset"),
        (NODE, "10.96.0.8:8080", "TcpReset"),
        (OUTSIDE, "10.100.0.2:30001", "TcpReset"),
        (POD, "10.96.203.6:81", "TcpReset"),
        // None of our business.
        (OUTSIDE, "10.244.1.28:80", "passes to cbr0"),
        (POD, "10.96.0.200:80", "passes to eth0"),
        // Past the doors nobody comes to a relay.
        (OUTSIDE, "10.100.0.2:10400", "TcpReset"),
        (NODE, "127.0.0.1:10400", "TcpReset"),
        (OUTSIDE, "10.100.0.2:22", "here"),
        // IPv6.
        (Who("cbr0", "fd10:244:1::77"), "[fd10:96::6]:8080", "[fd10:244:1::28]:80"),
        (Who("here", "fd10:100::2"), "[fd10:96::6]:8080", "[fd10:244:1::28]:80"),
        (Who("cbr0", "fd10:244:1::77"), "[fd10:96::6]:81", "TcpReset"),
    ]);
    for (protocol, to, expected) in [
        (L4Protocol::UDP, "10.96.203.6:53", "10.244.1.28:80"),
        (L4Protocol::UDP, "10.96.203.6:8080", "PortUnreachable"),
        (L4Protocol::UDP, "10.100.0.2:30000", "here"),
        // There are endpoints, and no way to relay to them.
        (L4Protocol::SCTP, "10.96.0.11:9", "PortUnreachable"),
    ] {
        assert_eq!(world.fate(POD, protocol, to), expected, "{protocol} {to}");
    }
    let transports: Vec<String> = world.relays.relays().keys().map(ToString::to_string).collect();
    assert_eq!(
        transports,
        [
            "default/httpd-svc: tcp IPv4",
            "default/httpd-svc: udp IPv4",
            "default/six: tcp IPv6",
            "default/sticky: tcp IPv4"
        ],
        "one relay a service port, node port or not"
    );
}

/// Unlike in the nftables mode, by whichever door: one relay remembers.
#[test]
fn a_client_stays_with_its_endpoint() {
    let world = World::new(&cluster(), node1());
    world.check(&[
        (POD, "10.96.0.9:8080", "10.244.1.28:80"),
        (OUTSIDE, "10.100.0.2:30002", "10.244.1.29:80"),
        (POD, "10.96.0.9:8080", "10.244.1.28:80"),
        (POD, "10.244.1.1:30002", "10.244.1.28:80"),
        (OUTSIDE, "10.100.0.2:30002", "10.244.1.29:80"),
        (NODE, "10.96.0.9:8080", "10.244.2.22:80"),
    ]);
}

/// A load balancer's service with every kind of door.
fn balanced(external: TrafficPolicy, internal: TrafficPolicy, endpoints: &[&str]) -> Cluster {
    Cluster::new()
        .service("nginx", "10.96.0.5", |service| {
            service.kind = ServiceKind::LoadBalancer;
            service.ports[0].node_port = Port::try_from(30_005).ok();
            service.external_addresses = vec!["198.51.100.7".parse().unwrap()];
            service.load_balancer.addresses = vec!["203.0.113.1".parse().unwrap()];
            // One lies within another, and one is of the other family.
            service.load_balancer.source_ranges =
                ["192.0.2.0/25", "192.0.2.0/28", "10.244.1.0/24", "fd00::/8"]
                    .map(|range| range.parse().unwrap())
                    .into();
            (service.external_policy, service.internal_policy) = (external, internal);
        })
        .endpoints("nginx", endpoints)
}

const HERE: &str = "10.244.1.28:80";
const THERE: &str = "10.244.2.22:80";
const BOTH: [&str; 2] = ["10.244.1.28", "10.244.2.22"];
const EXTERNAL_DOORS: [&str; 3] = ["203.0.113.1:8080", "198.51.100.7:8080", "10.100.0.2:30005"];

#[test]
fn a_load_balancers_addresses_are_for_its_clients() {
    let world = World::new(&balanced(TrafficPolicy::Cluster, TrafficPolicy::Cluster, &BOTH), node1());
    world.check(&[
        (OUTSIDE, "203.0.113.1:8080", HERE),
        (POD, "203.0.113.1:8080", THERE),
        (FAR, "203.0.113.1:8080", "dropped"),
        (REMOTE_POD, "203.0.113.1:8080", "dropped"),
        (NODE, "203.0.113.1:8080", "dropped"),
        // The ranges are the load balancer's alone.
        (FAR, "198.51.100.7:8080", HERE),
        (FAR, "10.100.0.2:30005", THERE),
        // Neither address is ours at other ports.
        (OUTSIDE, "203.0.113.1:80", "passes to eth0"),
    ]);
}

/// From outside to this node's endpoints; whoever is inside already goes anywhere.
#[test]
fn local_external_traffic_stays_on_the_node() {
    let world = World::new(&balanced(TrafficPolicy::Local, TrafficPolicy::Cluster, &BOTH), node1());
    for door in EXTERNAL_DOORS {
        world.check(&[(OUTSIDE, door, HERE), (OUTSIDE, door, HERE), (POD, door, HERE), (POD, door, THERE)]);
    }
    world.check(&[(NODE, EXTERNAL_DOORS[1], HERE), (NODE, EXTERNAL_DOORS[1], THERE)]);

    let cluster = balanced(TrafficPolicy::Local, TrafficPolicy::Cluster, &BOTH[1..]);
    let elsewhere = World::new(&cluster, node1());
    for door in EXTERNAL_DOORS {
        elsewhere.check(&[(OUTSIDE, door, "dropped"), (POD, door, THERE)]);
    }
    elsewhere.check(&[(OUTSIDE, "10.96.0.5:8080", THERE), (NODE, EXTERNAL_DOORS[2], THERE)]);

    let nobody = World::new(&balanced(TrafficPolicy::Local, TrafficPolicy::Local, &[]), node1());
    for door in EXTERNAL_DOORS.iter().chain(&["10.96.0.5:8080"]) {
        nobody.check(&[(OUTSIDE, door, "TcpReset"), (POD, door, "TcpReset")]);
    }
}

#[test]
fn local_internal_traffic_stays_on_the_node() {
    let world = World::new(&balanced(TrafficPolicy::Cluster, TrafficPolicy::Local, &BOTH), node1());
    let door = "10.96.0.5:8080";
    world.check(&[
        (POD, door, HERE),
        (POD, door, HERE),
        (NODE, door, HERE),
        (OUTSIDE, EXTERNAL_DOORS[1], HERE),
        (OUTSIDE, EXTERNAL_DOORS[1], THERE),
    ]);
    let cluster = balanced(TrafficPolicy::Cluster, TrafficPolicy::Local, &BOTH[1..]);
    World::new(&cluster, node1()).check(&[
        (POD, door, "dropped"),
        (NODE, door, "dropped"),
        (OUTSIDE, EXTERNAL_DOORS[1], THERE),
    ]);
}

/// How pods are told from others, and node ports at some addresses.
#[test]
fn the_node_decides_who_is_inside_and_where_node_ports_are() {
    let cluster = balanced(TrafficPolicy::Local, TrafficPolicy::Cluster, &BOTH[1..]);
    let door = EXTERNAL_DOORS[1];
    for (pods, pod, remote) in [
        (LocalTraffic::Interface(interface("cbr0")), THERE, "dropped"),
        (LocalTraffic::InterfacePrefix(interface("cb")), THERE, "dropped"),
        (LocalTraffic::Unknown, "dropped", "dropped"),
    ] {
        let world = World::new(&cluster, NodeContext { pods, ..node1() });
        world.check(&[(POD, door, pod), (REMOTE_POD, door, remote), (NODE, door, THERE)]);
    }
    let ranges =
        NodePortAddresses::Ranges(vec!["10.100.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()]);
    let world = World::new(&cluster, NodeContext { node_port_addresses: ranges, ..node1() });
    world.check(&[(POD, "10.100.0.2:30005", THERE), (POD, "10.244.1.1:30005", "here")]);
}
