//! A lab's machines and the pod network on them, with real packets.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, id};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use kernel::link::{Links, Namespaces};
use kernel::netns::{self, Netns, TemporaryNamespace};
use kernel::nft::Nftables;
use kernel::sysctl::Sysctls;
use netstate::link::LinkName;
use netstate::sysctl::{SysctlKey, SysctlPort};
use podnet::{AddressStore, Config, FileStore, PodNetwork, Ports, SandboxId};
use portolan_lab::topology::{self, LabNetwork, names};

static NEXT: AtomicU32 = AtomicU32::new(0);
const SOON: Duration = Duration::from_secs(5);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// A lab's network without a lab, removed when dropped.
struct Topology(LabNetwork);

impl Topology {
    fn new(nodes: usize) -> Self {
        let network = LabNetwork {
            lab: format!("t{}-{}", id(), NEXT.fetch_add(1, Ordering::Relaxed)),
            nodes,
            node_range: "10.100.0.0/24".parse().unwrap(),
            pod_range: "10.244.0.0/16".parse().unwrap(),
            service_range: "10.96.0.0/12".parse().unwrap(),
        };
        topology::ensure(&network).unwrap();
        Self(network)
    }

    fn node(&self, number: usize) -> Netns {
        netns::open(&names::node(&self.0.lab, number)).unwrap()
    }

    fn outside(&self) -> Netns {
        netns::open(&names::outside(&self.0.lab)).unwrap()
    }

    fn namespaces(&self) -> Vec<String> {
        netns::list(&format!("ptl-{}-", self.0.lab)).unwrap()
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        let _ = topology::remove(&self.0.lab);
    }
}

fn pod_range(node: usize) -> Ipv4Net {
    format!("10.244.{node}.0/24").parse().unwrap()
}

/// The pod network of a node, as its agent would open it.
fn pod_network(topology: &Topology, node: usize, state: &std::path::Path) -> PodNetwork {
    let namespace = topology.node(node);
    let config = Config {
        range: pod_range(node),
        non_masquerade: vec!["10.0.0.0/8".parse().unwrap()],
        uplink: LinkName::eth0(),
    };
    let ports = Ports {
        links: Box::new(Links::in_namespace(&namespace).unwrap()),
        namespaces: Box::new(Namespaces),
        conntrack: Box::new(namespace.run(kernel::conntrack::Conntrack::open).unwrap().unwrap()),
        nft: Box::new(namespace.run(Nftables::open).unwrap().unwrap()),
        settings: Box::new(Sysctls::in_namespace(namespace)),
        store: Box::new(FileStore::new(state.join(format!("node{node}/addresses.json")))),
    };
    let network = PodNetwork::new(config, ports).unwrap();
    network.setup_node().unwrap();
    network
}

/// A pod that is nothing but its namespace.
struct Pod {
    id: SandboxId,
    namespace: TemporaryNamespace,
    address: IpAddr,
}

impl Pod {
    fn add(network: &PodNetwork, name: &str) -> Self {
        let namespace = TemporaryNamespace::new(name).unwrap();
        let id = SandboxId::new(name);
        let address = network.add(&id, &namespace.namespace_path()).unwrap().address;
        Self { id, namespace, address }
    }
}

/// A server inside a namespace that answers every connection with the address it comes from.
fn serve(namespace: &Netns, port: u16) {
    let listener = namespace.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, peer)) = listener.accept() {
            let _ = stream.write_all(peer.ip().to_string().as_bytes());
        }
    });
}

/// Connects from inside a namespace; the source address that the server saw.
fn ask(namespace: &Netns, address: impl Into<IpAddr>, port: u16) -> std::io::Result<String> {
    let target = SocketAddr::new(address.into(), port);
    namespace
        .run(|| {
            let mut stream = TcpStream::connect_timeout(&target, SOON)?;
            stream.set_read_timeout(Some(SOON))?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        })
        .unwrap()
}

