//! `portolan agent`: what runs on each node: pods, pod network, service proxy and names.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ::dns::{Name, PodNames, ResolverConfig, SharedZone, Zone, ZoneConfig};
use ::lab::cluster::{self, LabName, LabPaths, LabSpec, NodeSpec, ProxyMode, StateRoot};
use ::lab::pods;
use ::lab::topology::plan::OUTSIDE_ADDRESS;
use anyhow::{Context, Result};
use clap::Args;
use ipnet::IpNet;
use model::ServiceKey;
use proxy::ipvs::Config;
use proxy::{Dataplane, Mode, ModeChoice, NodeContext};
use runtime::{ProxyStatus, ProxyTask};
use tokio::sync::watch;

use crate::dataplane;
use crate::dns;
use crate::node_names::{self, Place};
use crate::process::{self, until_stopped};

/// The cluster's DNS domain.
const DOMAIN: &str = "cluster.local";
/// Where names are answered.
const DNS_PORT: u16 = 53;
/// Where the name server's status is served: CoreDNS's port for metrics.
const STATUS_PORT: u16 = 9153;

/// `portolan agent`.
#[derive(Args)]
pub struct Arguments {
    /// The lab.
    #[arg(long)]
    lab: LabName,
    /// The node, in whose network namespace this runs.
    #[arg(long)]
    node: String,
}

/// Runs until TERM or INT. Pods, links and rules stay.
pub fn run(arguments: &Arguments, state: &StateRoot) -> Result<ExitCode> {
    kernel::memory::give_back_soon();
    let spec = cluster::load(state, &arguments.lab)?;
    let node = spec
        .node(&arguments.node)
        .with_context(|| format!("the lab has no node '{}'", arguments.node))?
        .clone();
    let paths = state.lab(&arguments.lab);
    let images = state.images();
    process::serve(|stopped| async move {
        let config = pods_config(&spec, &node, &paths, images)?;
        let client = cluster::client(&paths.node(&node.name).kubeconfig(), "portolan-agent").await?;
        let dataplane = open_dataplane(&spec, &node)?;
        kernel::process::announce_ready()?;
        let pods = pods::run(config, client.clone(), until_stopped(stopped.clone()));
        let proxy = run_proxy(dataplane, client.clone(), stopped.clone());
        let place = Place {
            address: spec.cluster_dns(),
            node: node.address,
            service: ServiceKey::new("kube-system", "kube-dns"),
        };
        node_names::claim(&place)?;
        let names = names_config(&spec, &node)?;
        let here = node_names::keep(place, names.zone.clone(), stopped.clone());
        let names = dns::serve(names, client, stopped);
        tokio::try_join!(pods, proxy, names, here)?;
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn pods_config(
    spec: &LabSpec,
    node: &NodeSpec,
    paths: &LabPaths,
    image_store: std::path::PathBuf,
) -> Result<pods::Config> {
    Ok(pods::Config {
        node: node.name.clone(),
        address: node.address,
        directory: paths.node(&node.name).root().to_owned(),
        image_store,
        program: std::env::current_exe().context("cannot find our own program")?,
        lab: spec.name.to_string(),
        non_masquerade: spec.non_masquerade(),
        dns_server: IpAddr::V4(spec.cluster_dns()),
        dns_domain: DOMAIN.to_owned(),
        withdrawal_delay: pods::Config::WITHDRAWAL_DELAY,
        kubelet_port: pods::Config::KUBELET_PORT,
        lease_duration: Duration::from_secs(spec.node_grace.into()),
        server: cluster::node_server_files(paths, &node.name),
        labels: std::collections::BTreeMap::new(),
    })
}

/// The node answers the cluster's names at its own address, where the other nodes find it, and at the cluster's DNS
/// address, where its pods ask; others it has from the machine outside, which stands
/// for the rest of the world: a lab has no way to it.
fn names_config(spec: &LabSpec, node: &NodeSpec) -> Result<dns::Config> {
    Ok(dns::Config {
        zone: SharedZone::new(Zone::new(ZoneConfig {
            pods: PodNames::Insecure,
            own_addresses: vec![IpNet::V4(spec.service_cidr), IpNet::V4(spec.pod_cidr)],
            name_servers: vec![IpAddr::V4(spec.cluster_dns())],
            ..ZoneConfig::new(Name::parse(DOMAIN)?)
        })),
        resolver: ResolverConfig::new(vec![SocketAddr::new(IpAddr::V4(OUTSIDE_ADDRESS), DNS_PORT)]),
        listen: [node.address, spec.cluster_dns()].map(|own| SocketAddr::new(own.into(), DNS_PORT)).into(),
        status: Some(SocketAddr::new(IpAddr::V4(node.address), STATUS_PORT)),
        log: None,
    })
}

/// Before the agent says that it is ready: `lab up` then tells why a mode cannot be had.
fn open_dataplane(spec: &LabSpec, node: &NodeSpec) -> Result<Option<(NodeContext, Box<dyn Dataplane>)>> {
    let wanted = match node.proxy_mode {
        ProxyMode::None => return Ok(None),
        ProxyMode::Auto => ModeChoice::Auto,
        ProxyMode::Nftables => ModeChoice::This(Mode::Nftables),
        ProxyMode::Iptables => ModeChoice::This(Mode::Iptables),
        ProxyMode::Ipvs => ModeChoice::This(Mode::Ipvs),
        ProxyMode::Userspace => ModeChoice::This(Mode::Userspace),
    };
    let context = NodeContext::new(node.name.as_str().into(), vec![IpNet::V4(spec.pod_cidr)]);
    let dataplane = dataplane::open(wanted, &context, &Config::default())?.dataplane;
    Ok(Some((context, dataplane)))
}

async fn run_proxy(
    dataplane: Option<(NodeContext, Box<dyn Dataplane>)>,
    client: kube::Client,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let Some((context, dataplane)) = dataplane else {
        until_stopped(stopped).await;
        return Ok(());
    };
    let status = Arc::new(ProxyStatus::default());
    let task = ProxyTask { client, context, dataplane, status, once_served: None };
    runtime::run_proxy(task, until_stopped(stopped)).await?;
    Ok(())
}
