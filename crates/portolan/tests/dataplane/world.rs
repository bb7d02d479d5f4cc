//! The network: a node with its pod network as the agent makes it, another node, a router, and a machine outside.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};

use kernel::conntrack::Conntrack;
use kernel::ipset::Ipset;
use kernel::iptables::Iptables;
use kernel::ipvs::Ipvs;
use kernel::link::{Links, Namespaces};
use kernel::netns::{Netns, TemporaryNamespace};
use kernel::nft::Nftables;
use kernel::sysctl::Sysctls;
use model::{Changes, Snapshot};
use netstate::iptables::Variant;
use netstate::link::LinkName;
use netstate::nft::{FakeNft, Family, InterfaceName, NftPort};
use netstate::sysctl::{SysctlKey, apply};
use podnet::{Config, MemoryStore, PodNetwork, Ports, SandboxId};
use proxy::iptables::IptablesProxy;
use proxy::ipvs::{self, IpvsProxy};
use proxy::nftables::NftablesProxy;
use proxy::userspace::UserspaceProxy;
use proxy::{Dataplane, LocalTraffic, NodeContext, NodePortAddresses, SyncError, SyncReport};
use relay::Relays;

use crate::asking::Asker;
use crate::cases::Settings;
use crate::modes::Mode;
use crate::servers::Servers;

/// Where somebody listens, TCP and UDP alike: three endpoints with two ports each, the node at ports that are a node port
/// elsewhere or for others, a machine of the world, and the router in the place of whatever is beyond it.
const LISTENERS: [(Home, &str); 34] = [
    (Home::Endpoint, "10.244.1.2:80"),
    (Home::Endpoint, "10.244.1.2:81"),
    (Home::Endpoint, "[fd00:10:244:1::2]:80"),
    (Home::Endpoint, "[fd00:10:244:1::2]:81"),
    (Home::OtherEndpoint, "10.244.1.3:80"),
    (Home::OtherEndpoint, "10.244.1.3:81"),
    (Home::OtherEndpoint, "[fd00:10:244:1::3]:80"),
    (Home::OtherEndpoint, "[fd00:10:244:1::3]:81"),
    (Home::Remote, "10.244.2.2:80"),
    (Home::Remote, "10.244.2.2:81"),
    (Home::Remote, "[fd00:10:244:2::2]:80"),
    (Home::Remote, "[fd00:10:244:2::2]:81"),
    (Home::Node, "10.100.0.2:6443"),
    (Home::Node, "10.100.0.2:30000"),
    (Home::Node, "10.100.0.2:30002"),
    (Home::Node, "10.100.0.2:30990"),
    (Home::Node, "127.0.0.1:30000"),
    (Home::Node, "[fd00:10:100::2]:30000"),
    (Home::Node, "[fd00:10:100::2]:30212"),
    (Home::Node, "[::1]:30220"),
    (Home::Outside, "192.0.2.2:8080"),
    (Home::Outside, "192.0.2.3:8080"),
    (Home::Outside, "[2001:db8:2::2]:8080"),
    (Home::Outside, "[2001:db8:2::3]:8080"),
    (Home::Router, "10.97.0.1:53"),
    (Home::Router, "10.97.0.1:8080"),
    (Home::Router, "10.97.0.2:80"),
    (Home::Router, "198.51.100.240:81"),
    (Home::Router, "198.51.100.241:80"),
    (Home::Router, "203.0.113.230:80"),
    (Home::Router, "203.0.113.231:80"),
    (Home::Router, "203.0.113.232:80"),
    (Home::Router, "[2001:db8:4::112]:80"),
    (Home::Router, "[fd00:10:97::1]:80"),
];

/// Where somebody listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Home {
    Endpoint,
    OtherEndpoint,
    Remote,
    Node,
    Outside,
    Router,
}

/// Whether anybody listens there.
pub fn is_listening(at: SocketAddr) -> bool {
    LISTENERS.iter().any(|(_, listener)| *listener == at.to_string())
}

/// The namespaces and who listens in them. Everything goes when this is dropped.
pub struct World {
    _servers: Servers,
    _pod_network: PodNetwork,
    node: TemporaryNamespace,
    endpoint: TemporaryNamespace,
    other_endpoint: TemporaryNamespace,
    client: TemporaryNamespace,
    remote: TemporaryNamespace,
    outside: TemporaryNamespace,
    _router: TemporaryNamespace,
}

/// The nftables mode on the real ports.
pub type RealProxy = NftablesProxy<Nftables, Conntrack>;

impl World {
    pub fn new() -> Self {
        Self::with(Rules::Nftables)
    }