fn run(namespace: &Netns, program: &str, arguments: &[&str]) -> String {
    let output = namespace.run(|| Command::new(program).args(arguments).output().unwrap()).unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn machines_reach_each_other_and_building_again_changes_nothing() {
    let topology = Topology::new(2);
    let before = topology.node(1).inode().unwrap();
    let index = || run(&topology.node(1), "ip", &["-o", "link", "show", "eth0"]);
    let first = index();
    topology::ensure(&topology.0).unwrap();
    assert_eq!(topology.node(1).inode().unwrap(), before);
    assert_eq!(index(), first);

    serve(&topology.node(2), 80);
    serve(&topology.outside(), 80);
    let control_plane = netns::open(&names::control_plane(&topology.0.lab)).unwrap();
    assert_eq!(ask(&topology.node(1), Ipv4Addr::new(10, 100, 0, 3), 80).unwrap(), "10.100.0.2");
    assert_eq!(ask(&control_plane, Ipv4Addr::new(10, 100, 0, 3), 80).unwrap(), "10.100.0.254");
    assert_eq!(ask(&topology.outside(), Ipv4Addr::new(10, 100, 0, 3), 80).unwrap(), "192.0.2.2");
    assert_eq!(ask(&topology.node(1), OUTSIDE, 80).unwrap(), "10.100.0.2");
}

#[test]
fn a_lost_namespace_is_made_again_and_removal_leaves_nothing() {
    let topology = Topology::new(2);
    serve(&topology.node(2), 80);
    for lost in
        [names::node(&topology.0.lab, 1), names::router(&topology.0.lab), names::outside(&topology.0.lab)]
    {
        netns::delete(&lost).unwrap();
        topology::ensure(&topology.0).unwrap();
        assert_eq!(ask(&topology.node(1), Ipv4Addr::new(10, 100, 0, 3), 80).unwrap(), "10.100.0.2", "{lost}");
        assert_eq!(
            ask(&topology.outside(), Ipv4Addr::new(10, 100, 0, 3), 80).unwrap(),
            "192.0.2.2",
            "{lost}"
        );
    }
    run(&topology.node(1), "ip", &["link", "delete", "eth0"]);
    run(&topology.node(2), "ip", &["route", "delete", "default"]);
    topology::ensure(&topology.0).unwrap();
    assert_eq!(ask(&topology.node(1), Ipv4Addr::new(10, 100, 0, 3), 80).unwrap(), "10.100.0.2");

    // The name of another lab that starts with this one's.
    let neighbour = LabNetwork { lab: format!("{}-x", topology.0.lab), ..topology.0.clone() };
    topology::ensure(&neighbour).unwrap();
    topology::remove(&topology.0.lab).unwrap();
    assert_eq!(topology.namespaces().len(), 5, "the neighbour's are left: {:?}", topology.namespaces());
    topology::remove(&neighbour.lab).unwrap();
    assert_eq!(topology.namespaces(), Vec::<String>::new());
    topology::remove(&topology.0.lab).unwrap();
}

#[test]
fn twenty_nodes_are_built() {
    let began = Instant::now();
    let topology = Topology::new(20);
    let took = began.elapsed();
    serve(&topology.node(20), 80);
    assert_eq!(ask(&topology.node(1), Ipv4Addr::new(10, 100, 0, 21), 80).unwrap(), "10.100.0.2");
    let again = Instant::now();
    topology::ensure(&topology.0).unwrap();
    println!("20 nodes: built in {took:?}, looked at again in {:?}", again.elapsed());
}

#[test]
fn routes_to_pods_come_and_go_and_others_stay() {
    let topology = Topology::new(2);
    let router = netns::open(&names::router(&topology.0.lab)).unwrap();
    let routes = |ranges: &[usize]| -> BTreeMap<Ipv4Net, Ipv4Addr> {
        ranges.iter().map(|node| (pod_range(*node), topology.0.node_address(*node))).collect()
    };
    run(&router, "ip", &["route", "add", "10.7.0.0/16", "via", "10.100.0.3", "proto", "static"]);
    topology::set_pod_routes(&topology.0.lab, &routes(&[1, 2])).unwrap();
    topology::set_pod_routes(&topology.0.lab, &routes(&[1, 2])).unwrap();
    let listed = run(&router, "ip", &["route"]);
    assert!(listed.contains("10.244.1.0/24 via 10.100.0.2 dev lan0 proto 112"), "{listed}");
    assert!(listed.contains("10.244.2.0/24 via 10.100.0.3 dev lan0 proto 112"), "{listed}");

    // One that is impossible keeps no other out.
    let mut impossible = routes(&[2]);
    impossible.insert(pod_range(0), Ipv4Addr::new(172, 16, 0, 1));
    let error = topology::set_pod_routes(&topology.0.lab, &impossible).unwrap_err().to_string();
    assert!(error.contains("10.244.0.0/24 via 172.16.0.1"), "{error}");
    let listed = run(&router, "ip", &["route"]);
    assert!(!listed.contains("10.244.1.0/24") && listed.contains("10.244.2.0/24"), "{listed}");
    assert!(listed.contains("10.7.0.0/16"), "{listed}");
}

#[test]
fn pods_are_reached_as_the_facts_say() {
    let topology = Topology::new(2);
    let state = tempfile::tempdir().unwrap();
    let (first, second) = (pod_network(&topology, 1, state.path()), pod_network(&topology, 2, state.path()));
    let routes = (1..=2).map(|node| (pod_range(node), topology.0.node_address(node))).collect();
    topology::set_pod_routes(&topology.0.lab, &routes).unwrap();
    let (a, b, c) = (Pod::add(&first, "a"), Pod::add(&first, "b"), Pod::add(&second, "c"));
    assert_eq!(a.address, IpAddr::from([10, 244, 1, 2]));
    assert_eq!(b.address, IpAddr::from([10, 244, 1, 3]));
    assert_eq!(c.address, IpAddr::from([10, 244, 2, 2]));
    for namespace in [&*a.namespace, &*b.namespace, &*c.namespace, &topology.node(2), &topology.outside()] {
        serve(namespace, 80);
    }
    assert_eq!(ask(&a.namespace, b.address, 80).unwrap(), "10.244.1.2", "same node");
    assert_eq!(ask(&a.namespace, a.address, 80).unwrap(), "10.244.1.2", "itself");
    assert_eq!(ask(&a.namespace, c.address, 80).unwrap(), "10.244.1.2", "other node");
    assert_eq!(ask(&a.namespace, Ipv4Addr::new(10, 100, 0, 3), 80).unwrap(), "10.244.1.2", "a node");
    assert_eq!(ask(&topology.node(1), a.address, 80).unwrap(), "10.244.1.1", "from its node");
    assert_eq!(ask(&topology.node(1), c.address, 80).unwrap(), "10.100.0.2", "from another node");
    assert_eq!(ask(&a.namespace, OUTSIDE, 80).unwrap(), "10.100.0.2", "masqueraded");
    assert_eq!(ask(&c.namespace, OUTSIDE, 80).unwrap(), "10.100.0.3", "masqueraded");
    let error = ask(&topology.outside(), a.address, 80).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NetworkUnreachable, "not from outside");
    let mtu = run(&a.namespace, "ip", &["link", "show", "eth0"]);
    assert!(mtu.contains("mtu 1500"), "{mtu}");
}

