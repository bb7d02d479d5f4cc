//! How long a sandbox's network takes: CNI ADD and DEL on a node with real links, 200 times.
//!
//! `cargo bench -p portolan`; needs root. Prints percentiles beside the target.

#![expect(clippy::print_stdout, reason = "its output is what a benchmark is for")]

use std::time::{Duration, Instant};

use kernel::link::{Links, Namespaces};
use kernel::netns::TemporaryNamespace;
use kernel::nft::Nftables;
use kernel::sysctl::Sysctls;
use netstate::link::{Link, LinkKind, LinkName};
use netstate::namespace::{LinkPort, NetworkState, Ownership, diff};
use podnet::{Config, MemoryStore, PodNetwork, Ports, SandboxId};

const ROUNDS: usize = 200;

fn main() {
    let node = TemporaryNamespace::new("bench-node").expect("a network namespace; run as root");
    let (add, delete) = node.run(measure).expect("enter the namespace");
    println!("{:<72} {:>8} {:>8}", "pod network, 200 sandboxes", "ms", "target");
    for (what, mut times, target) in [("ADD", add, "5.0"), ("DEL", delete, "")] {
        times.sort();
        for (name, index) in [("p50", ROUNDS / 2), ("p99", ROUNDS * 99 / 100)] {
            println!(
                "{:<72} {:>8.2} {target:>8}",
                format!("{what}, {name}"),
                times[index].as_secs_f64() * 1000.0
            );
        }
    }
}

fn measure() -> (Vec<Duration>, Vec<Duration>) {
    let uplink = LinkName::constant("eth0");
    let links = Links::in_current().expect("netlink");
    let mut wanted = NetworkState::default();
    wanted.insert_link(Link::new(uplink.clone(), LinkKind::Bridge));
    links.commit(&diff(&links.observe().expect("links"), &wanted, &Ownership::default())).expect("an uplink");
    let config = Config {
        range: "10.244.1.0/24".parse().expect("a range"),
        non_masquerade: vec!["10.0.0.0/8".parse().expect("a range")],
        uplink,
    };
    let ports = Ports {
        links: Box::new(links),
        namespaces: Box::new(Namespaces),
        settings: Box::new(Sysctls::in_current()),
        conntrack: Box::new(kernel::conntrack::Conntrack::open().expect("connection tracking")),
        nft: Box::new(Nftables::open().expect("nftables")),
        store: Box::new(MemoryStore::default()),
    };
    let network = PodNetwork::new(config, ports).expect("a pod network");
    network.setup_node().expect("a node");
    let (mut add, mut delete) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let pod = TemporaryNamespace::new("bench-pod").expect("a namespace");
        let sandbox = SandboxId::new(format!("sandbox-{round}"));
        let begin = Instant::now();
        network.add(&sandbox, &pod.namespace_path()).expect("ADD");
        add.push(begin.elapsed());
        let begin = Instant::now();
        network.delete(&sandbox).expect("DEL");
        delete.push(begin.elapsed());
    }
    (add, delete)
}
