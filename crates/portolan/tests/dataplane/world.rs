//! The network: a node with its pod network as the agent makes it, another node, a router, and a machine outside.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use kernel::conntrack::Conntrack;
use kernel::link::{Links, Namespaces};
use kernel::netns::{Netns, TemporaryNamespace};
use kernel::nft::Nftables;
use kernel::sysctl::Sysctls;
use netstate::link::LinkName;
use netstate::sysctl::{SysctlKey, apply};
use podnet::{Config, MemoryStore, PodNetwork, Ports, SandboxId};
use proxy::NodeContext;
use proxy::nftables::NftablesProxy;

use crate::asking::Asker;
use crate::servers::Servers;

/// Where somebody listens, TCP and UDP alike: three endpoints with two ports each, the node at a port that is a node
/// port for TCP alone, and a machine of the world.
const LISTENERS: [(Asker, &str); 9] = [
    (Asker::Endpoint, "10.244.1.2:80"),
    (Asker::Endpoint, "10.244.1.2:81"),
    (Asker::OtherEndpoint, "10.244.1.3:80"),
    (Asker::OtherEndpoint, "10.244.1.3:81"),
    (Asker::RemotePod, "10.244.2.2:80"),
    (Asker::RemotePod, "10.244.2.2:81"),
    (Asker::Node, "10.100.0.2:30000"),
    (Asker::Node, "127.0.0.1:30000"),
    (Asker::Outside, "192.0.2.2:8080"),
];

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
        let make = |tag| TemporaryNamespace::new(tag).expect("a network namespace; these tests need root");
        let (router, node, remote, outside) = (make("router"), make("node"), make("remote"), make("outside"));
        lay_cables(&router, &node, &remote, &outside);
        let pod_network = pod_network(&node);
        // Addresses are given in order.
        let pods = ["10.244.1.2", "10.244.1.3", "10.244.1.4"].map(|address| {
            let pod = make("pod");
            let given = pod_network.add(&SandboxId::new(address), &pod.namespace_path()).unwrap();
            assert_eq!(given.address.to_string(), address);
            pod
        });
        let [endpoint, other_endpoint, client] = pods;
        let place = |from| match from {
            Asker::Pod => &client,
            Asker::Endpoint => &endpoint,
            Asker::OtherEndpoint => &other_endpoint,
            Asker::Node | Asker::Loopback => &node,
            Asker::RemotePod => &remote,
            Asker::Outside => &outside,
        };
        let servers = Servers::start(LISTENERS.map(|(from, at)| (&**place(from), at.parse().unwrap())));
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
            Asker::Outside => &self.outside,
        }
    }

    /// A proxy of the node that has not looked at the kernel yet.
    pub fn proxy(&self) -> RealProxy {
        let (nft, conntrack) =
            self.node.run(|| (Nftables::open().unwrap(), Conntrack::open().unwrap())).unwrap();
        NftablesProxy::new(context(), nft, conntrack)
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

/// Of the node.
pub fn context() -> NodeContext {
    NodeContext::new("node1".into(), vec!["10.244.0.0/16".parse().unwrap()])
}

/// Of the node's pods.
pub fn pod_config() -> Config {
    Config {
        range: "10.244.1.0/24".parse().unwrap(),
        non_masquerade: vec!["10.0.0.0/8".parse().unwrap()],
        uplink: LinkName::eth0(),
    }
}

fn pod_network(node: &TemporaryNamespace) -> PodNetwork {
    let inside = || Netns::open_path(node.path()).unwrap();
    let ports = Ports {
        links: Box::new(Links::in_namespace(node).unwrap()),
        namespaces: Box::new(Namespaces),
        settings: Box::new(Sysctls::in_namespace(inside())),
        conntrack: Box::new(node.run(Conntrack::open).unwrap().unwrap()),
        nft: Box::new(node.run(Nftables::open).unwrap().unwrap()),
        store: Box::new(MemoryStore::default()),
    };
    let network = PodNetwork::new(pod_config(), ports).unwrap();
    network.setup_node().unwrap();
    network
}

/// The router leads service addresses to node1, which a real one does not: so the tests can ask for them from outside.
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
route add 10.244.1.0/24 via 10.100.0.2
route add 10.244.2.0/24 via 10.100.0.3
route add 10.96.0.0/24 via 10.100.0.2
route add prohibit default
"
    );
    ip(router, &routing);
    // Refusals are told by ICMP, by default to one peer no more than one a second.
    let quick = (SysctlKey::new("net.ipv4.icmp_ratelimit"), "0");
    let forward = (SysctlKey::new("net.ipv4.ip_forward"), "1");
    let redirects = |link| (SysctlKey::ipv4_conf(link, "send_redirects"), "0");
    set(router, &[quick.clone(), forward, redirects("all"), redirects("lan0")]);
    set(node, &[quick]);
    let machine = |address: &str, gateway: &str| {
        format!(
            "link set lo up
link set eth0 up
address add {address} dev eth0
route add default via {gateway}
"
        )
    };
    ip(node, &machine("10.100.0.2/24", "10.100.0.1"));
    ip(outside, &machine("192.0.2.2/24", "192.0.2.1"));
    let pods = "address add 10.244.2.2/32 dev lo\naddress add 10.244.2.3/32 dev lo\n";
    ip(remote, &(machine("10.100.0.3/24", "10.100.0.1") + pods));
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
