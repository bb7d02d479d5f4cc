use netstate::conntrack::{Connection, FakeConntrack, Flow};
use netstate::link::{Link, LinkKind};
use netstate::namespace::FakeLinks;
use netstate::nft::{FakeNft, L4Protocol, Name, Op, Transaction};
use netstate::sysctl::{FakeSysctls, SysctlKey};
use proptest::prelude::*;

use super::*;
use crate::MemoryStore;

/// A node in memory; what is kept when its agent is restarted.
struct Node {
    links: FakeLinks,
    nft: FakeNft,
    conntrack: FakeConntrack,
    settings: FakeSysctls,
    store: MemoryStore,
}

impl Node {
    fn new() -> Self {
        let links = FakeLinks::new(NamespacePath::new("/run/netns/node"));
        let eth0 = Link::new(LinkName::eth0(), LinkKind::Other("dummy".to_owned())).with_mtu(1400);
        links.commit(&[LinkOp::CreateLink(eth0)]).unwrap();
        let _ = links.take_operations();
        Self {
            links,
            nft: FakeNft::new(),
            conntrack: FakeConntrack::new(),
            settings: FakeSysctls::default(),
            store: MemoryStore::default(),
        }
    }

    fn start_agent(&self) -> PodNetwork {
        let config = Config {
            range: "10.244.1.0/28".parse().unwrap(),
            non_masquerade: vec!["10.0.0.0/8".parse().unwrap()],
            uplink: LinkName::eth0(),
        };
        let ports = Ports {
            links: Box::new(self.links.clone()),
            namespaces: Box::new(self.links.clone()),
            settings: Box::new(self.settings.clone()),
            nft: Box::new(self.nft.clone()),
            conntrack: Box::new(self.conntrack.clone()),
            store: Box::new(self.store.clone()),
        };
        let network = PodNetwork::new(config, ports).unwrap();
        network.setup_node().unwrap();
        network
    }

    /// Starts a sandbox that has nothing but its namespace.
    fn start(&self, number: u8) {
        self.links.add_namespace(namespace(number));
    }

    /// The node's ends of pods' links.
    fn pod_links(&self) -> Vec<String> {
        let state = self.links.observe().unwrap();
        state.links.keys().map(ToString::to_string).filter(|name| name.starts_with("ptlp")).collect()
    }

    /// How many ports of the node lead to pods.
    fn host_ports(&self) -> usize {
        let table = self.nft.clone().observe(&crate::host_ports::TABLE).unwrap();
        let map = Name::constant("everywhere");
        table.map_or(0, |table| table.sets[&map].elements.len())
    }

    /// Addresses of a pod's `eth0`.
    fn inside(&self, number: u8) -> Vec<String> {
        let state = self.links.open(&namespace(number)).unwrap().observe().unwrap();
        let eth0 = state.links.get(&LinkName::eth0());
        eth0.map(|link| link.addresses.iter().map(ToString::to_string).collect()).unwrap_or_default()
    }
}

fn namespace(number: u8) -> NamespacePath {
    NamespacePath::new(format!("/proc/{number}/ns/net"))
}

fn id(number: u8) -> SandboxId {
    SandboxId::new(format!("sandbox-{number}"))
}

/// What such a kernel lacks comes when it is there.
#[test]
fn a_kernel_without_nftables_has_a_pod_network_all_the_same() {
    let node = Node::new();
    node.nft.fail_next_commit(95);
    let network = node.start_agent();
    node.start(1);
    network.add(&id(1), &namespace(1)).unwrap();
    assert_eq!((node.nft.commits().len(), node.pod_links().len()), (0, 1));
    network.setup_node().unwrap();
    assert_eq!(node.nft.commits().len(), 1, "the masquerade");
}

#[test]
fn a_second_agent_finds_the_node_set_up_and_changes_nothing() {
    let node = Node::new();
    drop(node.start_agent());
    assert_eq!(node.nft.commits().len(), 1);
    assert_eq!(node.settings.values()[&SysctlKey::new("net.ipv4.ip_forward")], "1");
    assert!(!node.links.take_operations().is_empty());
    drop(node.start_agent());
    assert_eq!(node.nft.commits().len(), 1);
    assert_eq!(node.links.take_operations(), Vec::new());
}

