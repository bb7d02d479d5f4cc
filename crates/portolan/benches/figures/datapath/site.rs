//! A node with its pod network and its loaded Services, and who asks and answers there.
//!
//! ```text
//!   outside 10.100.0.1 ── eth0 10.100.0.2 node ── cbr0 ─┬─ server pod 10.244.1.2   endpoints in 10.244.128.0/18
//!   asks from 10.101.0.0/16    asks from 10.102.0.0/16  └─ client pod 10.244.1.3   asks from 10.244.64.0/18
//! ```
//!
//! Clients have thousands of addresses and endpoints ten, each range led to one namespace and local there: otherwise
//! connections that have just ended would leave no ports to the next.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use kernel::conntrack::Conntrack;
use kernel::link::{Links, Namespaces};
use kernel::netns::{Netns, TemporaryNamespace};
use kernel::nft::Nftables;
use kernel::sysctl::Sysctls;
use netstate::link::LinkName;
use netstate::nft::{FakeNft, NftPort};
use netstate::sysctl::{SysctlKey, apply};
use podnet::{Config, MemoryStore, PodNetwork, Ports, SandboxId};
use proxy::Mode;

use super::answering::Server;
use super::modes::Serving;
use super::objects::{Asked, Load, Position};
use crate::rig::Variant;

/// The node's address that clients outside know.
const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 100, 0, 2);

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asker {
    /// A pod of the node.
    Pod,
    /// A process of the node itself.
    Node,
    /// A machine outside, by a port of the node.
    Outside,
}

impl Asker {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pod, Self::Node, Self::Outside];

    /// The words for it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Pod => "from a pod",
            Self::Node => "from the node",
            Self::Outside => "through a node port",
        }
    }

    /// One of its addresses, another one for each number.
    pub fn address(self, number: u32) -> Ipv4Addr {
        let (range, size) = match self {
            Self::Pod => (Ipv4Addr::new(10, 244, 64, 0), 1 << 14),
            Self::Node => (Ipv4Addr::new(10, 102, 0, 0), 1 << 16),
            Self::Outside => (Ipv4Addr::new(10, 101, 0, 0), 1 << 16),
        };
        Ipv4Addr::from(u32::from(range) + number % size)
    }
}

/// Fields fall in this order: what lives on the node before the node.
pub struct Site {
    /// The Services.
    pub load: Load,
    /// The endpoints of those that are asked.
    pub server: Server,
    _serving: Serving,
    _network: PodNetwork,
    client: TemporaryNamespace,
    server_pod: TemporaryNamespace,
    outside: TemporaryNamespace,
    node: TemporaryNamespace,
}

impl Site {
    /// Makes it and loads the Services.
    pub fn new(variant: Variant, load: Load) -> anyhow::Result<Self> {
        let (node, outside) =
            (TemporaryNamespace::new("bench-node")?, TemporaryNamespace::new("bench-outside")?);
        lay_cable(&node, &outside)?;
        let network = pod_network(&node, variant)?;
        let (server_pod, client) =
            (TemporaryNamespace::new("bench-server")?, TemporaryNamespace::new("bench-pod")?);
        let ranges = [(&server_pod, "10.244.128.0/18"), (&client, "10.244.64.0/18")];
        for (pod, range) in ranges {
            let given = network.add(&SandboxId::new(pod.name()), &pod.namespace_path())?;
            ip(pod, &format!("route add local {range} dev lo\n"))?;
            ip(&node, &format!("route add {range} via {} dev cbr0\n", given.address))?;
            set(pod, &[("net.ipv4.tcp_no_metrics_save", "1")])?;
        }
        let server = server_pod.run(Server::listen)??;
        let mut index = load.index();
        let serving =
            node.run(|| Serving::start(variant, &mut index))?.with_context(|| variant.to_string())?;
        Ok(Self { load, server, _serving: serving, _network: network, client, server_pod, outside, node })
    }

    /// Where a client lives.
    pub fn place(&self, from: Asker) -> &Netns {
        match from {
            Asker::Pod => &self.client,
            Asker::Node => &self.node,
            Asker::Outside => &self.outside,
        }
    }

    /// Whom it asks to reach a Service.
    pub fn door(from: Asker, asked: &Asked) -> SocketAddrV4 {
        match from {
            Asker::Pod | Asker::Node => asked.address,
            Asker::Outside => SocketAddrV4::new(NODE_ADDRESS, asked.node_port),
        }
    }