    /// With the pod network's own rules in another form.
    pub fn with(rules: Rules) -> Self {
        let make = |tag| TemporaryNamespace::new(tag).expect("a network namespace; these tests need root");
        let (router, node, remote, outside) = (make("router"), make("node"), make("remote"), make("outside"));
        lay_cables(&router, &node, &remote, &outside);
        let pod_network = pod_network(&node, rules);
        ip(&node, "address add fd00:10:244:1::1/64 dev cbr0 nodad\n");
        // Addresses are given in order.
        let pods = ["10.244.1.2", "10.244.1.3", "10.244.1.4"].map(|address| {
            let pod = make("pod");
            let given = pod_network.add(&SandboxId::new(address), &pod.namespace_path()).unwrap();
            assert_eq!(given.address.to_string(), address);
            let own = format!("fd00:10:244:1::{}", &address["10.244.1.".len()..]);
            add_ipv6(&pod, &own);
            pod
        });
        let [endpoint, other_endpoint, client] = pods;
        let place = |home| match home {
            Home::Endpoint => &endpoint,
            Home::OtherEndpoint => &other_endpoint,
            Home::Remote => &remote,
            Home::Node => &node,
            Home::Outside => &outside,
            Home::Router => &router,
        };
        let servers = Servers::start(LISTENERS.map(|(home, at)| (&**place(home), at.parse().unwrap())));
        Self {
            _servers: servers,
            _pod_network: pod_network,
            node,
            endpoint,
            other_endpoint,
            client,
            remote,
            outside,
            _router: router,
        }
    }

    /// Where a client lives.
    pub fn place(&self, from: Asker) -> &Netns {
        match from {
            Asker::Pod => &self.client,
            Asker::Endpoint => &self.endpoint,
            Asker::OtherEndpoint => &self.other_endpoint,
            Asker::Node | Asker::Loopback => &self.node,
            Asker::RemotePod => &self.remote,
            Asker::Outside | Asker::Elsewhere => &self.outside,
        }
    }

    /// A proxy of the node that has not looked at the kernel yet.
    pub fn proxy(&self) -> RealProxy {
        let (nft, conntrack) =
            self.node.run(|| (Nftables::open().unwrap(), Conntrack::open().unwrap())).unwrap();
        NftablesProxy::new(context(Settings::Usual), nft, conntrack)
    }

    /// A proxy of the node in some mode, that has not looked at the kernel yet.
    pub fn dataplane(&self, mode: Mode, settings: Settings) -> OnNode {
        let context = context(settings);
        let node = Netns::open_path(self.node.path()).unwrap();
        let (proxy, runtime): (Box<dyn Dataplane>, _) = node
            .run(move || {
                let conntrack = Conntrack::open().unwrap();
                match mode {
                    Mode::Nftables => {
                        let nft = Nftables::open().unwrap();
                        (Box::new(NftablesProxy::new(context, nft, conntrack)) as Box<dyn Dataplane>, None)
                    }
                    Mode::Iptables => {
                        let ports = [Family::Ip, Family::Ip6].map(|family| Iptables::open(family).unwrap());
                        (Box::new(IptablesProxy::new(context, ports, conntrack)) as Box<dyn Dataplane>, None)
                    }
                    Mode::Ipvs => {
                        let iptables = [Family::Ip, Family::Ip6].map(|family| {
                            // The other kernel has no other.
                            Box::new(Iptables::open_variant(family, Variant::Legacy).unwrap()) as _
                        });
                        let here = || Netns::open_path(self.node.path()).unwrap();
                        let ports = ipvs::Ports {
                            ipvs: Box::new(Ipvs::open().unwrap()),
                            sets: Box::new(Ipset::open().unwrap()),
                            iptables,
                            links: Box::new(Links::in_namespace(&here()).unwrap()),
                            settings: Box::new(Sysctls::in_namespace(here())),
                            conntrack: Box::new(conntrack),
                        };
                        let proxy = IpvsProxy::new(context, ipvs::Config::default(), ports);
                        (Box::new(proxy) as Box<dyn Dataplane>, None)
                    }
                    Mode::Userspace => {
                        // Its threads are begun by this one, and so on the node.
                        let runtime = tokio::runtime::Builder::new_multi_thread()
                            .worker_threads(1)
                            .enable_all()
                            .build()
                            .unwrap();
                        let relays = Relays::new(runtime.handle().clone(), relay::Config::default());
                        let nft = Nftables::open().unwrap();
                        let proxy = UserspaceProxy::new(context, nft, relays, conntrack);
                        (Box::new(proxy) as Box<dyn Dataplane>, Some(runtime))
                    }
                }
            })
            .unwrap();
        OnNode { proxy, node, _runtime: runtime }
    }

    /// Runs a program on the node and returns what it prints.
    pub fn on_node(&self, program: &str, arguments: &[&str]) -> String {
        let inside = ["netns", "exec", self.node.name(), program];
        run("ip", &[&inside[..], arguments].concat(), "")
    }

