//! From the start of the process until the kernel holds everything; and again with everything in it already.

use std::time::Duration;

use anyhow::{Result, ensure};
use kernel::nft::Events;
use load::{Samples, Target};
use proxy::Mode;

use crate::rig::{Cluster, Proxy, Ruleset, Scene, TABLE, USERSPACE, Variant};

/// Measures every mode in one cluster.
pub fn measure(scene: &mut Scene<'_>) -> Result<()> {
    scene.each(one)
}

fn one(scene: &mut Scene<'_>, variant: Variant) -> Result<()> {
    let cluster = scene.cluster;
    let node = cluster.node(1)?;
    let ruleset = Ruleset::new(&node, variant);
    let (mut cold, mut again) = (Samples::default(), Samples::default());
    let rounds = if scene.sizes.smoke { 1 } else { scene.sizes.rounds(3).min(5) };
    for _ in 0..rounds {
        Proxy::cleanup(cluster, 1, variant)?;
        let proxy = Proxy::start(cluster, 1, variant)?;
        cold.push(proxy.wait_until_served()? - proxy.started);
        ruleset.ensure_whole(cluster.fleet)?;
        proxy.kill()?;
        again.push(restart(cluster, variant)?);
        ruleset.ensure_whole(cluster.fleet)?;
    }
    eprintln!("  {variant}: {:.0} ms, again {:.0} ms", cold.percentile(0.5), again.percentile(0.5));
    let most = if cluster.fleet.services > 10_000 { 10_000.0 } else { 1_500.0 };
    let what = "cold start: process start to everything in the kernel";
    let first = scene.figure(variant, what, cold.percentile(0.5), "ms");
    let promised = variant == Variant::Plain(Mode::Nftables);
    scene.report.push(first.target(promised.then_some(Target::AtMost(most))));
    let what = "restart with everything in the kernel, no writes";
    scene.report.push(scene.figure(variant, what, again.percentile(0.5), "ms"));
    Ok(())
}

/// Starts a proxy where one was, and makes sure that it writes nothing.
fn restart(cluster: &Cluster, variant: Variant) -> Result<Duration> {
    let mut events = cluster.node(1)?.run(Events::open)??;
    let proxy = Proxy::start(cluster, 1, variant)?;
    let took = proxy.wait_until_served()? - proxy.started;
    let mut written = 0;
    // All that was told by now waits to be read.
    while let Some(heard) = events.receive(Duration::ZERO)? {
        written +=
            [TABLE, USERSPACE, "nat", "filter"].map(|table| heard.changes_of(table)).iter().sum::<usize>();
    }
    let sent = proxy.metric("portolan_proxy_kernel_changes_total")?;
    let relays = variant == Variant::Plain(Mode::Userspace);
    // Relays get ports of the kernel's choice, and rules lead there.
    ensure!(
        relays || written == 0 && sent == 0.0,
        "a restart wrote {sent} changes, {written} events of them"
    );
    proxy.kill()?;
    Ok(took)
}
