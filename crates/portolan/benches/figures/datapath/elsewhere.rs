//! The ipvs mode where this machine's kernel lacks it: the same benchmark again, under User-Mode Linux.
//!
//! Times there say nothing of a real machine, so only shares of what the way straight to the endpoints takes are handed
//! out.

use anyhow::{Context as _, ensure};
use kernel::ipvs::Ipvs;
use kernel::netns::TemporaryNamespace;
use load::{Figure, Report};
use proxy::Mode;
use uml::Machine;

use crate::Sizes;

/// As in [`Machine::SMALL`], with the time for several sizes.
const MACHINE: Machine = Machine { memory: "2G", seconds: 900 };
/// Whether this kernel lacks IPVS.
pub fn is_needed() -> anyhow::Result<bool> {
    let namespace = TemporaryNamespace::new("bench-ipvs")?;
    Ok(namespace.run(Ipvs::open)?.is_err())
}

/// Runs there what was asked for, and takes its shares.
pub fn run(sizes: &Sizes, services: &[u32], report: &mut Report) -> anyhow::Result<()> {
    let own = std::env::current_exe()?;
    let there = uml::run(MACHINE, &own, &arguments(sizes, services));
    let complaint = String::from_utf8_lossy(&there.stderr);
    ensure!(there.status.success(), "ipvs inside User-Mode Linux, {}:\n{complaint}", there.status);
    let found: Report = serde_json::from_slice(&there.stdout).context("its report")?;
    found.figures.into_iter().filter_map(share).for_each(|figure| report.push(figure));
    found.notes.into_iter().for_each(|note| report.note(format!("inside User-Mode Linux, {note}")));
    report.note("ipvs: measured inside User-Mode Linux, of which only shares of straight say anything of other machines.");
    Ok(())
}

fn arguments(sizes: &Sizes, services: &[u32]) -> Vec<String> {
    let list = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let mut words = vec!["datapath".to_owned(), "--json".to_owned()];
    words.push(if sizes.smoke { "--smoke" } else { "--bench" }.to_owned());
    words.extend(["--modes".to_owned(), Mode::Ipvs.to_string(), "--services".to_owned(), list(services)]);
    if !sizes.endpoints.is_empty() {
        words.extend(["--endpoints".to_owned(), list(&sizes.endpoints)]);
    }
    words.extend(sizes.rounds.iter().flat_map(|rounds| ["--rounds".to_owned(), rounds.to_string()]));
    words
}

/// A share as it is, and of a usual time its share. The clock there is too coarse for more.
fn share(figure: Figure) -> Option<Figure> {
    match figure.limit {
        _ if figure.unit.is_empty() => Some(figure),
        Some(limit) if figure.what.ends_with("p50") && limit > 0.0 => Some(Figure {
            what: format!("{}, of straight", figure.what),
            value: figure.value / limit,
            unit: "".into(),
            limit: None,
            ..figure
        }),
        _ => None,
    }
}
