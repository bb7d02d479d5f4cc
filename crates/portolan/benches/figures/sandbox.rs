//! How long a sandbox's network takes: CNI ADD and DEL on a node with real links, one by one and several at once.

use std::time::Instant;

use kernel::link::{Links, Namespaces};
use kernel::netns::TemporaryNamespace;
use kernel::nft::Nftables;
use kernel::sysctl::Sysctls;
use load::{Figure, Report, Samples, Target};
use netstate::link::{Link, LinkKind, LinkName};
use netstate::namespace::{LinkPort, NetworkState, Ownership, diff};
use podnet::{Config, MemoryStore, PodNetwork, PodnetError, Ports, SandboxId};

use crate::Sizes;

/// How many runtimes' calls are under way at once in the second half: a node that starts has many pods to connect.
const AT_ONCE: u32 = 4;
/// The node's range has no more addresses than these, its own and those that are nobody's.
const MOST_AT_ONCE: u32 = 240;

/// Runs it.
pub fn run(sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    let rounds = sizes.rounds(200);
    let node = TemporaryNamespace::new("bench-node")?;
    report.note(format!("{rounds} sandboxes"));
    node.run(|| {
        let network = network()?;
        one_after_another(&network, rounds, report)?;
        at_once(&network, rounds, report)
    })?
}

fn one_after_another(network: &PodNetwork, rounds: u32, report: &mut Report) -> anyhow::Result<()> {
    let (mut add, mut delete) = (Samples::default(), Samples::default());
    for round in 0..rounds {
        let pod = TemporaryNamespace::new("bench-pod")?;
        let sandbox = SandboxId::new(format!("sandbox-{round}"));
        let begin = Instant::now();
        network.add(&sandbox, &pod.namespace_path())?;
        add.push(begin.elapsed());
        let begin = Instant::now();
        network.delete(&sandbox)?;
        delete.push(begin.elapsed());
    }
    let rate = f64::from(rounds) * 1000.0 / (add.total() + delete.total());
    report.row("sandboxes made and taken away, one after another", rate, "/s", None);
    for (what, times, most) in [("ADD", &mut add, Some(5.0)), ("DEL", &mut delete, None)] {
        for (name, share, target) in [("p50", 0.5, most), ("p99", 0.99, None)] {
            let figure = Figure::new(format!("{what}, {name}"), times.percentile(share), "ms");
            report.push(figure.target(target.map(Target::AtMost)));
        }
    }
    Ok(())
}

/// The same from several threads: first all are added, then all deleted.
fn at_once(network: &PodNetwork, rounds: u32, report: &mut Report) -> anyhow::Result<()> {
    let each = rounds.div_ceil(AT_ONCE).min(MOST_AT_ONCE / AT_ONCE);
    let mut pods = Vec::new();
    for number in 0..each * AT_ONCE {
        let pod = TemporaryNamespace::new("bench-pod")?;
        pods.push((SandboxId::new(format!("sandbox-{number}")), pod));
    }
    let share = |act: &(dyn Fn(&SandboxId, &TemporaryNamespace) -> Result<(), PodnetError> + Sync)| {
        let begin = Instant::now();
        std::thread::scope(|scope| {
            let threads: Vec<_> = pods
                .chunks(each as usize)
                .map(|pods| scope.spawn(move || pods.iter().try_for_each(|(sandbox, pod)| act(sandbox, pod))))
                .collect();
            // A panic of a thread is this benchmark's.
            threads.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
        })?;
        Ok::<f64, PodnetError>(f64::from(each * AT_ONCE) / begin.elapsed().as_secs_f64())
    };
    let added = share(&|sandbox, pod| network.add(sandbox, &pod.namespace_path()).map(drop))?;
    let deleted = share(&|sandbox, _| network.delete(sandbox))?;
    report.row(format!("ADD, {AT_ONCE} at once"), added, "/s", None);
    report.row(format!("DEL, {AT_ONCE} at once"), deleted, "/s", None);
    Ok(())
}

/// The pod network of a node whose uplink leads nowhere.
fn network() -> anyhow::Result<PodNetwork> {
    let uplink = LinkName::constant("eth0");
    let links = Links::in_current()?;
    let mut wanted = NetworkState::default();
    wanted.insert_link(Link::new(uplink.clone(), LinkKind::Bridge));
    links.commit(&diff(&links.observe()?, &wanted, &Ownership::default()))?;
    let config =
        Config { range: "10.244.1.0/24".parse()?, non_masquerade: vec!["10.0.0.0/8".parse()?], uplink };
    let ports = Ports {
        links: Box::new(links),
        namespaces: Box::new(Namespaces),
        settings: Box::new(Sysctls::in_current()),
        conntrack: Box::new(kernel::conntrack::Conntrack::open()?),
        nft: Box::new(Nftables::open()?),
        store: Box::new(MemoryStore::default()),
    };
    let network = PodNetwork::new(config, ports)?;
    network.setup_node()?;
    Ok(network)
}
