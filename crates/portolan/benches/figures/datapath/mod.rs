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
mod elsewhere;
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
pub fn run(sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    let usual = [Mode::Nftables, Mode::Iptables, Mode::Ipvs, Mode::Userspace];
    for variant in Variant::of(&sizes.modes(&usual)) {
        let usual = Usual::of(variant);
        if let Some(stops) = usual.stops
            && sizes.services.is_empty()
            && !sizes.smoke
        {
            report.note(format!("{variant}: {stops}"));
        }
        let services = sizes.services(usual.services);
        if variant == Variant::Plain(Mode::Ipvs) && elsewhere::is_needed()? {
            eprintln!("  {variant}, in User-Mode Linux");
            elsewhere::run(sizes, &services, report)?;
            continue;
        }
        for endpoints in sizes.endpoints(&[2]) {
            let load = |&services| Load { services, endpoints };
            let loads: Vec<Load> = services.iter().map(load).collect();
            // There are many ways to ask, and each once is enough to see that it is answered.
            let rounds = if sizes.smoke { sizes.rounds.unwrap_or(1) } else { sizes.rounds(usual.rounds) };
            measure(variant, &loads, rounds, sizes.smoke, report)?;
        }
    }
    Ok(())
}

/// How a mode is measured.
struct Usual {
    services: &'static [u32],
    rounds: u32,
    /// Why not with more Services.
    stops: Option<&'static str>,
}

impl Usual {
    fn of(variant: Variant) -> Self {
        match variant {
            Variant::Plain(Mode::Nftables) => {
                Self { services: &[10, 1_000, 10_000, 50_000], rounds: 10, stops: None }
            }
            Variant::IptablesLegacy | Variant::IptablesNft | Variant::Plain(Mode::Iptables) => Self {
                services: &[10, 1_000, 10_000],
                rounds: 5,
                stops: Some("measured up to 10,000 Services: every new connection meets one rule for each."),
            },
            Variant::Plain(Mode::Userspace) => Self {
                services: &[10, 1_000, 10_000],
                rounds: 5,
                stops: Some(
                    "measured up to 10,000 Services: each of their ports takes a port of the node, of which there are \
                     65,535, and a descriptor.",
                ),
            },
            Variant::Plain(Mode::Ipvs) => Self { services: &[10, 1_000], rounds: 5, stops: None },
        }
    }
}

fn measure(
    variant: Variant,
    loads: &[Load],
    rounds: u32,
    smoke: bool,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut sites = Vec::new();
    for &load in loads {
        let begin = Instant::now();
        sites.push(Site::new(variant, load)?);
        let (Load { services, endpoints }, seconds) = (load, begin.elapsed().as_secs_f64());
        eprintln!("  {variant}, {services} x {endpoints} Services loaded in {seconds:.1} s");
    }
    let length = |usual, smallest| Duration::from_millis(if smoke { smallest } else { usual });
    let plan = Plan { rounds, busy: length(150, 5), alone: length(50, 2) };
    let before = cores::ticks();
    ways::measure(variant, &sites, plan, report)?;
    eprintln!("  {variant}, first packets");
    first::measure(variant, &sites, rounds * if smoke { 10 } else { 100 }, report)?;
    for site in &sites {
        let (services, segments) = (site.load.services, site.sent_again()?);
        if segments > 0 {
            report.note(format!(
                "{variant}, {services} Services: {segments} TCP segments had to be sent again."
            ));
        }
    }
    let (own, kernel) = cores::ticks();
    let (own, kernel) = (own - before.0, kernel - before.1);
    report.note(format!(
        "{variant}: both ends and all between share the processors; of the time they took {} % was this program's own, the \
         rest the kernel's.",
        100 * own / (own + kernel).max(1),
    ));
    Ok(())
}
