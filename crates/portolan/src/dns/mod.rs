//! `portolan dns`: the cluster's name server, on its own or as part of a node's agent.

mod configured;
mod pages;
mod service;

pub use service::{Config, serve};

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use ::dns::corefile::{FileSources, QueryLog};
use ::dns::{
    CacheConfig, CacheLimit, Corefile, Name, PodNames, ResolverConfig, SharedZone, Zone, ZoneConfig,
    resolv_conf,
};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use ipnet::IpNet;

use crate::process;

/// `portolan dns`.
#[derive(Args)]
pub struct Arguments {
    /// How the API server is reached [default: by the service account of the pod that this runs in].
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// What is answered how, in the language of CoreDNS. Takes the place of all other options but --kubeconfig.
    #[arg(long, conflicts_with_all = ["listen", "zone", "ttl", "pods", "upstream", "own_addresses", "cache", "status", "log_queries"])]
    corefile: Option<PathBuf>,
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
    #[arg(long, default_value_t = CacheConfig::default().success.capacity)]
    cache: usize,
    /// Where /health, /ready and /metrics are served over HTTP.
    #[arg(long)]
    status: Option<SocketAddr>,
    /// Write every query to the log.
    #[arg(long)]
    log_queries: bool,
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
    kernel::memory::hold_little();
    process::serve(|stopped| async move {
        if let Some(path) = &arguments.corefile {
            let corefile = Corefile::load(path, &FileSources)?;
            return configured::serve(path, corefile, arguments.kubeconfig.as_deref(), stopped).await;
        }
        let client = match &arguments.kubeconfig {
            Some(path) => runtime::client(path).await?,
            None => runtime::client_in_cluster()?,
        };
        serve(config(arguments)?, client, stopped).await
    })?;
    Ok(ExitCode::SUCCESS)
}

fn config(arguments: Arguments) -> Result<Config> {
    let limit = |limit: CacheLimit| CacheLimit { capacity: arguments.cache, ..limit };
    let defaults = CacheConfig::default();
    let cache = CacheConfig { success: limit(defaults.success), denial: limit(defaults.denial), ..defaults };
    let upstreams = upstreams(arguments.upstream, &arguments.listen)?;
    Ok(Config {
        zone: SharedZone::new(Zone::new(ZoneConfig {
            name_servers: arguments.listen.iter().map(SocketAddr::ip).collect(),
            ttl: arguments.ttl,
            pods: match arguments.pods {
                Pods::Disabled => PodNames::Disabled,
                Pods::Insecure => PodNames::Insecure,
                Pods::Verified => PodNames::Verified,
            },
            own_addresses: arguments.own_addresses,
            ..ZoneConfig::new(arguments.zone)
        })),
        resolver: ResolverConfig { cache, ..ResolverConfig::new(upstreams) },
        listen: arguments.listen,
        status: arguments.status,
        log: arguments.log_queries.then(QueryLog::default),
    })
}

/// The servers asked for, or those of the machine, which must not be ourselves.
fn upstreams(given: Vec<SocketAddr>, listen: &[SocketAddr]) -> Result<Vec<SocketAddr>> {
    let servers = if given.is_empty() {
        let path = "/etc/resolv.conf";
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {path}; give --upstream"))?;
        resolv_conf(&text).into_iter().map(|address| SocketAddr::new(address, 53)).collect()
    } else {
        given
    };
    if let Some(own) = servers.iter().find(|server| listen.contains(server)) {
        bail!("{own} is asked for other names, and it is this server itself: give another --upstream");
    }
    Ok(servers)
}
