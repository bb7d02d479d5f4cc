//! How the proxy is to work, in kube-proxy's terms: its defaults, the forms of its values, and its
//! `KubeProxyConfiguration` file.
//!
//! ```text
//! file ─► YAML ─► fields (each read, named as ignored, or unknown) ─► ProxyConfiguration + notes
//! flags ───────────────────────────── forms ───────────────────────► ProxyConfiguration
//! ```

mod fields;
pub mod forms;
mod kube_proxy;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use proxy::ModeChoice;

pub use kube_proxy::read;

/// How the proxy of one node is to work. The default is kube-proxy's, but for the mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfiguration {
    /// How Services become the kernel's work.
    pub mode: ModeChoice,
    /// The node's name; `None`: that of the machine.
    pub node_name: Option<String>,
    /// How the API server is reached; `None`: by the service account of the pod that this runs in.
    pub kubeconfig: Option<PathBuf>,
    /// The node's own address (`bindAddress`), where its object does not say.
    pub node_address: Option<IpAddr>,
    /// Where `/healthz` and `/livez` are served; `None`: nowhere.
    pub health: Option<SocketAddr>,
    /// Where `/metrics` and `/proxyMode` are served; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Whether it is the end when one of these addresses cannot be had.
    pub must_bind: bool,
    /// How connections of pods are known.
    pub local: DetectLocal,
    /// The ranges of the cluster's pods, at most one per family.
    pub cluster_ranges: Vec<IpNet>,
    /// At which of the node's addresses node ports are served.
    pub node_ports: NodePortChoice,
    /// Whether all connections to virtual addresses are masqueraded.
    pub masquerade_all: bool,
    /// What the ipvs mode has beside that.
    pub ipvs: proxy::ipvs::Config,
    /// The kernel's connection tracking.
    pub conntrack: ConntrackSettings,
    /// How unlikely the kernel ends this process when memory runs out, -1000 to 1000.
    pub oom_score: i32,
    /// klog's verbosity: 0 to 3 what changes, 4 and more also how.
    pub verbosity: u32,
}

impl ProxyConfiguration {
    /// kube-proxy's port for `/healthz`.
    pub const HEALTH_PORT: u16 = 10256;
    /// kube-proxy's port for `/metrics`.
    pub const METRICS_PORT: u16 = 10249;
}

impl Default for ProxyConfiguration {
    fn default() -> Self {
        let (health, metrics) = forms::default_listeners(None);
        Self {
            mode: ModeChoice::Auto,
            node_name: None,
            kubeconfig: None,
            node_address: None,
            health: Some(health),
            metrics: Some(metrics),
            must_bind: false,
            local: DetectLocal::ClusterRanges,
            cluster_ranges: Vec::new(),
            node_ports: NodePortChoice::Unsaid,
            masquerade_all: false,
            ipvs: proxy::ipvs::Config::default(),
            conntrack: ConntrackSettings::default(),
            oom_score: -999,
            verbosity: 0,
        }
    }
}

/// `detectLocalMode`: how connections of pods are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DetectLocal {
    /// By the ranges of the cluster's pods.
    #[default]
    ClusterRanges,
    /// By the ranges of this node's pods, as its object tells them.
    NodeRanges,
    /// By the bridge they come in by; 1 to 15 bytes.
    Bridge(String),
    /// By the beginning of the name of the interface they come in by; 1 to 15 bytes.
    InterfacePrefix(String),
}

/// `nodePortAddresses`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NodePortChoice {
    /// As the mode has it in kube-proxy: the node's primary addresses with nftables, all with the others.
    #[default]
    Unsaid,
    /// The node's primary addresses, as its object tells them.
    Primary,
    /// Addresses within these ranges; one that holds all addresses of a family means all of them.
    Ranges(Vec<IpNet>),
}

/// Settings of the kernel's connection tracking, which all of them may only grow. `None` and zero leave one as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConntrackSettings {
    /// Connections per processor; zero: the limit stays as it is, whatever `min` says.
    pub max_per_core: u32,
    /// Connections at least.
    pub min: u32,
    /// How long a silent TCP connection is remembered.
    pub tcp_established: Duration,
    /// How long one is whose peer has closed.
    pub tcp_close_wait: Duration,
    /// Whether TCP packets outside their window are let through (`nf_conntrack_tcp_be_liberal`).
    pub tcp_be_liberal: bool,
    /// How long UDP without an answer is remembered.
    pub udp: Duration,
    /// How long UDP with answers is.
    pub udp_stream: Duration,
}

impl Default for ConntrackSettings {
    fn default() -> Self {
        Self {
            max_per_core: 32 * 1024,
            min: 128 * 1024,
            tcp_established: Duration::from_secs(24 * 3600),
            tcp_close_wait: Duration::from_secs(3600),
            tcp_be_liberal: false,
            udp: Duration::ZERO,
            udp_stream: Duration::ZERO,
        }
    }
}

impl ConntrackSettings {
    /// How many connections may be tracked on a machine of so many processors; `None`: as many as now.
    pub fn max(&self, processors: u32) -> Option<u32> {
        (self.max_per_core > 0).then(|| self.max_per_core.saturating_mul(processors).max(self.min))
    }
}

/// Something of a configuration that has no effect, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The field's path, or the flag.
    pub what: String,
    /// Why it has none.
    pub why: &'static str,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is ignored: {}", self.what, self.why)
    }
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The file is no YAML.
    #[error("it is no YAML: {reason}")]
    Yaml {
        /// Why not, with line and column.
        reason: String,
    },
    /// The file is something else.
    #[error(
        "it is {found}; what is read here is kubeproxy.config.k8s.io/v1alpha1, kind KubeProxyConfiguration"
    )]
    Kind {
        /// What it says that it is.
        found: String,
    },
    /// A value is not what it has to be.
    #[error("{field}: {problem}")]
    Field {
        /// The field's path.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// The address of the machine's loopback, of the same family.
fn loopback_beside(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    }
}
