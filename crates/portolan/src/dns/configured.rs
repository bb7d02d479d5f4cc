//! A name server as a Corefile describes it, which may change while it runs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::dns::corefile::{Assembly, FileSources, KubernetesConfig, ServerBlock};
use ::dns::{Block, Corefile, Metrics, Server, SharedSite, SharedZone, Site, Sockets, Zone};
use anyhow::{Context, Result};
use runtime::NamesStatus;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::pages::{self, Facts, Source};
use crate::process::until_stopped;

/// How long a reload waits for a cluster that it names for the first time. Until then the old configuration serves.
const LISTING: Duration = Duration::from_secs(30);

/// What runs.
struct Running {
    corefile: Corefile,
    assembly: Assembly,
    clusters: Vec<Cluster>,
    /// The sockets of each address, with what they answer.
    ports: BTreeMap<SocketAddr, (Arc<SharedSite>, Task)>,
    pages: BTreeMap<SocketAddr, Task>,
}

/// One cluster's names: a zone for each of its domains.
#[derive(Clone)]
struct Cluster {
    config: KubernetesConfig,
    sources: Vec<Source>,
    _watches: Arc<Vec<Task>>,
}

/// A task that ends when it is dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What pages and reloads share.
#[derive(Default)]
struct Shared {
    metrics: Arc<Metrics>,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    sources: Vec<Source>,
    assembly: Arc<Assembly>,
    ending: bool,
}

impl Shared {
    fn now(&self) -> std::sync::MutexGuard<'_, Now> {
        // Assignments leave it whole.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn facts(&self) -> Facts {
        let now = self.now();
        Facts {
            sources: now.sources.clone(),
            cached: now.assembly.cached(),
            host_entries: now.assembly.host_entries(),
            ending: now.ending,
        }
    }
}

/// Answers queries until told to stop, and then as long as `lameduck` says.
pub async fn serve(
    path: &Path,
    corefile: Corefile,
    kubeconfig: Option<&Path>,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    let shared = Arc::new(Shared::default());
    let nothing = Running {
        corefile: Corefile { servers: Vec::new(), health: None, ready: None, prometheus: None, reload: None },
        assembly: Assembly::default(),
        clusters: Vec::new(),
        ports: BTreeMap::new(),
        pages: BTreeMap::new(),
    };
    let mut running =
        change(nothing, corefile, kubeconfig, &shared, false).await.map_err(|(_, error)| error)?;
    tracing::info!(listen = ?running.ports.keys().collect::<Vec<_>>(), "answering names");
    let mut complaint = None;
    while !*stopped.borrow_and_update() {
        let Some(interval) = running.corefile.reload else {
            until_stopped(stopped.clone()).await;
            break;
        };
        tokio::select! {
            () = until_stopped(stopped.clone()) => break,
            () = sleep(interval) => running = reload(running, path, kubeconfig, &shared, &mut complaint).await,
        }
    }
    shared.now().ending = true;
    sleep(running.corefile.health.map_or(Duration::ZERO, |health| health.lameduck)).await;
    Ok(())
}

/// Looks at the file; a broken one is said once, and what runs goes on.
async fn reload(
    running: Running,
    path: &Path,
    kubeconfig: Option<&Path>,
    shared: &Arc<Shared>,
    complaint: &mut Option<String>,
) -> Running {
    let (running, failure) = match Corefile::load(path, &FileSources) {
        Ok(corefile) if corefile == running.corefile => (running, None),
        Ok(corefile) => match change(running, corefile, kubeconfig, shared, true).await {
            Ok(running) => {
                tracing::info!(file = %path.display(), "the new configuration is in use");
                (running, None)
            }
            Err((running, error)) => (running, Some(format!("{error:#}"))),
        },
        Err(error) => (running, Some(error.to_string())),
    };
    if let Some(error) = failure.as_ref().filter(|_| *complaint != failure) {
        shared.metrics.reload_failed();
        tracing::error!(%error, "the new configuration cannot be used, the old one goes on");
    }
    *complaint = failure;
    running
}

