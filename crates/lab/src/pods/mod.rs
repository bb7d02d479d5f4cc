//! The pod agent: what kubelet does on a node, in the node's own network namespace.
//!
//! In: the node's Pods from the API server, images, container exits, probe results, time.
//! Out: sandboxes and containers, pod networks, Pod and Node status, Events, container logs over HTTPS.
//!
//! ```text
//! API ─watch─► agent ─► worker, one task a pod ──► plan::decide (pure) ─► actions ─► ports
//!                          ▲        │                                               │
//!                          │        └─► status::build (pure) ─► API                 │
//!                          └── exits, probe results, finished actions, timers ◄─────┘
//! ```
//!
//! What the agent knows of a pod is on disk (`record`), so that an agent killed at any point finds its
//! sandboxes and containers again and leaves the running ones alone.

pub mod adopt;
mod agent;
mod api;
pub mod back_off;
mod catalog;
mod config;
pub mod environment;
mod events;
pub mod facts;
mod files;
mod find;
mod host;
mod kubelet;
pub mod names;
mod node;
pub mod objects;
pub mod plan;
pub mod ports;
pub mod probe;
pub mod quantity;
mod readiness;
mod record;
mod services;
pub mod spec;
pub mod status;
mod tls;
mod volumes;
mod worker;

pub use config::{Config, ServerFiles};
pub use find::find_sandbox;
pub use tls::API_SERVER;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ipnet::Ipv4Net;
use kube::Client;
use podnet::PodNetwork;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{info, warn};

use self::agent::Agent;
use self::api::{KubeObjects, KubePods, Retry};
use self::catalog::Catalog;
use self::events::Recorder;
use self::facts::Sandbox;
use self::host::{
    HostNetwork, LiveSandbox, NetworkConfig, NetworkProber, PauseSandboxes, RuncContainers, StoreImages,
};
use self::node::{NodeConfig, NodeLink};
use self::ports::{Failure, Ports, SandboxId};
use self::record::{Record, Records};
use self::services::Services;
use self::spec::PodSpec;
use self::worker::Settings;
use crate::containers::cgroup::LabCgroup;
use crate::containers::{Runtime, RuntimeConfig};
use crate::images::Store;

/// Runs the agent of one node until `shutdown` resolves.
///
/// The caller's process has joined the node's network namespace and the lab's control group already. Pods,
/// containers and their networks stay when this returns: an agent that comes back adopts them.
///
/// # Errors
/// When the state directory cannot be used, or the kubelet port on the node's address is taken. An API
/// server that is away is no error: it is waited for.
pub async fn run(config: Config, client: Client, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let listen = (config.address, config.kubelet_port);
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {}:{}: does another agent run on this node?", listen.0, listen.1)
    })?;
    let acceptor = tls::server(&config.server)?;
    let records = Records::open(&config.directory)
        .with_context(|| format!("cannot use the state directory {}", config.directory.display()))?;
    let images = Store::open(&config.image_store)?;
    let runtime = Arc::new(Runtime::open(RuntimeConfig {
        directory: config.directory.join("containers"),
        images: images.clone(),
        cgroup: LabCgroup::new(&config.lab)?,
        node: config.node.clone(),
    })?);
    // Nobody hears any more what runs for the clients of an agent that was killed.
    runtime.end_sessions().await?;
    let catalog = Catalog::default();
    let (network_ready, node_ready) = watch::channel(false);
    let (range_known, range) = watch::channel(known_range(&config.directory));
    let node = NodeConfig {
        name: config.node.clone(),
        address: config.address,
        labels: config.labels.clone(),
        kubelet_port: config.kubelet_port,
        lease_duration: config.lease_duration,
    };
    let recorder = Recorder::start(client.clone(), config.node.clone());
    let link = NodeLink { network_ready: node_ready, pod_range: range_known };
    let node = node::keep(client.clone(), node, link, recorder.clone());
    let server =
        kubelet::Server { catalog: catalog.clone(), records: records.clone(), runtime: Arc::clone(&runtime) };
    let api = kubelet::serve(listener, acceptor, server);
    let api_of_pods = KubePods::new(client.clone(), recorder);
    let holdings = Holdings { images, runtime, records, catalog };
    let pods = keep_pods(&config, client, api_of_pods, holdings, range, network_ready);
    tokio::select! {
        () = node => Ok(()),
        () = api => Ok(()),
        result = pods => result,
        () = shutdown => Ok(()),
    }
}

/// What a node has on its disk.
struct Holdings {
    images: Store,
    runtime: Arc<Runtime>,
    records: Records,
    catalog: Catalog,
}