#[test]
fn a_pod_is_connected_with_the_uplinks_mtu_and_adding_again_changes_nothing() {
    let node = Node::new();
    let network = node.start_agent();
    node.start(1);
    let place = network.add(&id(1), &namespace(1)).unwrap();
    assert_eq!(place.address.to_string(), "10.244.1.2");
    assert_eq!(place.gateway.to_string(), "10.244.1.1");
    assert_eq!(node.inside(1), ["10.244.1.2/32"]);
    let pod = node.links.open(&namespace(1)).unwrap().observe().unwrap();
    assert_eq!(pod.links[&LinkName::eth0()].mtu, Some(1400));
    let routes: Vec<String> = pod.routes.values().map(ToString::to_string).collect();
    assert_eq!(routes, ["default via 10.244.1.1 dev eth0 proto 112", "10.244.1.1/32 dev eth0 proto 112"]);
    let host = node.links.observe().unwrap();
    let port = &host.links[&LinkName::constant("ptlp2")];
    assert!(port.hairpin && port.up && port.master == Some(plan::BRIDGE), "{port:?}");

    let _ = node.links.take_operations();
    assert_eq!(network.add(&id(1), &namespace(1)).unwrap(), place);
    assert_eq!(node.links.take_operations(), Vec::new());
}

#[test]
fn ports_of_the_node_come_and_go_with_their_pod_and_outlive_an_agent() {
    let node = Node::new();
    let network = node.start_agent();
    node.start(1);
    network.add(&id(1), &namespace(1)).unwrap();
    network.publish(&id(1), &[]).unwrap();
    assert_eq!(node.nft.commits().len(), 1, "a node without host ports has no table for them");
    let port = HostPort { protocol: L4Protocol::UDP, address: None, port: 53, pod_port: 5353 };
    let client =
        |to: &str| Flow { source: "192.0.2.2:4000".parse().unwrap(), destination: to.parse().unwrap() };
    let tracked = Connection {
        protocol: L4Protocol::UDP,
        original: client("10.100.0.2:53"),
        reply: Flow {
            source: "10.100.0.2:53".parse().unwrap(),
            destination: "192.0.2.2:4000".parse().unwrap(),
        },
    };
    node.conntrack.remember(tracked);
    network.publish(&id(1), std::slice::from_ref(&port)).unwrap();
    assert_eq!(node.conntrack.connections(), []);
    assert_eq!(node.settings.values()[&SysctlKey::ipv4_conf("cbr0", "route_localnet")], "1");
    assert_eq!(node.host_ports(), 1);
    drop(network);

    let network = node.start_agent();
    assert_eq!(node.host_ports(), 1, "nothing is taken away before all is known");
    node.conntrack.remember(tracked);
    let commits = node.nft.commits().len();
    network.publish_all(&BTreeMap::from([(id(1), vec![port])])).unwrap();
    assert_eq!((node.nft.commits().len(), node.conntrack.connections().len()), (commits, 1));
    network.delete(&id(1)).unwrap();
    assert_eq!((node.host_ports(), node.conntrack.connections().len()), (0, 0));
}

#[test]
fn what_somebody_else_removed_is_mended() {
    let node = Node::new();
    let network = node.start_agent();
    node.start(1);
    network.add(&id(1), &namespace(1)).unwrap();
    let port = HostPort { protocol: L4Protocol::TCP, address: None, port: 8080, pod_port: 80 };
    network.publish(&id(1), &[port]).unwrap();
    assert!(!network.mend().unwrap());
    assert!(!network.mend().unwrap());
    for table in [plan::TABLE, crate::host_ports::TABLE] {
        let mut other = node.nft.clone();
        other.commit(&Transaction { table, ops: vec![Op::DeleteTable] }).unwrap();
    }
    assert!(network.mend().unwrap());
    assert_eq!(node.host_ports(), 1);
    let commits = node.nft.commits().len();
    assert!(!network.mend().unwrap());
    assert_eq!(node.nft.commits().len(), commits);
}

#[test]
fn a_failed_add_leaves_neither_link_nor_address() {
    let node = Node::new();
    let network = node.start_agent();
    let error = network.add(&id(1), &namespace(1)).unwrap_err();
    assert!(matches!(&error, PodnetError::Link(error) if error.is_not_found()), "{error}");
    assert_eq!(network.pod_address_of(&id(1)), None);
    assert_eq!(node.pod_links(), Vec::<String>::new());
}

#[test]
fn a_full_range_says_so_and_recovers() {
    let node = Node::new();
    let network = node.start_agent();
    for number in 0..13 {
        node.start(number);
        network.add(&id(number), &namespace(number)).unwrap();
    }
    node.start(20);
    assert!(network.add(&id(20), &namespace(20)).unwrap_err().is_exhausted());
    network.delete(&id(4)).unwrap();
    assert_eq!(network.add(&id(20), &namespace(20)).unwrap().address.to_string(), "10.244.1.6");
}