/// Goes over to another configuration. Everything new is opened before anything old is given up.
///
/// # Errors
/// What cannot be opened, with what runs as it was.
async fn change(
    mut running: Running,
    corefile: Corefile,
    kubeconfig: Option<&Path>,
    shared: &Arc<Shared>,
    wait: bool,
) -> Result<Running, (Running, anyhow::Error)> {
    let opened = async {
        let clusters = clusters(&corefile, &running.clusters, kubeconfig, wait).await?;
        let mut new_sockets = BTreeMap::new();
        for address in addresses(&corefile).into_keys() {
            if !running.ports.contains_key(&address) {
                new_sockets.insert(address, open(address).await?);
            }
        }
        let mut new_pages = BTreeMap::new();
        for address in page_addresses(&corefile) {
            if !running.pages.contains_key(&address) {
                new_pages.insert(address, listen(address).await?);
            }
        }
        Ok((clusters, new_sockets, new_pages))
    };
    let (clusters, mut new_sockets, new_pages) = match opened.await {
        Ok(opened) => opened,
        Err(error) => return Err((running, error)),
    };
    let mut assembly = Assembly::default();
    let blocks = blocks(&corefile, &clusters, &running.assembly, &mut assembly, &shared.metrics);
    let mut ports = BTreeMap::new();
    for (address, indices) in addresses(&corefile) {
        let site = Site::new(indices.into_iter().map(|index| blocks[&index].clone()).collect());
        let port = match (running.ports.remove(&address), new_sockets.remove(&address)) {
            (Some((shared, task)), _) => {
                shared.replace(site);
                (shared, task)
            }
            (None, Some(sockets)) => {
                let shared_site = SharedSite::new(site);
                let server = Server::new(shared_site.clone(), shared.metrics.clone());
                (shared_site, Task(tokio::spawn(server.serve(sockets))))
            }
            // Each address was there before or has just been opened.
            (None, None) => continue,
        };
        ports.insert(address, port);
    }
    let mut pages = BTreeMap::new();
    for (address, listener) in new_pages {
        let facts = {
            let shared = shared.clone();
            move || shared.facts()
        };
        let find = pages::all(shared.metrics.clone(), facts);
        pages.insert(address, Task(tokio::spawn(runtime::pages::serve(listener, find))));
    }
    let wanted = page_addresses(&corefile);
    pages.extend(
        std::mem::take(&mut running.pages).into_iter().filter(|(address, _)| wanted.contains(address)),
    );
    let sources = clusters.iter().flat_map(|cluster| cluster.sources.clone()).collect();
    let assembly = {
        let mut now = shared.now();
        now.sources = sources;
        now.assembly = Arc::new(assembly.clone());
        assembly
    };
    Ok(Running { corefile, assembly, clusters, ports, pages })
}

/// The blocks, by their number and the zones' port.
fn blocks(
    corefile: &Corefile,
    clusters: &[Cluster],
    before: &Assembly,
    assembly: &mut Assembly,
    metrics: &Arc<Metrics>,
) -> BTreeMap<(usize, u16), Arc<Block>> {
    let mut blocks = BTreeMap::new();
    for (number, server) in corefile.servers.iter().enumerate() {
        let zones = |server: &ServerBlock| -> Vec<Arc<SharedZone>> {
            let cluster = clusters.iter().find(|cluster| Some(&cluster.config) == server.kubernetes.as_ref());
            cluster.iter().flat_map(|cluster| &cluster.sources).map(|source| source.zone.clone()).collect()
        };
        let mut names: BTreeMap<u16, Vec<_>> = BTreeMap::new();
        for zone in &server.zones {
            names.entry(zone.port).or_default().push(zone.name.clone());
        }
        for (port, names) in names {
            let block = assembly.block(before, server, names, zones(server), metrics);
            blocks.insert((number, port), Arc::new(block));
        }
    }
    blocks
}

