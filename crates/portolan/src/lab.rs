//! `portolan lab`: make, look at and remove clusters on this machine.

use std::path::PathBuf;
use std::process::ExitCode;

use ::lab::cluster::{self, AuditLogSpec, LabName, LabRequest, Place, ProxyModeChoice, StateRoot};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use ipnet::Ipv4Net;

use crate::output::{self, Format};
use crate::process;

/// `portolan lab …`.
#[derive(Subcommand)]
pub enum Command {
    /// Make a cluster, or heal one that is there.
    Up(Up),
    /// Remove a cluster and all that belongs to it.
    Down(Named),
    /// Which clusters there are.
    List(Shown),
    /// How the parts of a cluster are.
    Status(NamedShown),
    /// Run a command on a node, in a pod, on the router, or outside.
    Exec(Exec),
    /// Print the path of the administrator's kubeconfig.
    Kubeconfig(Named),
}

/// Which lab.
#[derive(Args)]
pub struct Named {
    /// The lab's name.
    #[arg(long, default_value = "default")]
    name: LabName,
}

/// In what form.
#[derive(Args)]
pub struct Shown {
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Which lab, in what form.
#[derive(Args)]
pub struct NamedShown {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    shown: Shown,
}

/// `portolan lab up`.
#[derive(Args)]
pub struct Up {
    #[command(flatten)]
    named: Named,
    /// How many nodes [default: 3].
    #[arg(long)]
    nodes: Option<usize>,
    /// How Services are proxied: nftables, iptables, ipvs, userspace, auto (the best that works here) or none; NODE=MODE sets one node's. Can be given several times.
    #[arg(long, value_name = "[NODE=]MODE")]
    proxy_mode: Vec<ProxyModeChoice>,
    /// The network that joins the nodes [default: 10.100.0.0/24].
    #[arg(long)]
    node_cidr: Option<Ipv4Net>,
    /// Where pods get their addresses from [default: 10.244.0.0/16].
    #[arg(long)]
    pod_cidr: Option<Ipv4Net>,
    /// Where Services get their addresses from [default: 10.96.0.0/12].
    #[arg(long)]
    service_cidr: Option<Ipv4Net>,
    /// The API server's port on 127.0.0.1 [default: the first free one from 6443].
    #[arg(long)]
    api_port: Option<u16>,
    /// Seconds for which a node may be silent until it counts as lost [default: 40].
    #[arg(long, value_name = "SECONDS")]
    node_monitor_grace_period: Option<u32>,
    /// A file for a line about each change that somebody asks the API server for (audit.k8s.io/v1).
    #[arg(long, value_name = "FILE")]
    audit_log_path: Option<PathBuf>,
    /// Megabytes after which that file is put aside for a new one.
    #[arg(long, value_name = "MEGABYTES", requires = "audit_log_path", default_value_t = AuditLogSpec::MAX_SIZE)]
    audit_log_maxsize: u32,
    /// How many of the files that were put aside are kept, 0 for all.
    #[arg(long, value_name = "FILES", requires = "audit_log_path", default_value_t = AuditLogSpec::MAX_BACKUPS)]
    audit_log_maxbackup: u32,
}

/// `portolan lab exec`.
#[derive(Args)]
pub struct Exec {
    #[command(flatten)]
    named: Named,
    /// nodeN, router, outside, control-plane, or pod/[NAMESPACE/]NAME.
    place: Place,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Runs one of them.
pub fn run(command: Command, state: &StateRoot) -> Result<ExitCode> {
    match command {
        Command::Up(up) => process::block_on(cluster::up(state, &request(up)?))?,
        Command::Down(named) => cluster::down(state, &named.name)?,
        Command::List(shown) => {
            let labs = cluster::list(state)?;
            let rows = labs.iter().map(|lab| {
                vec![lab.name.to_string(), lab.nodes.to_string(), lab.state.to_string(), lab.api.clone()]
            });
            output::print(shown.output, &labs, &["NAME", "NODES", "STATE", "API"], rows)?;
        }
        Command::Status(arguments) => {
            let status = process::block_on(cluster::status(state, &arguments.named.name))?;
            let rows = status.parts.iter().map(|part| {
                let pid = part.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
                vec![
                    part.name.clone(),
                    part.address.to_string(),
                    part.state.clone(),
                    pid,
                    part.detail.clone(),
                ]
            });
            output::print(
                arguments.shown.output,
                &status,
                &["PART", "ADDRESS", "STATE", "PID", "DETAIL"],
                rows,
            )?;
        }
        Command::Exec(exec) => return cluster::exec(state, &exec.named.name, &exec.place, &exec.command),
        Command::Kubeconfig(named) => {
            output::line(&cluster::kubeconfig(state, &named.name)?.display().to_string())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn request(up: Up) -> Result<LabRequest> {
    let audit_log = match up.audit_log_path {
        // The lab is looked after by processes that work elsewhere.
        Some(path) => Some(AuditLogSpec {
            path: std::path::absolute(&path)
                .with_context(|| format!("--audit-log-path {} is no path", path.display()))?,
            max_size: up.audit_log_maxsize,
            max_backups: up.audit_log_maxbackup,
        }),
        None => None,
    };
    Ok(LabRequest {
        name: up.named.name,
        nodes: up.nodes,
        proxy_modes: up.proxy_mode,
        node_cidr: up.node_cidr,
        pod_cidr: up.pod_cidr,
        service_cidr: up.service_cidr,
        api_port: up.api_port,
        node_grace: up.node_monitor_grace_period,
        audit_log,
    })
}
