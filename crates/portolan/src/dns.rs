//! `portolan dns`: the cluster's name server, on its own or as part of a node's agent.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use ::dns::{
    Metrics, Name, PodNames, Resolver, ResolverConfig, Server, SharedZone, Sockets, Zone, ZoneConfig,
};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use runtime::NamesStatus;
use tokio::sync::watch;

use crate::process::{self, until_stopped};
use crate::status_page::{self, Page};

/// `portolan dns`.
#[derive(Args)]
pub struct Arguments {
    /// How the API server is reached.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Where queries are answered, over UDP and TCP. Can be given several times.
    #[arg(long, default_value = "127.0.0.1:53")]
    listen: Vec<SocketAddr>,
    /// The cluster's domain.
    #[arg(long, default_value = "cluster.local", value_parser = Name::parse)]
    zone: Name,
    /// How long clients may keep an answer, in seconds.
    #[arg(long, default_value_t = ZoneConfig::TTL, value_parser = clap::value_parser!(u32).range(0..=3600))]
    ttl: u32,
    /// Names of pods by their addresses, such as 10-244-1-7.default.pod.cluster.local.
    #[arg(long, value_enum, default_value_t = Pods::Insecure)]
    pods: Pods,
    /// Who is asked for other names, ADDRESS or ADDRESS:PORT; several are tried in turn [default: those of /etc/resolv.conf].
    #[arg(long, value_parser = server_address)]
    upstream: Vec<SocketAddr>,
    /// Addresses whose names are known here or nowhere, such as 10.96.0.0/12. Can be given several times.
    #[arg(long)]
    own_addresses: Vec<IpNet>,
    /// Answers of others that are kept, at most.
    #[arg(long, default_value_t = ResolverConfig::CACHE)]
    cache: usize,
    /// Where /health, /ready and /metrics are served over HTTP.
    #[arg(long)]
    status: Option<SocketAddr>,
}

/// See [`PodNames`].
#[derive(Clone, Copy, ValueEnum)]
enum Pods {
    Disabled,
    Insecure,
    Verified,
}

fn server_address(text: &str) -> Result<SocketAddr, String> {
    let plain = || text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53));
    text.parse().or_else(|_| plain()).map_err(|_| "not an address such as 9.9.9.9 or 9.9.9.9:53".to_owned())
}

/// Runs until TERM or INT.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    process::serve(|stopped| async move {
        let config = Config {
            zone: ZoneConfig {
                name_servers: arguments.listen.iter().map(SocketAddr::ip).collect(),
                zone: arguments.zone,
                ttl: arguments.ttl,
                pods: match arguments.pods {
                    Pods::Disabled => PodNames::Disabled,
                    Pods::Insecure => PodNames::Insecure,
                    Pods::Verified => PodNames::Verified,
                },
                own_addresses: arguments.own_addresses,
            },
            resolver: ResolverConfig {
                upstreams: upstreams(arguments.upstream, &arguments.listen)?,
                cache: arguments.cache,
            },
            listen: arguments.listen,
            status: arguments.status,
        };
        let client = runtime::client(&arguments.kubeconfig).await?;
        serve(config, client, stopped).await
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The servers asked for, or those of the machine, which must not be ourselves.
fn upstreams(given: Vec<SocketAddr>, listen: &[SocketAddr]) -> Result<Vec<SocketAddr>> {
    let servers = if given.is_empty() {
        let path = "/etc/resolv.conf";
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {path}; give --upstream"))?;
        ::dns::resolv_conf(&text).into_iter().map(|address| SocketAddr::new(address, 53)).collect()
    } else {
        given
    };
    if let Some(own) = servers.iter().find(|server| listen.contains(server)) {
        bail!("{own} is asked for other names, and it is this server itself: give another --upstream");
    }
    Ok(servers)
}

/// What a name server needs.
pub struct Config {
    /// The zone.
    pub zone: ZoneConfig,
    /// Who is asked for other names.
    pub resolver: ResolverConfig,
    /// Where queries come in.
    pub listen: Vec<SocketAddr>,
    /// Where the status is served.
    pub status: Option<SocketAddr>,
}

/// Answers queries until told to stop. The sockets are open before anything is known of the cluster: until then
/// its names are answered with SERVFAIL.
pub async fn serve(config: Config, client: kube::Client, stopped: watch::Receiver<bool>) -> Result<()> {
    let mut sockets = Vec::new();
    for address in &config.listen {
        let opened = Sockets::open(*address).await;
        sockets.push(opened.with_context(|| format!("cannot answer names on {address}"))?);
    }
    let zone = SharedZone::new(Zone::new(config.zone));
    let metrics = Arc::new(Metrics::default());
    let resolver = Resolver::new(config.resolver, metrics.clone());
    let names = Arc::new(NamesStatus::default());
    let server = Server::new(zone.clone(), resolver.clone(), metrics.clone());
    let mut tasks = tokio::task::JoinSet::new();
    for sockets in sockets {
        tasks.spawn(server.clone().serve(sockets));
    }
    if let Some(address) = config.status {
        let page = status(zone.clone(), resolver, metrics, names.clone());
        let listener = tokio::net::TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("cannot serve the status on {address}"))?;
        tasks.spawn(status_page::serve(listener, page));
    }
    tracing::info!(listen = ?config.listen, "answering names");
    tokio::select! {
        result = runtime::run_names(client, zone, names, until_stopped(stopped)) => Ok(result?),
        Some(ended) = tasks.join_next() => bail!("part of the name server ended: {ended:?}"),
    }
}

/// `/ready` says yes once every kind was listed, and stays so when the API server goes: what is known is served.
fn status(
    zone: Arc<SharedZone>,
    resolver: Arc<Resolver>,
    metrics: Arc<Metrics>,
    names: Arc<NamesStatus>,
) -> impl Fn(&str) -> Option<Page> + Clone + Send + 'static {
    move |path| match path {
        "/health" => Some(Page::ok("OK")),
        "/ready" if zone.read().is_in_sync() => Some(Page::ok("OK")),
        "/ready" => {
            Some(Page::unavailable("not everything is known yet: the API server was not listed in full"))
        }
        "/metrics" => {
            let (services, lost) = (zone.read().service_count(), names.lost_for().unwrap_or_default());
            Some(Page::ok(&format!(
                "{}# TYPE coredns_cache_entries gauge\ncoredns_cache_entries {}\n\
                 # TYPE portolan_dns_services gauge\nportolan_dns_services {services}\n\
                 # TYPE portolan_dns_api_lost_seconds gauge\nportolan_dns_api_lost_seconds {}\n\
                 # TYPE portolan_dns_skipped_parts_total counter\nportolan_dns_skipped_parts_total {}\n",
                metrics.text(),
                resolver.cached(),
                lost.as_secs_f64(),
                names.bad_parts(),
            )))
        }
        _ => None,
    }
}
