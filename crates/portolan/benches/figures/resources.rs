//! What a proxy takes: memory after the start and after many changes, time of the processor, bytes to the kernel.

use std::time::Duration;

use anyhow::{Result, ensure};
use load::Target;
use proxy::Mode;

use crate::rig::{Churn, Proxy, Scene, Usage, Variant};

/// Changes a second.
const PACE: u32 = 250;
/// How long the last changes may take.
const DEADLINE: Duration = Duration::from_secs(300);

/// Measures every mode in one cluster.
pub fn measure(scene: &mut Scene<'_>) -> Result<()> {
    scene.each(one)
}

fn one(scene: &mut Scene<'_>, variant: Variant) -> Result<()> {
    let cluster = scene.cluster;
    let proxy = Proxy::start(cluster, 1, variant)?;
    proxy.wait_until_served()?;
    let sent = |proxy: &Proxy| proxy.metric("portolan_proxy_kernel_bytes_total");
    let (before, sent_before) = (Usage::of(proxy.pid())?, sent(&proxy)?);
    let (heard, _) = proxy.heard()?;
    // What is promised is promised after 5,000; the other modes take much longer for each.
    let promised = variant == Variant::Plain(Mode::Nftables);
    let changes = scene.sizes.rounds(if promised { 5_000 } else { 1_000 });
    let made = Churn::start(cluster, PACE, changes).finish()?;
    proxy.wait_until_written(heard + f64::from(made), DEADLINE)?;
    let (after, sent_after) = (Usage::of(proxy.pid())?, sent(&proxy)?);
    eprintln!("  {variant}: {:.0} MB, then {:.0} MB", before.resident, after.resident);
    proxy.kill()?;

    ensure!(!promised || sent_after > sent_before, "{made} changes brought nothing to the kernel");
    // What is promised is for 10,000 x 10.
    let most =
        (promised && cluster.fleet.services <= 10_000 && cluster.fleet.endpoints <= 10).then_some(80.0);
    let processor = (after.processor - before.processor).as_secs_f64();
    let bytes = (sent_after - sent_before) / f64::from(made);
    for (what, value, unit, most) in [
        ("resident memory after the start", before.resident, "MB", None),
        ("the most until then", before.peak, "MB", None),
        (&format!("resident memory after {made} changes"), after.resident, "MB", most),
        ("the most until then, changes included", after.peak, "MB", None),
        ("processor time of the start", before.processor.as_secs_f64(), "s", None),
        ("processor time of 1,000 changes", processor * 1000.0 / f64::from(made), "s", None),
        ("bytes to the kernel for a change", bytes, "B", None),
    ] {
        let figure = scene.figure(variant, what, value, unit);
        scene.report.push(figure.target(most.map(Target::AtMost)));
    }
    Ok(())
}
