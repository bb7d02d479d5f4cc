//! The data path: what a Service costs, beside the same straight to its endpoints.
//!
//! Nodes with few and with many Services stand side by side, each with a pod network, a pod that serves, one that asks,
//! and a machine outside ([`site`]). Clients and endpoints are ours ([`asking`], [`answering`]): one thread each, on a
//! processor each, that do as little as possible besides. Every answer names the endpoint and is checked.
//!
//! - [`ways`]: requests a second and latencies, kept alive and a connection for each, TCP and UDP, from a pod, from the
//!   node and through a node port;
//! - [`first`]: what the first packet of a connection takes, by the position of the Service among all.
//!
//! No API server is needed: objects go into the index by hand.

mod answering;
mod asking;
mod cores;
mod first;
mod modes;
mod objects;
mod site;
mod ways;

use std::time::{Duration, Instant};

use load::Report;
use proxy::Mode;

use crate::Sizes;
use crate::rig::Variant;
use objects::Load;
use site::Site;
use ways::Plan;

/// Runs it in every mode.
pub fn run(sizes: &Sizes) -> anyhow::Result<Report> {
    let mut report = Report::new("datapath", "data path, through a Service and straight to its endpoints");
    let before = cores::ticks();
    for variant in Variant::of(&sizes.modes(&[Mode::Nftables])) {
        for endpoints in sizes.endpoints(&[2]) {
            measure(variant, endpoints, sizes, &mut report)?;
        }
    }
    let (own, kernel) = cores::ticks();
    let (own, kernel) = (own - before.0, kernel - before.1);
    report.note(format!(
        "Both ends and all between share the processors: of the time they took {} % was the program's own, the rest the \
         kernel's.",
        100 * own / (own + kernel).max(1),
    ));
    Ok(report)
}

fn measure(variant: Variant, endpoints: u32, sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    let mut sites = Vec::new();
    for services in sizes.services(&[10, 1_000, 10_000, 50_000]) {
        let begin = Instant::now();
        sites.push(Site::new(variant, Load { services, endpoints })?);
        eprintln!(
            "  {variant}, {services} x {endpoints} Services loaded in {:.1} s",
            begin.elapsed().as_secs_f64()
        );
    }
    let plan = Plan {
        rounds: sizes.rounds(10),
        busy: Duration::from_millis(if sizes.smoke { 5 } else { 150 }),
        alone: Duration::from_millis(if sizes.smoke { 2 } else { 50 }),
    };
    ways::measure(variant, &sites, plan, report)?;
    eprintln!("  {variant}, first packets");
    first::measure(variant, &sites, sizes.rounds(10) * 100, report)
}