/// Where queries come in, with the blocks that answer there.
fn addresses(corefile: &Corefile) -> BTreeMap<SocketAddr, Vec<(usize, u16)>> {
    let mut addresses: BTreeMap<SocketAddr, Vec<(usize, u16)>> = BTreeMap::new();
    for (number, server) in corefile.servers.iter().enumerate() {
        let any = [IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        let hosts = if server.bind.is_empty() { &any[..] } else { &server.bind };
        for zone in &server.zones {
            for host in hosts {
                let blocks = addresses.entry(SocketAddr::new(*host, zone.port)).or_default();
                if !blocks.contains(&(number, zone.port)) {
                    blocks.push((number, zone.port));
                }
            }
        }
    }
    addresses
}

fn page_addresses(corefile: &Corefile) -> Vec<SocketAddr> {
    let health = corefile.health.map(|health| health.address);
    let mut addresses: Vec<_> = [health, corefile.ready, corefile.prometheus].into_iter().flatten().collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Machines without IPv6 have all addresses as `0.0.0.0` only.
fn without_ipv6(address: SocketAddr) -> Option<SocketAddr> {
    (address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED))
        .then(|| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
}

async fn open(address: SocketAddr) -> Result<Sockets> {
    let mut opened = Sockets::open(address).await;
    if let (Err(_), Some(other)) = (&opened, without_ipv6(address)) {
        opened = Sockets::open(other).await;
    }
    opened.with_context(|| format!("cannot answer names on {address}"))
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    let mut opened = TcpListener::bind(address).await;
    if let (Err(_), Some(other)) = (&opened, without_ipv6(address)) {
        opened = TcpListener::bind(other).await;
    }
    opened.with_context(|| format!("cannot serve health, ready or metrics on {address}"))
}

/// The clusters that a configuration names; those that are known already go on.
async fn clusters(
    corefile: &Corefile,
    known: &[Cluster],
    kubeconfig: Option<&Path>,
    wait: bool,
) -> Result<Vec<Cluster>> {
    let mut clusters: Vec<Cluster> = Vec::new();
    for config in corefile.servers.iter().filter_map(|server| server.kubernetes.as_ref()) {
        if clusters.iter().any(|cluster| cluster.config == *config) {
            continue;
        }
        let before = known.iter().find(|cluster| cluster.config == *config);
        let cluster = match before {
            Some(cluster) => cluster.clone(),
            None => {
                let cluster = watch_cluster(config, kubeconfig).await?;
                if wait {
                    in_sync(&cluster).await?;
                }
                cluster
            }
        };
        clusters.push(cluster);
    }
    Ok(clusters)
}

async fn watch_cluster(config: &KubernetesConfig, kubeconfig: Option<&Path>) -> Result<Cluster> {
    let client = match (&config.kubeconfig, &config.endpoint, kubeconfig) {
        (Some((path, context)), _, _) => runtime::client_in_context(path, context.as_deref()).await?,
        (None, Some(url), _) => runtime::client_at(url, config.tls.as_ref()).await?,
        (None, None, Some(path)) => runtime::client(path).await?,
        (None, None, None) => runtime::client_in_cluster()?,
    };
    let mut sources = Vec::new();
    let mut watches = Vec::new();
    for zone in config.zone_configs() {
        let source =
            Source { zone: SharedZone::new(Zone::new(zone)), names: Arc::new(NamesStatus::default()) };
        sources.push(source.clone());
        let (client, labels) = (client.clone(), config.labels.clone());
        watches.push(Task(tokio::spawn(async move {
            let Source { zone, names } = source;
            let ended =
                runtime::run_names(client, zone, names, labels.as_deref(), std::future::pending()).await;
            tracing::error!(?ended, "the names of a cluster are no longer followed");
        })));
    }
    Ok(Cluster { config: config.clone(), sources, _watches: Arc::new(watches) })
}

async fn in_sync(cluster: &Cluster) -> Result<()> {
    let known = async {
        while !cluster.sources.iter().all(|source| source.zone.read().is_in_sync()) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LISTING, known).await.context("the API server could not be listed in full")
}
