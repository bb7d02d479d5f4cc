//! `portolan pause`: holds a pod's namespaces open and does nothing else.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

/// `portolan pause`.
#[derive(Args)]
pub struct Arguments {
    /// The pod's host name.
    #[arg(long)]
    hostname: String,
}

/// Runs until TERM or INT.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    kernel::process::run_pause(&arguments.hostname)?;
    Ok(ExitCode::SUCCESS)
}
