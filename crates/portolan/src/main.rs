//! `portolan`: the whole network of a Kubernetes cluster in one binary.
//!
//! This file parses the command line and hands over; each subcommand has a file of its own.
//!
//! Exit codes: 0 done, 1 failed (the reason is on standard error), 2 the command line was not understood;
//! `lab exec` ends with the code of the command it ran.

mod agent;
mod cleanup;
mod control_plane;
mod dataplane;
mod dns;
mod image;
mod lab;
mod leftovers;
mod node_names;
mod output;
mod pause;
mod process;
mod proxy;

use std::path::PathBuf;
use std::process::ExitCode;

use ::lab::cluster::StateRoot;
use clap::{Parser, Subcommand};

/// JSON values are trees of small allocations: with the system's allocator a third of the API server's time went into
/// them (`docs/performance.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The whole network of a Kubernetes cluster in one binary.
#[derive(Parser)]
#[command(name = "portolan", version, propagate_version = true)]
struct Arguments {
    /// Where labs and images are kept.
    #[arg(long, global = true, env = "PORTOLAN_STATE_DIR", default_value = StateRoot::DEFAULT)]
    state_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make, look at and remove clusters on this machine.
    #[command(subcommand)]
    Lab(lab::Command),
    /// Bring container images into the local store.
    #[command(subcommand)]
    Image(image::Command),
    /// Run the agent of one node (started by `lab up`).
    Agent(agent::Arguments),
    /// Run the API server and the controllers of a lab (started by `lab up`).
    ControlPlane(control_plane::Arguments),
    /// Serve a cluster's Services on this node, in kube-proxy's place.
    Proxy(Box<proxy::Arguments>),
    /// Take away what a service proxy left on this node.
    Cleanup(cleanup::Arguments),
    /// Answer the names of a cluster.
    Dns(dns::Arguments),
    /// Hold a pod's namespaces open (started by the agent).
    #[command(hide = true)]
    Pause(pause::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let state = StateRoot::new(arguments.state_dir);
    let result = match arguments.command {
        Command::Lab(command) => lab::run(command, &state),
        Command::Image(command) => image::run(command, &state),
        Command::Agent(arguments) => agent::run(&arguments, &state),
        Command::ControlPlane(arguments) => control_plane::run(&arguments, &state),
        Command::Proxy(arguments) => proxy::run(&arguments),
        Command::Cleanup(arguments) => cleanup::run(&arguments),
        Command::Dns(arguments) => dns::run(arguments),
        Command::Pause(arguments) => pause::run(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("portolan: {error:#}");
        ExitCode::FAILURE
    })
}
