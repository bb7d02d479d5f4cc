//! From the start of the process until the kernel holds everything; and again with everything in it already.

use std::time::Duration;

use anyhow::{Result, ensure};
use kernel::netns::Netns;
use kernel::nft::Events;
use load::{Figure, Fleet, Report, Samples, Target};
use proxy::Mode;

use crate::Sizes;
use crate::rig::{Cluster, Proxy, Ruleset, SERVED, START, TABLE, Variant};

/// Measures every mode in one cluster.
pub fn measure(cluster: &mut Cluster, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let Fleet { services, endpoints } = cluster.fleet;
    let node = cluster.node(1)?;
    for variant in Variant::of(&sizes.modes(&[Mode::Nftables, Mode::Iptables])) {
        let ruleset = Ruleset::new(&node, variant);
        let (mut cold, mut again) = (Samples::default(), Samples::default());
        for _ in 0..sizes.rounds(3).min(5) {
            let proxy = Proxy::start(cluster, 1, variant)?;
            cold.push(proxy.wait_for(SERVED, START)? - proxy.started);
            ruleset.ensure_whole(cluster.fleet)?;
            proxy.kill()?;
            again.push(restart(cluster, &node, variant)?);
            ruleset.ensure_whole(cluster.fleet)?;
            Proxy::cleanup(cluster, 1, variant)?;
        }
        eprintln!("  {variant}: {:.0} ms, again {:.0} ms", cold.percentile(0.5), again.percentile(0.5));
        let figure = |what: &str, samples: &mut Samples| {
            let figure = Figure::new(what, samples.percentile(0.5), "ms");
            figure.mode(variant.to_string()).beside(services, endpoints)
        };
        let most = if services > 10_000 { 10_000.0 } else { 1_500.0 };
        let first = figure("cold start: process start to everything in the kernel", &mut cold);
        report.push(match variant {
            Variant::Plain(Mode::Nftables) => first.target(Target::AtMost(most)),
            _ => first,
        });
        report.push(figure("restart with everything in the kernel, no writes", &mut again));
    }
    Ok(())
}

/// Starts a proxy where one was, and makes sure that it writes nothing.
fn restart(cluster: &Cluster, node: &Netns, variant: Variant) -> Result<Duration> {
    let mut events = node.run(Events::open)??;
    let proxy = Proxy::start(cluster, 1, variant)?;
    let took = proxy.wait_for(SERVED, START)? - proxy.started;
    let mut written = 0;
    // All that was told by now waits to be read.
    while let Some(heard) = events.receive(Duration::ZERO)? {
        written += [TABLE, "portolan-userspace", "nat", "filter"]
            .map(|table| heard.changes_of(table))
            .iter()
            .sum::<usize>();
    }
    let sent = proxy.metric("portolan_proxy_kernel_changes_total")?;
    ensure!(
        written == 0 && sent == 0.0,
        "{variant}: a restart wrote {sent} changes, {written} events of them"
    );
    proxy.kill()?;
    Ok(took)
}