#[test]
fn a_node_without_uplink_or_with_a_range_too_small_is_refused() {
    let links = FakeLinks::new(NamespacePath::new("/run/netns/node"));
    let start = |range: &str| {
        let ports = Ports {
            links: Box::new(links.clone()),
            namespaces: Box::new(links.clone()),
            settings: Box::new(FakeSysctls::default()),
            conntrack: Box::new(FakeConntrack::new()),
            nft: Box::new(FakeNft::new()),
            store: Box::new(MemoryStore::default()),
        };
        let range = range.parse().unwrap();
        let config = Config { range, non_masquerade: Vec::new(), uplink: LinkName::eth0() };
        PodNetwork::new(config, ports).unwrap_err().to_string()
    };
    assert_eq!(start("10.244.1.0/24"), "this node has no link eth0 to take the MTU from");
    assert_eq!(start("10.244.1.0/31"), "pod range 10.244.1.0/31 is too small for a node: use /30 or larger");
}

#[test]
fn addresses_of_another_range_are_forgotten() {
    let node = Node::new();
    let text = r#"{"range":"10.244.9.0/24","allocated":{"sandbox-1":"10.244.9.2"},"freed":[]}"#;
    node.store.save(text).unwrap();
    let network = node.start_agent();
    assert_eq!(network.pod_address_of(&id(1)), None);
}

#[derive(Debug, Clone)]
enum Step {
    Start(u8),
    Add(u8),
    Delete(u8),
    /// The sandbox's processes end; the kernel removes its namespace.
    End(u8),
    /// The agent is killed and started again.
    Restart,
    /// The same, and what it wrote down is lost.
    Forget,
    /// Somebody plays with the node's links.
    Spoil(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..6_u8).prop_map(Step::Start),
        4 => (0..6_u8).prop_map(Step::Add),
        2 => (0..6_u8).prop_map(Step::Delete),
        1 => (0..6_u8).prop_map(Step::End),
        1 => Just(Step::Restart),
        1 => Just(Step::Forget),
        1 => (2..9_u8).prop_map(Step::Spoil),
    ]
}

proptest! {
    /// Whatever happened: after an agent's restart every live sandbox is whole with the address that its pod sees, or
    /// it is reported; nothing of any other sandbox is left; and a second look changes nothing.
    #[test]
    fn a_restart_makes_everything_right(steps in prop::collection::vec(step(), 0..60)) {
        let node = Node::new();
        let mut network = node.start_agent();
        let mut live: BTreeMap<u8, bool> = BTreeMap::new();
        let sandboxes = |live: &BTreeMap<u8, bool>| -> BTreeMap<SandboxId, NamespacePath> {
            live.iter().filter(|(_, added)| **added).map(|(n, _)| (id(*n), namespace(*n))).collect()
        };
        for step in steps {
            match step {
                Step::Start(n) if !live.contains_key(&n) => {
                    node.start(n);
                    live.insert(n, false);
                }
                Step::Add(n) if live.contains_key(&n) => {
                    network.add(&id(n), &namespace(n)).unwrap();
                    live.insert(n, true);
                }
                Step::Delete(n) => {
                    network.delete(&id(n)).unwrap();
                    if let Some(added) = live.get_mut(&n) {
                        *added = false;
                    }
                }
                Step::End(n) => {
                    node.links.delete_namespace(&namespace(n));
                    live.remove(&n);
                }
                Step::Restart => {
                    network = node.start_agent();
                    network.reconcile(&sandboxes(&live)).unwrap();
                }
                Step::Forget => {
                    node.store.save("lost").unwrap();
                    network = node.start_agent();
                    network.reconcile(&sandboxes(&live)).unwrap();
                }
                Step::Spoil(place) => {
                    let link = LinkName::parse(&format!("ptlp{place}")).unwrap();
                    let _ = node.links.commit(&[LinkOp::SetMaster { link, master: None }]);
                }
                Step::Start(_) | Step::Add(_) => {}
            }
        }
        let network = node.start_agent();
        let outcome = network.reconcile(&sandboxes(&live)).unwrap();
        let mut whole = Vec::new();
        for (sandbox, namespace) in sandboxes(&live) {
            if outcome.broken.contains(&sandbox) {
                continue;
            }
            let address = network.pod_address_of(&sandbox).unwrap().address;
            let pod = node.links.open(&namespace).unwrap().observe().unwrap();
            let seen: Vec<IpAddr> = pod.links[&LinkName::eth0()].addresses.iter().map(IpNet::addr).collect();
            prop_assert_eq!(seen, vec![address]);
            whole.push(format!("ptlp{}", address.to_string().rsplit('.').next().unwrap()));
        }
        whole.sort();
        prop_assert_eq!(node.pod_links(), whole);
        let host = node.links.observe().unwrap();
        prop_assert!(host.links.values().filter(|link| link.name.as_str().starts_with("ptlp"))
            .all(|link| link.hairpin && link.master == Some(plan::BRIDGE)));

        let _ = node.links.take_operations();
        let again = network.reconcile(&sandboxes(&live)).unwrap();
        prop_assert_eq!(again.released, Vec::new());
        prop_assert_eq!(node.links.take_operations(), Vec::new());
    }
}