#[test]
fn a_service_on_the_clients_own_node_answers_with_and_without_br_netfilter() {
    let topology = Topology::new(1);
    let state = tempfile::tempdir().unwrap();
    let network = pod_network(&topology, 1, state.path());
    let (a, b) = (Pod::add(&network, "a"), Pod::add(&network, "b"));
    serve(&a.namespace, 80);
    serve(&b.namespace, 80);
    let node = topology.node(1);
    let rules = format!(
        "table ip test {{ chain pre {{ type nat hook prerouting priority -100; \
         ip daddr 10.96.0.1 tcp dport 8080 dnat to {}:80; ip daddr 10.96.0.2 tcp dport 8080 dnat to {}:80; }}; \
         chain post {{ type nat hook postrouting priority 100; ip saddr {} ip daddr {} masquerade; }}; }}",
        a.address, b.address, a.address, a.address
    );
    run(&node, "nft", &[&rules]);
    let key = SysctlKey::new("net.bridge.bridge-nf-call-iptables");
    let settings = Sysctls::in_namespace(topology.node(1));
    let has_br_netfilter = settings.read(&key).unwrap().is_some();
    for value in ["0", "1"].iter().take(if has_br_netfilter { 2 } else { 1 }) {
        if has_br_netfilter {
            settings.write(&key, value).unwrap();
        }
        let other = ask(&a.namespace, Ipv4Addr::new(10, 96, 0, 2), 8080).unwrap();
        assert_eq!(other, a.address.to_string(), "endpoint on the same node, br_netfilter {value}");
        let hairpin = ask(&a.namespace, Ipv4Addr::new(10, 96, 0, 1), 8080).unwrap();
        assert_eq!(hairpin, "10.244.1.1", "its own endpoint, br_netfilter {value}");
    }
}