    /// Runs `nft` on the node and returns what it prints.
    pub fn nft(&self, command: &str) -> String {
        run("ip", &["netns", "exec", self.node.name(), "nft", command], "")
    }

    /// What `nft` says of the service table: its chains and sets, in no order of their making.
    pub fn service_table(&self) -> BTreeSet<String> {
        let text = self.nft("list table ip portolan-services");
        let inside = text.strip_prefix("table ip portolan-services {").unwrap().strip_suffix("}\n").unwrap();
        inside.split("\n\n").map(|part| part.trim().to_owned()).collect()
    }
}

/// A proxy that works on the node, wherever it is called from.
pub struct OnNode {
    proxy: Box<dyn Dataplane>,
    node: Netns,
    /// What its relays run on.
    _runtime: Option<tokio::runtime::Runtime>,
}

impl Dataplane for OnNode {
    fn sync(&mut self, snapshot: &Snapshot<'_>, changes: &Changes) -> Result<SyncReport, SyncError> {
        self.node.run(|| self.proxy.sync(snapshot, changes)).unwrap()
    }

    fn may_be_disturbed(&mut self) -> Result<bool, SyncError> {
        self.node.run(|| self.proxy.may_be_disturbed()).unwrap()
    }

    fn cleanup(&mut self) -> Result<(), SyncError> {
        self.node.run(|| self.proxy.cleanup()).unwrap()
    }
}

/// What the proxy of node1 is told.
pub fn context(settings: Settings) -> NodeContext {
    let ranges = || ["10.244.0.0/16", "fd00:10:244::/48"].map(|range| range.parse().unwrap()).to_vec();
    let usual = NodeContext::new("node1".into(), ranges());
    let pods = |pods| NodeContext { pods, ..usual.clone() };
    match settings {
        Settings::Usual => usual,
        Settings::MasqueradeAll => NodeContext { masquerade_all: true, ..usual },
        Settings::PodsUnknown => pods(LocalTraffic::Unknown),
        Settings::PodsByBridge => pods(LocalTraffic::Interface(InterfaceName::new("cbr0").unwrap())),
        Settings::PodsByPrefix => pods(LocalTraffic::InterfacePrefix(InterfaceName::new("cb").unwrap())),
        Settings::OneNodePortAddress => {
            let addresses = ["10.100.0.22/32", "fd00:10:100::22/128"].map(|range| range.parse().unwrap());
            NodeContext { node_port_addresses: NodePortAddresses::Ranges(addresses.to_vec()), ..usual }
        }
    }
}

/// Of the node's pods.
pub fn pod_config() -> Config {
    Config {
        range: "10.244.1.0/24".parse().unwrap(),
        non_masquerade: vec!["10.0.0.0/8".parse().unwrap()],
        uplink: LinkName::eth0(),
    }
}

/// What the pod network masquerades with.
#[derive(Debug, Clone, Copy)]
pub enum Rules {
    /// As the agent does.
    Nftables,
    /// By hand, where the kernel has no nftables.
    Iptables,
}

fn pod_network(node: &TemporaryNamespace, rules: Rules) -> PodNetwork {
    let inside = || Netns::open_path(node.path()).unwrap();
    let nft: Box<dyn NftPort + Send> = match rules {
        Rules::Nftables => Box::new(node.run(Nftables::open).unwrap().unwrap()),
        Rules::Iptables => {
            let rule = "iptables-legacy -t nat -A POSTROUTING -s 10.244.1.0/24 ! -d 10.0.0.0/8 -j MASQUERADE";
            let command = ["netns", "exec", node.name()].into_iter().chain(rule.split(' '));
            run("ip", &command.collect::<Vec<_>>(), "");
            Box::new(FakeNft::new())
        }
    };
    let ports = Ports {
        links: Box::new(Links::in_namespace(node).unwrap()),
        namespaces: Box::new(Namespaces),
        settings: Box::new(Sysctls::in_namespace(inside())),
        conntrack: Box::new(node.run(Conntrack::open).unwrap().unwrap()),
        nft,
        store: Box::new(MemoryStore::default()),
    };
    let network = PodNetwork::new(pod_config(), ports).unwrap();
    network.setup_node().unwrap();
    network
}

/// A pod's second address, with the node as its only neighbour, as in IPv4.
fn add_ipv6(pod: &TemporaryNamespace, address: &str) {
    let commands = format!(
        "address add {address}/128 dev eth0 nodad
route add fd00:10:244:1::1 dev eth0
route add default via fd00:10:244:1::1
"
    );
    // Otherwise the node tells pods to talk to each other directly, past its own translation.
    set(pod, &[(SysctlKey::new("net.ipv6.conf.eth0.accept_redirects"), "0")]);
    ip(pod, &commands);
}

