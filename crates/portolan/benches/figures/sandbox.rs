//! How long a sandbox's network takes: CNI ADD and DEL on a node with real links.

use std::time::Instant;

use kernel::link::{Links, Namespaces};
use kernel::netns::TemporaryNamespace;
use kernel::nft::Nftables;
use kernel::sysctl::Sysctls;
use load::{Figure, Report, Samples, Target};
use netstate::link::{Link, LinkKind, LinkName};
use netstate::namespace::{LinkPort, NetworkState, Ownership, diff};
use podnet::{Config, MemoryStore, PodNetwork, Ports, SandboxId};

use crate::Sizes;

/// Runs it.
pub fn run(sizes: &Sizes) -> anyhow::Result<Report> {
    let rounds = sizes.rounds(200);
    let node = TemporaryNamespace::new("bench-node")?;
    let (mut add, mut delete) = node.run(|| measure(rounds))?;
    let mut report = Report::new("sandbox", format!("pod network, {rounds} sandboxes"));
    let rate = f64::from(rounds) * 1000.0 / (add.total() + delete.total());
    report.row("sandboxes made and taken away, one after another", rate, "/s", None);
    for (what, times, target) in [("ADD", &mut add, Some(5.0)), ("DEL", &mut delete, None)] {
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let figure = Figure::new(format!("{what}, {name}"), times.percentile(share), "ms");
            report.push(target.map_or(figure.clone(), |most| figure.target(Target::AtMost(most))));
        }
    }
    Ok(report)
}

fn measure(rounds: u32) -> (Samples, Samples) {
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
    let (mut add, mut delete) = (Samples::default(), Samples::default());
    for round in 0..rounds {
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
