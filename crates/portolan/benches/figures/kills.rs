//! Kills at chance moments of a cold start: whoever starts next leaves exactly what a start without accidents does.

use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use load::{Fleet, Report};
use proxy::Mode;

use crate::Sizes;
use crate::rig::{Cluster, Dice, Everything, Proxy, Ruleset, Variant};

/// Runs it.
pub fn run(sizes: &Sizes, report: &mut Report) -> Result<()> {
    let usual: (&[u32], &[u32]) = if sizes.smoke { (&[200], &[2]) } else { (&[10_000], &[10]) };
    let pick = |asked: &[u32], usual: &[u32]| asked.first().or(usual.first()).copied().unwrap_or(1);
    let fleet =
        Fleet { services: pick(&sizes.services, usual.0), endpoints: pick(&sizes.endpoints, usual.1) };
    let kills = sizes.rounds(10);
    let seed = SystemTime::UNIX_EPOCH.elapsed()?.subsec_nanos();
    let mut dice = Dice::new(seed.into());
    let variants = Variant::of(&sizes.modes(&[Mode::Nftables]));
    let cluster = Cluster::start(fleet, kills as usize + 1)?;
    for variant in variants {
        let (wanted, whole) = clean(&cluster, variant)?;
        for (kill, node) in (0..kills).zip(2..) {
            // Spread over the whole of a start, and by chance within its part.
            let moment = whole.mul_f64((f64::from(kill) + dice.share()) / f64::from(kills));
            let home = cluster.node(node)?;
            let victim = Proxy::start(&cluster, node, variant)?;
            std::thread::sleep(moment.saturating_sub(victim.started.elapsed()));
            victim.kill()?;
            let ruleset = Ruleset::new(&home, variant);
            let left = ruleset.doors()?.services;
            let proxy = Proxy::start(&cluster, node, variant)?;
            proxy.wait_until_served()?;
            proxy.kill()?;
            ensure!(
                ruleset.everything()? == wanted,
                "{variant}, killed after {moment:?} (seed {seed}): a start afterwards leaves other rules than a clean one"
            );
            eprintln!(
                "  {variant}: killed after {moment:.1?} with {left} doors in the kernel; the next start mended all"
            );
            Proxy::cleanup(&cluster, node, variant)?;
        }
        Proxy::cleanup(&cluster, 1, variant)?;
        let figure =
            load::Figure::new("kills after which a start made all as it should be", kills.into(), "");
        report.push(figure.mode(variant.to_string()).beside(fleet.services, fleet.endpoints));
    }
    report.note(format!("a mismatch fails the run; seed {seed}"));
    Ok(())
}

/// What a start without accidents leaves, and how long it takes.
fn clean(cluster: &Cluster, variant: Variant) -> Result<(Everything, Duration)> {
    let home = cluster.node(1)?;
    let proxy = Proxy::start(cluster, 1, variant)?;
    let took = proxy.wait_until_served()? - proxy.started;
    proxy.kill()?;
    let ruleset = Ruleset::new(&home, variant);
    ruleset.ensure_whole(cluster.fleet)?;
    Ok((ruleset.everything()?, took))
}