/// Sets the pod network up, takes up what was there, and follows the node's pods for ever.
async fn keep_pods(
    config: &Config,
    client: Client,
    api: KubePods,
    Holdings { images, runtime, records, catalog }: Holdings,
    mut range: watch::Receiver<Option<Ipv4Net>>,
    network_ready: watch::Sender<bool>,
) -> anyhow::Result<()> {
    // The sender lives in the task that runs beside this one.
    let found = range.wait_for(Option::is_some).await.map(|range| *range)?;
    let Some(pod_range) = found else { return Ok(()) };
    std::fs::write(config.directory.join(RANGE_FILE), pod_range.to_string())?;
    let network = set_up_network(config, pod_range).await;
    let sandboxes = PauseSandboxes::new(config.program.clone(), records.clone(), Arc::clone(&network));
    let written = records.load()?;
    reconcile(&sandboxes, &live_sandboxes(&written)).await;
    let ports = Ports {
        images: Arc::new(StoreImages::new(images.clone())),
        sandboxes: Arc::new(sandboxes),
        containers: Arc::new(RuncContainers::new(runtime, images)),
        prober: Arc::new(NetworkProber),
        api: Arc::new(api),
        objects: Arc::new(KubeObjects::new(client.clone())),
    };
    let settings = Settings {
        host: config.address,
        dns_server: config.dns_server,
        dns_domain: config.dns_domain.clone(),
        withdrawal_delay: config.withdrawal_delay,
        capacity: node::machine_capacity(),
        services: Services::default(),
    };
    let services = settings.services.clone();
    let mut agent = Agent::new(ports, settings, records, catalog);
    agent.resume(written).await;
    info!(node = config.node, range = %pod_range, "pod network ready");
    network_ready.send_replace(true);
    tokio::select! {
        () = services.follow(client.clone()) => {}
        () = agent.follow(client, &config.node) => {}
        () = warn_of_another_range(range, pod_range) => {}
        () = keep_rules(network) => {}
    }
    Ok(())
}

/// Where the node's range is kept, so that an agent that comes back needs no API server to go on.
const RANGE_FILE: &str = "pod-range";

fn known_range(directory: &Path) -> Option<Ipv4Net> {
    std::fs::read_to_string(directory.join(RANGE_FILE)).ok()?.trim().parse().ok()
}

async fn set_up_network(config: &Config, range: Ipv4Net) -> Arc<PodNetwork> {
    let wanted = NetworkConfig {
        range,
        non_masquerade: config.non_masquerade.clone(),
        addresses: config.directory.join("pod-addresses.json"),
    };
    let mut retry = Retry::default();
    loop {
        match HostNetwork::set_up(wanted.clone()) {
            Ok(network) => return network,
            Err(error) => {
                warn!(node = config.node, %error, "cannot set up the pod network yet");
                tokio::time::sleep(retry.next().unwrap_or_default()).await;
            }
        }
    }
}

/// How often to ask whether somebody else wrote over the pod network's rules.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Mends the pod network's nftables rules for ever: others on the node may flush them.
async fn keep_rules(network: Arc<PodNetwork>) {
    let mut failing = false;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let network = Arc::clone(&network);
        let looked = tokio::task::spawn_blocking(move || network.mend()).await;
        let looked = looked.map_err(anyhow::Error::from).and_then(|mended| Ok(mended?));
        match &looked {
            Ok(true) => warn!("somebody else changed the pod network's rules, they are mended"),
            Ok(false) => {}
            Err(error) if !failing => warn!(%error, "cannot look after the pod network's rules"),
            Err(_) => {}
        }
        failing = looked.is_err();
    }
}

async fn reconcile(sandboxes: &PauseSandboxes, live: &BTreeMap<SandboxId, LiveSandbox>) {
    let mut retry = Retry::default();
    while let Err(Failure { message }) = sandboxes.reconcile(live) {
        warn!(error = message, "cannot bring the pods' links into line yet");
        tokio::time::sleep(retry.next().unwrap_or_default()).await;
    }
}

fn live_sandboxes(written: &[Record]) -> BTreeMap<SandboxId, LiveSandbox> {
    let live = written.iter().filter_map(|record| match &record.facts.sandbox {
        Sandbox::Ready(sandbox) => {
            let uid = record.pod.metadata.uid.clone()?;
            let host_ports = PodSpec::parse(&record.pod).map(|spec| spec.host_ports).unwrap_or_default();
            let id = SandboxId { uid, attempt: record.facts.sandbox_attempts };
            Some((id, LiveSandbox { facts: sandbox.clone(), host_ports }))
        }
        Sandbox::Absent | Sandbox::Unfinished | Sandbox::Lost(_) => None,
    });
    live.collect()
}

/// A Node that was deleted and made again may be given another range. Pods cannot move to it while they run.
async fn warn_of_another_range(mut range: watch::Receiver<Option<Ipv4Net>>, used: Ipv4Net) {
    while range.changed().await.is_ok() {
        let given = *range.borrow_and_update();
        if let Some(given) = given.filter(|given| *given != used) {
            warn!(%used, %given, "the node was given another pod range: restart its agent once its pods are gone");
        }
    }
    std::future::pending().await
}
