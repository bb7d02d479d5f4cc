use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::{HostsTable, Name, PodNames, ResolverConfig, Rewrite, ZoneConfig};

/// A Corefile that was understood in full, with what it refers to read in.
#[derive(Debug, Clone, PartialEq)]
pub struct Corefile {
    /// In order of the file.
    pub servers: Vec<ServerBlock>,
    /// `health`: where the process says that it lives, and how it ends.
    pub health: Option<Health>,
    /// `ready`: where it says that it can answer.
    pub ready: Option<SocketAddr>,
    /// `prometheus`: where its counters are.
    pub prometheus: Option<SocketAddr>,
    /// `reload`: how often the file is looked at.
    pub reload: Option<Duration>,
}

/// `health`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Where `/health` is served.
    pub address: SocketAddr,
    /// How long queries are still answered after the process was told to end.
    pub lameduck: Duration,
}

/// A zone that a block answers for, and the port it does so at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerZone {
    /// The zone.
    pub name: Name,
    /// The port of UDP and TCP.
    pub port: u16,
}

/// One server block.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerBlock {
    /// The zones, at least one.
    pub zones: Vec<ServerZone>,
    /// `bind`: the addresses; none: those of the command line.
    pub bind: Vec<IpAddr>,
    /// `errors`: failures to answer are logged.
    pub errors: bool,
    /// `log`.
    pub log: Option<QueryLog>,
    /// `loop`: servers that lead back here are found and left alone.
    pub loop_detection: bool,
    /// `rewrite`, in order.
    pub rewrites: Vec<Rewrite>,
    /// `hosts`.
    pub hosts: Option<HostsConfig>,
    /// `kubernetes`.
    pub kubernetes: Option<KubernetesConfig>,
    /// `forward`, in order.
    pub forwards: Vec<ForwardConfig>,
}

/// `log`: which queries are written to the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryLog {
    /// Names below these; none means all.
    pub zones: Vec<Name>,
    /// By what came of them; none means all.
    pub classes: Vec<LogClass>,
}

/// What came of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogClass {
    /// Records.
    Success,
    /// NXDOMAIN, or no records of that type.
    Denial,
    /// SERVFAIL, REFUSED, NOTIMP and their like.
    Error,
}

/// `hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostsConfig {
    /// The file, which need not be there.
    pub file: PathBuf,
    /// Lines of the Corefile, which come before the file's.
    pub inline: String,
    /// What both say.
    pub table: HostsTable,
    /// How often the file is looked at; `None`: never again.
    pub reload: Option<Duration>,
}

/// `kubernetes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// The cluster's domains, at least one.
    pub zones: Vec<Name>,
    /// Addresses whose names are asked here.
    pub reverse: Vec<IpNet>,
    /// Of them, those whose names nobody else is asked for.
    pub own_addresses: Vec<IpNet>,
    /// Names of the zones that do not exist here are asked of who comes next.
    pub fallthrough: Vec<Name>,
    /// `endpoint`: the API server; `None`: that of the command line or of the pod.
    pub endpoint: Option<String>,
    /// `tls`: certificate, key and authority for it.
    pub tls: Option<[PathBuf; 3]>,
    /// `kubeconfig`: file and context.
    pub kubeconfig: Option<(PathBuf, Option<String>)>,
    /// `namespaces`: the only ones shown; none means all.
    pub namespaces: Vec<String>,
    /// `labels`: the objects shown.
    pub labels: Option<String>,
    /// `pods`.
    pub pods: PodNames,
    /// `endpoint_pod_names`.
    pub endpoint_pod_names: bool,
    /// `ignore empty_service`.
    pub ignore_empty_services: bool,
    /// `ttl`, in seconds.
    pub ttl: u32,
}

/// `forward`, with the block's `cache`.
#[derive(Debug, Clone, PartialEq)]
pub struct ForwardConfig {
    /// Names below it are forwarded,
    pub from: Name,
    /// but those below these are not.
    pub except: Vec<Name>,
    /// To whom, and how.
    pub resolver: ResolverConfig,
}

impl KubernetesConfig {
    /// One zone for each domain; addresses have their names in the first.
    pub fn zone_configs(&self) -> Vec<ZoneConfig> {
        let zones = self.zones.iter().enumerate().map(|(number, zone)| {
            let first = number == 0;
            ZoneConfig {
                ttl: self.ttl,
                pods: self.pods,
                reverse: if first { self.reverse.clone() } else { Vec::new() },
                own_addresses: if first { self.own_addresses.clone() } else { Vec::new() },
                namespaces: self.namespaces.iter().map(|name| name.as_str().into()).collect(),
                endpoint_pod_names: self.endpoint_pod_names,
                ignore_empty_services: self.ignore_empty_services,
                fallthrough: self.fallthrough.iter().any(|through| zone.is_within(through)),
                ..ZoneConfig::new(zone.clone())
            }
        });
        zones.collect()
    }
}
