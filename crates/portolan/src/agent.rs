//! `portolan agent`: what runs on each node: pods, pod network and service proxy.

use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;

use ::lab::cluster::{self, LabName, LabPaths, LabSpec, NodeSpec, ProxyMode, StateRoot};
use ::lab::pods;
use anyhow::{Context, Result};
use clap::Args;
use ipnet::IpNet;
use kernel::conntrack::Conntrack;
use kernel::nft::Nftables;
use model::NodeName;
use proxy::NodeContext;
use proxy::nftables::NftablesProxy;
use runtime::ProxyStatus;
use tokio::sync::watch;

use crate::process::{self, until_stopped};

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
    let spec = cluster::load(state, &arguments.lab)?;
    let node = spec
        .node(&arguments.node)
        .with_context(|| format!("the lab has no node '{}'", arguments.node))?
        .clone();
    let paths = state.lab(&arguments.lab);
    let images = state.images();
    process::serve(|stopped| async move {
        let config = pods_config(&spec, &node, &paths, images)?;
        let client = cluster::client(&paths.node(&node.name).kubeconfig()).await?;
        kernel::process::announce_ready()?;
        let pods = pods::run(config, client.clone(), until_stopped(stopped.clone()));
        let proxy = run_proxy(&spec, &node, client, stopped);
        tokio::try_join!(pods, proxy)?;
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
        dns_domain: "cluster.local".to_owned(),
        withdrawal_delay: pods::Config::WITHDRAWAL_DELAY,
        kubelet_port: pods::Config::KUBELET_PORT,
        server: cluster::node_server_files(paths, &node.name),
        labels: std::collections::BTreeMap::new(),
    })
}

async fn run_proxy(
    spec: &LabSpec,
    node: &NodeSpec,
    client: kube::Client,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    match node.proxy_mode {
        ProxyMode::None => {
            until_stopped(stopped).await;
            Ok(())
        }
        ProxyMode::Nftables => {
            let context = NodeContext {
                node: NodeName::from(node.name.as_str()),
                pod_range: Some(IpNet::V4(spec.pod_cidr)),
            };
            let dataplane = NftablesProxy::new(context.clone(), Nftables::open()?, Conntrack::open()?);
            let status = Arc::new(ProxyStatus::default());
            runtime::run_proxy(client, context.node, dataplane, status, until_stopped(stopped)).await?;
            Ok(())
        }
    }
}