#[test]
fn a_deleted_pod_leaves_nothing_and_its_address_comes_last() {
    let topology = Topology::new(1);
    let state = tempfile::tempdir().unwrap();
    let network = pod_network(&topology, 1, state.path());
    let links = || run(&topology.node(1), "ip", &["-o", "link", "show", "master", "cbr0"]).lines().count();
    let a = Pod::add(&network, "a");
    let b = Pod::add(&network, "b");
    assert_eq!(links(), 2);
    let again = network.add(&a.id, &a.namespace.namespace_path()).unwrap();
    assert_eq!((again.address, links()), (a.address, 2));

    network.delete(&a.id).unwrap();
    network.delete(&a.id).unwrap();
    assert_eq!(links(), 1);
    assert!(!run(&a.namespace, "ip", &["-o", "link"]).contains("eth0"));
    let next = Pod::add(&network, "c");
    assert_ne!(next.address, a.address);

    // A pod whose namespace went away first.
    drop(b.namespace);
    network.delete(&b.id).unwrap();
    network.delete(&next.id).unwrap();
    assert_eq!(links(), 0);
    let missing = netstate::link::NamespacePath::new("/run/netns/ptlt-never-made");
    for _ in 0..300 {
        assert!(network.add(&SandboxId::new("d"), &missing).is_err(), "and it costs no address");
    }
    assert!(network.pod_address_of(&SandboxId::new("d")).is_none());
    Pod::add(&network, "e");
}

#[test]
fn a_restarted_agent_keeps_the_living_and_removes_the_rest() {
    let topology = Topology::new(1);
    let state = tempfile::tempdir().unwrap();
    let network = pod_network(&topology, 1, state.path());
    let (a, b, c) = (Pod::add(&network, "a"), Pod::add(&network, "b"), Pod::add(&network, "c"));
    drop(network);
    let node = topology.node(1);
    run(&node, "ip", &["link", "add", "ptlp99", "type", "bridge"]);
    run(&node, "ip", &["link", "set", "ptlp2", "nomaster"]);
    run(&a.namespace, "ip", &["route", "delete", "default"]);
    serve(&a.namespace, 80);

    let live = |pods: &[&Pod]| -> BTreeMap<_, _> {
        pods.iter().map(|pod| (pod.id.clone(), pod.namespace.namespace_path())).collect()
    };
    let network = pod_network(&topology, 1, state.path());
    let outcome = network.reconcile(&live(&[&a, &c])).unwrap();
    assert_eq!((outcome.released, outcome.broken), (vec![b.id.clone()], vec![]));
    let ports = run(&node, "ip", &["-o", "link"]);
    assert!(!ports.contains("ptlp99") && !ports.contains("ptlp3") && ports.contains("ptlp4"), "{ports}");
    assert_eq!(ask(&c.namespace, a.address, 80).unwrap(), c.address.to_string());

    // Without its memory it asks the living.
    FileStore::new(state.path().join("node1/addresses.json")).save("not json").unwrap();
    let network = pod_network(&topology, 1, state.path());
    let outcome = network.reconcile(&live(&[&a, &b, &c])).unwrap();
    assert_eq!((outcome.released, outcome.broken), (vec![], vec![b.id.clone()]));
    assert_eq!(network.pod_address_of(&a.id).map(|pod| pod.address), Some(a.address));
    assert_eq!(ask(&c.namespace, a.address, 80).unwrap(), c.address.to_string());
    assert_ne!(Pod::add(&network, "d").address, a.address);
}

#[test]
fn adding_a_hundred_pods() {
    let topology = Topology::new(1);
    let state = tempfile::tempdir().unwrap();
    let network = pod_network(&topology, 1, state.path());
    let namespaces: Vec<TemporaryNamespace> =
        (0..100).map(|_| TemporaryNamespace::new("many").unwrap()).collect();
    let mut took: Vec<Duration> = Vec::new();
    for (number, namespace) in namespaces.iter().enumerate() {
        let began = Instant::now();
        network.add(&SandboxId::new(number.to_string()), &namespace.namespace_path()).unwrap();
        took.push(began.elapsed());
    }
    took.sort();
    println!("ADD of 100 pods: p50 {:?}, p99 {:?}", took[50], took[99]);
    let live: BTreeMap<_, _> = namespaces
        .iter()
        .enumerate()
        .map(|(number, namespace)| (SandboxId::new(number.to_string()), namespace.namespace_path()))
        .collect();
    let began = Instant::now();
    let outcome = network.reconcile(&live).unwrap();
    println!("reconcile of 100 pods: {:?}", began.elapsed());
    assert_eq!(outcome, podnet::Reconciliation::default());
}