/// The router leads service addresses to node1, and most of those of load balancers and of the outside: so the tests can
/// ask for them from outside. Some of the rest it has itself.
fn lay_cables(
    router: &TemporaryNamespace,
    node: &TemporaryNamespace,
    remote: &TemporaryNamespace,
    outside: &TemporaryNamespace,
) {
    let (node_name, remote_name, outside_name) = (node.name(), remote.name(), outside.name());
    let routing = format!(
        "link set lo up
link add lan0 type bridge
link set lan0 up
address add 10.100.0.1/24 dev lan0
link add node1 type veth peer name eth0 netns {node_name}
link set node1 master lan0 up
link add node2 type veth peer name eth0 netns {remote_name}
link set node2 master lan0 up
link add wan0 type veth peer name eth0 netns {outside_name}
link set wan0 up
address add 192.0.2.1/24 dev wan0
address add fd00:10:100::1/64 dev lan0 nodad
address add 2001:db8:2::1/64 dev wan0 nodad
route add 10.244.1.0/24 via 10.100.0.2
route add 10.244.2.0/24 via 10.100.0.3
route add 10.96.0.0/24 via 10.100.0.2
route add 198.51.100.0/25 via 10.100.0.2
route add 198.51.100.128/26 via 10.100.0.2
route add 203.0.113.0/25 via 10.100.0.2
route add 203.0.113.128/26 via 10.100.0.2
route add prohibit default
route add fd00:10:244:1::/64 via fd00:10:100::2
route add fd00:10:244:2::/64 via fd00:10:100::3
route add fd00:10:96::/112 via fd00:10:100::2
route add 2001:db8:1::/64 via fd00:10:100::2
route add 2001:db8:3::/64 via fd00:10:100::2
route add unreachable ::/0
"
    );
    let beyond: BTreeSet<IpAddr> = LISTENERS
        .iter()
        .filter(|(home, _)| *home == Home::Router)
        .map(|(_, at)| at.parse::<SocketAddr>().unwrap().ip())
        .collect();
    let beyond: String = beyond.iter().map(|address| add_address("lo", &address.to_string())).collect();
    ip(router, &(routing + &beyond));
    // Refusals are told by ICMP, by default to one peer no more than one a second.
    let quick = ["net.ipv4.icmp_ratelimit", "net.ipv6.icmp.ratelimit"].map(|key| (SysctlKey::new(key), "0"));
    let forward_ipv6 = (SysctlKey::new("net.ipv6.conf.all.forwarding"), "1");
    let forward = [(SysctlKey::new("net.ipv4.ip_forward"), "1"), forward_ipv6.clone()];
    let redirects = ["all", "lan0"].map(|link| (SysctlKey::ipv4_conf(link, "send_redirects"), "0"));
    set(router, &[quick.as_slice(), &forward, &redirects].concat());
    set(node, &[quick.as_slice(), &[forward_ipv6]].concat());
    let machine = |addresses: &[&str], gateways: [&str; 2]| {
        let links = "link set lo up\nlink set eth0 up\n".to_owned();
        let addresses: String = addresses.iter().map(|address| add_address("eth0", address)).collect();
        links + &addresses + &gateways.map(|gateway| format!("route add default via {gateway}\n")).concat()
    };
    let lan = ["10.100.0.1", "fd00:10:100::1"];
    let own = ["10.100.0.2/24", "10.100.0.22/24", "fd00:10:100::2/64", "fd00:10:100::22/128 preferred_lft 0"];
    ip(node, &machine(&own, lan));
    let world = ["192.0.2.2/24", "192.0.2.3/24", "2001:db8:2::2/64", "2001:db8:2::3/64"];
    ip(outside, &machine(&world, ["192.0.2.1", "2001:db8:2::1"]));
    let pods = ["10.244.2.2/32", "10.244.2.3/32", "fd00:10:244:2::2/128", "fd00:10:244:2::3/128"];
    let pods = pods.map(|address| add_address("lo", address)).concat();
    ip(remote, &(machine(&["10.100.0.3/24", "fd00:10:100::3/64"], lan) + &pods));
}

/// An address that can be used from then on: it is nobody else's, and the kernel would look for that first.
fn add_address(link: &str, address: &str) -> String {
    let nodad = if address.contains(':') { " nodad" } else { "" };
    format!("address add {address} dev {link}{nodad}\n")
}

fn set(namespace: &TemporaryNamespace, wanted: &[(SysctlKey, &str)]) {
    let settings = Sysctls::in_namespace(Netns::open_path(namespace.path()).unwrap());
    apply(&settings, wanted).unwrap();
}

fn ip(namespace: &TemporaryNamespace, commands: &str) {
    run("ip", &["-n", namespace.name(), "-batch", "-"], commands);
}

fn run(program: &str, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Dropped behind the statement, which is the end of its input.
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}
