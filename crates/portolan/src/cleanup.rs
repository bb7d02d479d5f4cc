//! `portolan cleanup`: takes away what a service proxy left on this node.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::leftovers::{self, Outcome, Whose};
use crate::output::{self, Format};

/// `portolan cleanup`.
#[derive(Args)]
pub struct Arguments {
    /// Also what a kube-proxy left: its chains in iptables, its tables in nftables, kube-ipvs0 and its sets.
    #[arg(long)]
    kube_proxy: bool,
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Removes what is there, and says what it was; what is not there is no mistake.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let whose = if arguments.kube_proxy { Whose::Everybodys } else { Whose::Ours(None) };
    finish(&leftovers::remove(whose), arguments.output)
}

/// Prints what is gone and what is not.
pub fn finish(outcome: &Outcome, format: Format) -> Result<ExitCode> {
    let rows = outcome.removed.iter().map(|removed| vec![removed.mode.to_owned(), removed.what.clone()]);
    output::print(format, &outcome.removed, &["MODE", "REMOVED"], rows)?;
    for failure in &outcome.failures {
        eprintln!("portolan: not removed: {failure:#}");
    }
    Ok(if outcome.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
