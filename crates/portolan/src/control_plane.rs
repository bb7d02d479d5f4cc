//! `portolan control-plane`: the API server and the controllers of a lab.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use ::lab::cluster::{self, API_PORT, LabName, LabPaths, LabSpec, StateRoot};
use anyhow::{Context, Result};
use apiserver::kinds::AllocationConfig;
use apiserver::pki::Pki;
use apiserver::store::StoreConfig;
use clap::Args;
use ipnet::IpNet;
use tokio::sync::watch;

use crate::process::{self, until_stopped};

/// `portolan control-plane`.
#[derive(Args)]
pub struct Arguments {
    /// The lab.
    #[arg(long)]
    lab: LabName,
    /// Run the API server alone: who measures it, or its clients, wants nobody else at work.
    #[arg(long, hide = true)]
    without_controllers: bool,
}

/// Runs until TERM or INT.
pub fn run(arguments: &Arguments, state: &StateRoot) -> Result<ExitCode> {
    let spec = cluster::load(state, &arguments.lab)?;
    let paths = state.lab(&arguments.lab);
    // kubectl's port is opened here, on the machine itself, before we move to the lab's network for good.
    let kubectl = listen(Ipv4Addr::LOCALHOST, spec.api_port)?;
    let home = spec.namespace("control-plane").context("every lab has a control plane")?;
    kernel::netns::open(&home)?.enter()?;
    let nodes = listen(spec.control_plane, API_PORT)?;
    let listeners = vec![kubectl, nodes];
    process::serve(|stopped| serve(spec, paths, listeners, !arguments.without_controllers, stopped))?;
    Ok(ExitCode::SUCCESS)
}

fn listen(address: Ipv4Addr, port: u16) -> Result<TcpListener> {
    TcpListener::bind((address, port)).with_context(|| format!("cannot listen on {address}:{port}"))
}

async fn serve(
    spec: LabSpec,
    paths: LabPaths,
    listeners: Vec<TcpListener>,
    with_controllers: bool,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let pki = Pki::open(paths.pki())?;
    let config = apiserver::Config {
        store: StoreConfig::new(paths.control_plane().store()),
        credentials: cluster::api_server(&spec, &pki)?,
        authority: pki.authority().to_owned(),
        node_client: cluster::node_client(&pki)?,
        limits: apiserver::Limits::default(),
        audit: spec.audit_log.as_ref().map(cluster::AuditLogSpec::config),
        token_key: pki.token_key()?,
        allocation: AllocationConfig {
            service_ranges: vec![IpNet::V4(spec.service_cidr)],
            reserved: vec![IpNet::V4(spec.node_cidr), IpNet::V4(spec.pod_cidr)],
            node_ports: 30000..=32767,
        },
    };
    let mut server = tokio::spawn(apiserver::serve(config, listeners, until_stopped(stopped.clone())));
    let client = cluster::client(&paths.control_plane().kubeconfig(), "portolan-controllers").await?;
    tokio::select! {
        // What keeps it from starting is worth more than that it does not answer.
        ended = &mut server => return Ok(ended.context("the API server died")??),
        serving = cluster::wait_until_serving(&client) => serving?,
    }
    kernel::process::announce_ready()?;
    tracing::info!(lab = %spec.name, api = %spec.control_plane, "serving");
    if !with_controllers {
        return Ok(server.await.context("the API server died")??);
    }
    let config = controllers::Config {
        pod_cidr: IpNet::V4(spec.pod_cidr),
        node_prefix_length: spec.network().node_prefix_length(),
        service_cidr: IpNet::V4(spec.service_cidr),
        advertise: SocketAddr::new(IpAddr::V4(spec.control_plane), API_PORT),
        cluster_dns: Some(IpAddr::V4(spec.cluster_dns())),
        root_ca: Some(pki.authority().to_owned()),
        nodes: controllers::NodeTimes {
            grace: Duration::from_secs(spec.node_grace.into()),
            ..controllers::NodeTimes::default()
        },
    };
    let controllers = controllers::run(client.clone(), config, until_stopped(stopped.clone()));
    let routes = cluster::keep_routes(client, spec.name.clone(), until_stopped(stopped));
    tokio::select! {
        ended = server => ended.context("the API server died")?.context("the API server ended")?,
        ended = async { tokio::try_join!(async { Ok(controllers.await?) }, routes) } => { ended?; }
    }
    Ok(())
}