    /// TCP segments that its clients and endpoints have sent again so far. There is nothing on the way that loses any, so
    /// where there are many, ports or the table of connections were full.
    pub fn sent_again(&self) -> anyhow::Result<u64> {
        let places = [&self.client, &self.node, &self.outside, &self.server_pod];
        places.into_iter().map(|place| place.run(sent_again)?).sum()
    }

    /// The Service that is asked unless another one is meant.
    pub fn asked(&self) -> Asked {
        self.load.asked(Position::Middle)
    }
}

/// Of the calling thread's namespace.
fn sent_again() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let mut counters = names.split(' ').zip(values.split(' '));
    let (_, count) = counters.find(|(name, _)| *name == "RetransSegs").context("RetransSegs of TCP")?;
    Ok(count.parse()?)
}

fn lay_cable(node: &TemporaryNamespace, outside: &TemporaryNamespace) -> anyhow::Result<()> {
    let far = outside.name();
    ip(
        node,
        &format!(
            "link set lo up
link add eth0 type veth peer name eth0 netns {far}
link set eth0 up
address add {NODE_ADDRESS}/24 dev eth0
route add default via 10.100.0.1
route add 10.101.0.0/16 via 10.100.0.1
route add local 10.102.0.0/16 dev lo
"
        ),
    )?;
    ip(
        outside,
        &format!(
            "link set lo up
link set eth0 up
address add 10.100.0.1/24 dev eth0
route add 10.244.0.0/16 via {NODE_ADDRESS}
route add local 10.101.0.0/16 dev lo
"
        ),
    )?;
    let no_metrics = ("net.ipv4.tcp_no_metrics_save", "1");
    set(outside, &[no_metrics])?;
    // Connection tracking keeps what has ended for a while; a benchmark ends more in that time than a node does, and
    // would fill the table and the ports of masqueraded connections.
    let timeouts = ["tcp_timeout_close", "tcp_timeout_time_wait", "udp_timeout", "udp_timeout_stream"];
    let timeouts = timeouts.map(|name| format!("net.netfilter.nf_conntrack_{name}"));
    set(node, &timeouts.each_ref().map(|name| (name.as_str(), "1")))?;
    set(node, &[no_metrics])
}

/// As the agent makes it; where the kernel has no nftables, with a rule of the same meaning.
fn pod_network(node: &TemporaryNamespace, variant: Variant) -> anyhow::Result<PodNetwork> {
    let nft: Box<dyn NftPort + Send> = if variant == Variant::Plain(Mode::Ipvs) {
        let rule = "-t nat -A POSTROUTING -s 10.244.1.0/24 ! -d 10.0.0.0/8 -j MASQUERADE";
        let inside = ["netns", "exec", node.name(), "iptables-legacy"].into_iter().chain(rule.split(' '));
        run("ip", &inside.collect::<Vec<_>>(), "")?;
        Box::new(FakeNft::new())
    } else {
        Box::new(node.run(Nftables::open)??)
    };
    let ports = Ports {
        links: Box::new(Links::in_namespace(node)?),
        namespaces: Box::new(Namespaces),
        settings: Box::new(Sysctls::in_namespace(Netns::open_path(node.path())?)),
        conntrack: Box::new(node.run(Conntrack::open)??),
        nft,
        store: Box::new(MemoryStore::default()),
    };
    let config = Config {
        range: "10.244.1.0/24".parse()?,
        non_masquerade: vec!["10.0.0.0/8".parse()?],
        uplink: LinkName::eth0(),
    };
    let network = PodNetwork::new(config, ports)?;
    network.setup_node()?;
    Ok(network)
}

fn set(namespace: &TemporaryNamespace, wanted: &[(&str, &str)]) -> anyhow::Result<()> {
    let wanted: Vec<_> = wanted.iter().map(|&(name, value)| (SysctlKey::new(name), value)).collect();
    apply(&Sysctls::in_namespace(Netns::open_path(namespace.path())?), &wanted)?;
    Ok(())
}

fn ip(namespace: &TemporaryNamespace, commands: &str) -> anyhow::Result<()> {
    run("ip", &["-n", namespace.name(), "-batch", "-"], commands)
}

fn run(program: &str, arguments: &[&str], input: &str) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| program.to_owned())?;
    // Dropped behind the statement, which is the end of its input.
    child.stdin.take().context("it has an input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?}: {complaint}");
    Ok(())
}
