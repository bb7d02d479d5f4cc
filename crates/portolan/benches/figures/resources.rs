//! What a proxy takes: memory after the start and after many changes, time of the processor, bytes to the kernel.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use load::{Figure, Fleet, Report, Target};
use proxy::Mode;

use crate::Sizes;
use crate::rig::{Churn, Cluster, Proxy, SERVED, START, Usage, Variant};

/// Changes a second.
const PACE: u32 = 250;
/// How long the last changes may take.
const DEADLINE: Duration = Duration::from_secs(300);

/// Measures every mode in one cluster.
pub fn measure(cluster: &mut Cluster, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let Fleet { services, endpoints } = cluster.fleet;
    for variant in Variant::of(&sizes.modes(&[Mode::Nftables, Mode::Iptables])) {
        let proxy = Proxy::start(cluster, 1, variant)?;
        proxy.wait_for(SERVED, START)?;
        let sent = |proxy: &Proxy| proxy.metric("portolan_proxy_kernel_bytes_total");
        let (before, sent_before) = (Usage::of(proxy.pid())?, sent(&proxy)?);
        let (heard_before, _) = heard(&proxy)?;
        let made = Churn::start(cluster, PACE, sizes.rounds(5_000)).finish()?;
        wait_until_written(&proxy, heard_before + f64::from(made))?;
        let (after, sent_after) = (Usage::of(proxy.pid())?, sent(&proxy)?);
        ensure!(sent_after > sent_before, "{variant}: {made} changes brought nothing to the kernel");
        eprintln!("  {variant}: {:.0} MB, then {:.0} MB", before.resident, after.resident);

        let mut push = |what: &str, value: f64, unit: &'static str, most: Option<f64>| {
            let figure = Figure::new(what, value, unit).mode(variant.to_string()).beside(services, endpoints);
            let promised = variant == Variant::Plain(Mode::Nftables);
            report.push(match most {
                Some(most) if promised => figure.target(Target::AtMost(most)),
                Some(_) | None => figure,
            });
        };
        // What is promised is for 10,000 x 10.
        let most = (services <= 10_000 && endpoints <= 10).then_some(80.0);
        let processor = (after.processor - before.processor).as_secs_f64();
        push("resident memory after the start", before.resident, "MB", None);
        push("the most until then", before.peak, "MB", None);
        push("resident memory after 5,000 changes", after.resident, "MB", most);
        push("the most until then, changes included", after.peak, "MB", None);
        push("processor time of the start", before.processor.as_secs_f64(), "s", None);
        push("processor time of 1,000 changes", processor * 1000.0 / f64::from(made), "s", None);
        push("bytes to the kernel for a change", (sent_after - sent_before) / f64::from(made), "B", None);
        proxy.kill()?;
        Proxy::cleanup(cluster, 1, variant)?;
    }
    Ok(())
}

/// How many changes of endpoints and Services the proxy has heard of, and how many of them are not written yet.
fn heard(proxy: &Proxy) -> Result<(f64, f64)> {
    let both = |which: &str| -> Result<f64> {
        let of = |kind| proxy.metric(&format!("kubeproxy_sync_proxy_rules_{kind}_changes_{which}"));
        Ok(of("endpoint")? + of("service")?)
    };
    Ok((both("total")?, both("pending")?))
}

/// Waits until the proxy has heard of so many changes and written them all.
fn wait_until_written(proxy: &Proxy, changes: f64) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let (total, pending) = heard(proxy)?;
        if total >= changes && pending == 0.0 {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{total} of {changes} changes were heard of, {pending} are not written"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
