//! One cluster, one resolver: what an agent runs, and `portolan dns` without a Corefile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::dns::corefile::QueryLog;
use ::dns::{Metrics, Resolver, ResolverConfig, Server, SharedSite, SharedZone, Site, Sockets};
use anyhow::{Context, Result, bail};
use runtime::NamesStatus;
use tokio::sync::watch;
use tokio::time::{interval, timeout};

use super::pages::{self, Facts, Source};
use crate::process::until_stopped;

/// What a name server needs.
pub struct Config {
    /// The zone, empty as yet.
    pub zone: Arc<SharedZone>,
    /// Who is asked for other names.
    pub resolver: ResolverConfig,
    /// Where queries come in.
    pub listen: Vec<SocketAddr>,
    /// Where the status is served.
    pub status: Option<SocketAddr>,
    /// Which queries are written to the log.
    pub log: Option<QueryLog>,
}

/// Queries wait so long in the sockets for the cluster to be known, as CoreDNS lets them.
const HOLD: Duration = Duration::from_secs(5);
/// How often to look whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Answers queries until told to stop. The sockets are open before anything is known of the cluster, so that who asks a
/// server that just starts gets the answer a moment later; after five seconds without the API server, its names are
/// answered with SERVFAIL.
pub async fn serve(config: Config, client: kube::Client, stopped: watch::Receiver<bool>) -> Result<()> {
    let mut sockets = Vec::new();
    for address in &config.listen {
        let opened = Sockets::open(*address).await;
        sockets.push(opened.with_context(|| format!("cannot answer names on {address}"))?);
    }
    let zone = config.zone;
    let metrics = Arc::new(Metrics::default());
    let resolver = Resolver::new(config.resolver, metrics.clone());
    resolver.watch_loops();
    let names = Arc::new(NamesStatus::default());
    let site = SharedSite::new(Site::of(zone.clone(), resolver.clone(), config.log));
    let server = Server::new(site, metrics.clone());
    let mut tasks = tokio::task::JoinSet::new();
    for sockets in sockets {
        let (server, zone) = (server.clone(), zone.clone());
        tasks.spawn(async move {
            // Known or not: now somebody must answer.
            let _ = timeout(HOLD, until_known(&zone)).await;
            server.serve(sockets).await;
        });
    }
    if let Some(address) = config.status {
        let sources = vec![Source { zone: zone.clone(), names: names.clone() }];
        let facts = move || Facts {
            sources: sources.clone(),
            cached: resolver.cached(),
            host_entries: 0,
            ending: false,
        };
        let listener = tokio::net::TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("cannot serve the status on {address}"))?;
        tasks.spawn(runtime::pages::serve(listener, pages::all(metrics, facts)));
    }
    tracing::info!(listen = ?config.listen, "answering names");
    tokio::select! {
        result = runtime::run_names(client, zone, names, None, until_stopped(stopped)) => Ok(result?),
        Some(ended) = tasks.join_next() => bail!("part of the name server ended: {ended:?}"),
    }
}

async fn until_known(zone: &SharedZone) {
    let mut ticks = interval(LOOK_EVERY);
    while !zone.read().is_in_sync() {
        ticks.tick().await;
    }
}
