//! kube-proxy's flags. As there, most of them count only without `--config`.

use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use clap::builder::ArgAction;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use ipnet::IpNet;
use proxy::ModeChoice;
use proxy::ipvs::{Config, Scheduler};
use runtime::configuration::{ConntrackSettings, Note, ProxyConfiguration, forms};

/// Why a flag has no effect beside a file.
const THE_FILE_COUNTS: &str = "with --config the file is all that counts";

/// `portolan proxy`.
#[derive(Args)]
pub struct Arguments {
    /// A KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1). With it only --hostname-override, --master, -v,
    /// --init-only and --cleanup count beside it, as in kube-proxy.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The node's name [default: the machine's].
    #[arg(long, value_name = "NAME")]
    pub hostname_override: Option<String>,
    /// The API server's address, in place of what the kubeconfig says.
    #[arg(long, value_name = "URL")]
    pub master: Option<String>,
    /// Set the node's connection tracking, and end.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub init_only: Option<bool>,
    /// Remove everything of ours, in every mode, and end.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pub cleanup: Option<bool>,
    /// How much the log says: from 4 also how things are done, from 6 everything.
    #[arg(short, long = "v", value_name = "LEVEL")]
    pub verbosity: Option<u32>,
    #[command(flatten)]
    instead_of_file: InsteadOfFile,
    #[command(flatten)]
    ignored: Ignored,
}

/// Flags that say what a file would.
#[derive(Args)]
struct InsteadOfFile {
    /// How the API server is reached [default: by the service account of the pod that this runs in].
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// nftables, iptables, ipvs, userspace, or auto: the best that works here [default: auto].
    #[arg(long, value_name = "MODE")]
    proxy_mode: Option<ModeChoice>,
    /// The range of the cluster's pods, or one of each family with a comma between.
    #[arg(long, value_name = "RANGES")]
    cluster_cidr: Option<String>,
    /// How connections of pods are known: ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix [default: ClusterCIDR].
    #[arg(long, value_name = "MODE")]
    detect_local_mode: Option<String>,
    /// The bridge of the pods.
    #[arg(long, value_name = "NAME")]
    pod_bridge_interface: Option<String>,
    /// How the names of the pods' interfaces begin.
    #[arg(long, value_name = "PREFIX")]
    pod_interface_name_prefix: Option<String>,
    /// At which of the node's addresses node ports are served: 'primary', or ranges with commas between [default: primary
    /// with --proxy-mode nftables, else all].
    #[arg(long, value_name = "RANGES")]
    nodeport_addresses: Option<String>,
    /// Masquerade all connections to virtual addresses.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    masquerade_all: Option<bool>,
    /// The bit of the packet mark that says "masquerade me"; it is always 14.
    #[arg(long, value_name = "BIT")]
    iptables_masquerade_bit: Option<u8>,
    /// How the ipvs mode chooses: rr, wrr, lc, wlc, sh, dh, sed, nq and what else the kernel has [default: rr].
    #[arg(long, value_name = "NAME", value_parser = forms::scheduler)]
    ipvs_scheduler: Option<Scheduler>,
    /// Answer ARP for addresses of the link in question only.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    ipvs_strict_arp: Option<bool>,
    /// Virtual services at addresses in these ranges are somebody else's.
    #[arg(long, value_name = "RANGES", value_delimiter = ',', value_parser = forms::range)]
    ipvs_exclude_cidrs: Option<Vec<IpNet>>,
    /// The node's own address, where its object does not say.
    #[arg(long, value_name = "ADDRESS")]
    bind_address: Option<String>,
    /// Where /healthz and /livez are served; empty: nowhere [default: 0.0.0.0:10256].
    #[arg(long, value_name = "ADDRESS:PORT")]
    healthz_bind_address: Option<String>,
    /// The same, its port only; 0: nowhere.
    #[arg(long, value_name = "PORT")]
    healthz_port: Option<u16>,
    /// Where /metrics and /proxyMode are served; empty: nowhere [default: 127.0.0.1:10249].
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_bind_address: Option<String>,
    /// The same, its port only; 0: nowhere.
    #[arg(long, value_name = "PORT")]
    metrics_port: Option<u16>,
    /// End when one of these addresses cannot be had.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    bind_address_hard_fail: Option<bool>,
    /// Connections to track per processor; 0: as many as now [default: 32768].
    #[arg(long, value_name = "COUNT")]
    conntrack_max_per_core: Option<u32>,
    /// Connections to track at least [default: 131072].
    #[arg(long, value_name = "COUNT")]
    conntrack_min: Option<u32>,
    /// How long a silent TCP connection is remembered; 0: as now [default: 24h].
    #[arg(long, value_name = "DURATION", value_parser = forms::duration)]
    conntrack_tcp_timeout_established: Option<std::time::Duration>,
    /// How long one is whose peer has closed; 0: as now [default: 1h].
    #[arg(long, value_name = "DURATION", value_parser = forms::duration)]
    conntrack_tcp_timeout_close_wait: Option<std::time::Duration>,
    /// Let TCP packets outside their window through.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    conntrack_tcp_be_liberal: Option<bool>,
    /// How long UDP without an answer is remembered; 0: as now [default: 0].
    #[arg(long, value_name = "DURATION", value_parser = forms::duration)]
    conntrack_udp_timeout: Option<std::time::Duration>,
    /// How long UDP with answers is remembered; 0: as now [default: 0].
    #[arg(long, value_name = "DURATION", value_parser = forms::duration)]
    conntrack_udp_timeout_stream: Option<std::time::Duration>,
    /// How unlikely the kernel ends this process when memory runs out, -1000 to 1000 [default: -999].
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1000..=1000))]
    oom_score_adj: Option<i32>,
}

/// What Go takes for a truth value.
fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("neither true nor false".to_owned()),
    }
}

impl Arguments {
    /// What the file or the flags say, with what has no effect.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn configuration(&self) -> Result<(ProxyConfiguration, Vec<Note>)> {
        let (mut configuration, mut notes) = match &self.config {
            None => (self.instead_of_file.configuration()?, Vec::new()),
            Some(path) => {
                let wrong = |error: &dyn std::fmt::Display| anyhow!("--config {}: {error}", path.display());
                let bytes = std::fs::read(path).map_err(|error| wrong(&error))?;
                let (configuration, mut notes) =
                    runtime::configuration::read(&bytes).map_err(|error| wrong(&error))?;
                notes.extend(self.instead_of_file.given().map(|flag| note(flag, THE_FILE_COUNTS)));
                (configuration, notes)
            }
        };
        notes.extend(self.ignored.0.iter().cloned());
        if let Some(name) = self.hostname_override.as_deref().filter(|name| !name.is_empty()) {
            configuration.node_name =
                Some(forms::node_name(name).map_err(|error| anyhow!("--hostname-override: {error}"))?);
        }
        configuration.verbosity = self.verbosity.unwrap_or(configuration.verbosity);
        Ok((configuration, notes))
    }
}

fn note(flag: &str, why: &'static str) -> Note {
    Note { what: format!("--{flag}"), why }
}

impl InsteadOfFile {
    fn configuration(&self) -> Result<ProxyConfiguration> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let of = |flag: &'static str| move |error: String| anyhow!("--{flag}: {error}");
        if let Some(bit) = self.iptables_masquerade_bit.filter(|bit| *bit != 14) {
            bail!("--iptables-masquerade-bit: {bit} cannot be had, the bit is always 14");
        }
        let defaults = ProxyConfiguration::default();
        let address = forms::node_address(&text(&self.bind_address)).map_err(of("bind-address"))?;
        let (health, metrics) = forms::default_listeners(address);
        let listener =
            |given: &Option<String>, port: Option<u16>, default: std::net::SocketAddr| match (given, port) {
                (_, Some(0)) => Ok(None),
                (Some(given), port) => forms::listener(given, port.unwrap_or(default.port())),
                (None, port) => {
                    Ok(Some(std::net::SocketAddr::new(default.ip(), port.unwrap_or(default.port()))))
                }
            };
        let words = text(&self.nodeport_addresses);
        let detect = forms::detect_local(
            &text(&self.detect_local_mode),
            &text(&self.pod_bridge_interface),
            &text(&self.pod_interface_name_prefix),
        );
        Ok(ProxyConfiguration {
            mode: self.proxy_mode.unwrap_or_default(),
            kubeconfig: self.kubeconfig.clone().filter(|path| !path.as_os_str().is_empty()),
            node_address: address.filter(|address| !address.is_unspecified()),
            health: listener(&self.healthz_bind_address, self.healthz_port, health)
                .map_err(of("healthz-bind-address"))?,
            metrics: listener(&self.metrics_bind_address, self.metrics_port, metrics)
                .map_err(of("metrics-bind-address"))?,
            must_bind: self.bind_address_hard_fail.unwrap_or_default(),
            local: detect.map_err(of("detect-local-mode"))?,
            cluster_ranges: forms::cluster_ranges(&text(&self.cluster_cidr)).map_err(of("cluster-cidr"))?,
            node_ports: forms::node_ports(words.split(',').filter(|word| !word.is_empty()))
                .map_err(of("nodeport-addresses"))?,
            masquerade_all: self.masquerade_all.unwrap_or_default(),
            ipvs: Config {
                scheduler: self.ipvs_scheduler.clone().unwrap_or(defaults.ipvs.scheduler),
                strict_arp: self.ipvs_strict_arp.unwrap_or_default(),
                exclude: self.ipvs_exclude_cidrs.clone().unwrap_or_default(),
            },
            conntrack: self.conntrack(defaults.conntrack.clone()),
            oom_score: self.oom_score_adj.unwrap_or(defaults.oom_score),
            node_name: None,
            verbosity: defaults.verbosity,
        })
    }

    fn conntrack(&self, defaults: ConntrackSettings) -> ConntrackSettings {
        ConntrackSettings {
            max_per_core: self.conntrack_max_per_core.unwrap_or(defaults.max_per_core),
            min: self.conntrack_min.unwrap_or(defaults.min),
            tcp_established: self.conntrack_tcp_timeout_established.unwrap_or(defaults.tcp_established),
            tcp_close_wait: self.conntrack_tcp_timeout_close_wait.unwrap_or(defaults.tcp_close_wait),
            tcp_be_liberal: self.conntrack_tcp_be_liberal.unwrap_or(defaults.tcp_be_liberal),
            udp: self.conntrack_udp_timeout.unwrap_or(defaults.udp),
            udp_stream: self.conntrack_udp_timeout_stream.unwrap_or(defaults.udp_stream),
        }
    }

    /// The flags that were given.
    fn given(&self) -> impl Iterator<Item = &'static str> {
        [
            ("kubeconfig", self.kubeconfig.is_some()),
            ("proxy-mode", self.proxy_mode.is_some()),
            ("cluster-cidr", self.cluster_cidr.is_some()),
            ("detect-local-mode", self.detect_local_mode.is_some()),
            ("pod-bridge-interface", self.pod_bridge_interface.is_some()),
            ("pod-interface-name-prefix", self.pod_interface_name_prefix.is_some()),
            ("nodeport-addresses", self.nodeport_addresses.is_some()),
            ("masquerade-all", self.masquerade_all.is_some()),
            ("iptables-masquerade-bit", self.iptables_masquerade_bit.is_some()),
            ("ipvs-scheduler", self.ipvs_scheduler.is_some()),
            ("ipvs-strict-arp", self.ipvs_strict_arp.is_some()),
            ("ipvs-exclude-cidrs", self.ipvs_exclude_cidrs.is_some()),
            ("bind-address", self.bind_address.is_some()),
            ("healthz-bind-address", self.healthz_bind_address.is_some()),
            ("healthz-port", self.healthz_port.is_some()),
            ("metrics-bind-address", self.metrics_bind_address.is_some()),
            ("metrics-port", self.metrics_port.is_some()),
            ("bind-address-hard-fail", self.bind_address_hard_fail.is_some()),
            ("conntrack-max-per-core", self.conntrack_max_per_core.is_some()),
            ("conntrack-min", self.conntrack_min.is_some()),
            ("conntrack-tcp-timeout-established", self.conntrack_tcp_timeout_established.is_some()),
            ("conntrack-tcp-timeout-close-wait", self.conntrack_tcp_timeout_close_wait.is_some()),
            ("conntrack-tcp-be-liberal", self.conntrack_tcp_be_liberal.is_some()),
            ("conntrack-udp-timeout", self.conntrack_udp_timeout.is_some()),
            ("conntrack-udp-timeout-stream", self.conntrack_udp_timeout_stream.is_some()),
            ("oom-score-adj", self.oom_score_adj.is_some()),
        ]
        .into_iter()
        .filter_map(|(flag, given)| given.then_some(flag))
    }
}

/// Flags that are understood and have no effect.
struct Ignored(Vec<Note>);

/// Whether a flag may stand alone.
#[derive(Clone, Copy)]
enum Takes {
    Bool,
    Value,
}

const LOG: &str = "the log is lines of text on standard error";
const AT_ONCE: &str = "every change is written at once, and costs what it changes only";
const LOOKED_AFTER: &str = "rules are looked after all the time, not in periods";
const NO_REQUESTS: &str = "the proxy only lists and watches, in JSON; nothing has to be held back";
const IPVS_TIMES: &str = "the kernel's times for connections of IPVS stay as they are";
const NOT_HERE: &str = "there is no such thing here";

const IGNORED: [(&str, Takes, &str); 39] = [
    ("add-dir-header", Takes::Bool, LOG),
    ("alsologtostderr", Takes::Bool, LOG),
    ("log-backtrace-at", Takes::Value, LOG),
    ("log-dir", Takes::Value, LOG),
    ("log-file", Takes::Value, LOG),
    ("log-file-max-size", Takes::Value, LOG),
    ("log-flush-frequency", Takes::Value, LOG),
    ("log-json-info-buffer-size", Takes::Value, LOG),
    ("log-json-split-stream", Takes::Bool, LOG),
    ("log-text-info-buffer-size", Takes::Value, LOG),
    ("log-text-split-stream", Takes::Bool, LOG),
    ("logging-format", Takes::Value, LOG),
    ("logtostderr", Takes::Bool, LOG),
    ("one-output", Takes::Bool, LOG),
    ("skip-headers", Takes::Bool, LOG),
    ("skip-log-headers", Takes::Bool, LOG),
    ("stderrthreshold", Takes::Value, LOG),
    ("vmodule", Takes::Value, LOG),
    ("kube-api-burst", Takes::Value, NO_REQUESTS),
    ("kube-api-content-type", Takes::Value, NO_REQUESTS),
    ("kube-api-qps", Takes::Value, NO_REQUESTS),
    ("config-sync-period", Takes::Value, "watches tell every change; nothing is listed again in periods"),
    ("iptables-sync-period", Takes::Value, LOOKED_AFTER),
    ("ipvs-sync-period", Takes::Value, LOOKED_AFTER),
    ("iptables-min-sync-period", Takes::Value, AT_ONCE),
    ("ipvs-min-sync-period", Takes::Value, AT_ONCE),
    ("iptables-localhost-nodeports", Takes::Bool, "node ports are never served at loopback addresses"),
    ("ipvs-tcp-timeout", Takes::Value, IPVS_TIMES),
    ("ipvs-tcpfin-timeout", Takes::Value, IPVS_TIMES),
    ("ipvs-udp-timeout", Takes::Value, IPVS_TIMES),
    ("cleanup-ipvs", Takes::Bool, "--cleanup leaves nothing of ours, whatever the mode"),
    ("feature-gates", Takes::Value, "the gates are kube-proxy's own"),
    ("profiling", Takes::Bool, NOT_HERE),
    ("show-hidden-metrics-for-version", Takes::Value, NOT_HERE),
    ("allow-metric-labels", Takes::Value, NOT_HERE),
    ("disabled-metrics", Takes::Value, NOT_HERE),
    ("boot-id-file", Takes::Value, NOT_HERE),
    ("machine-id-file", Takes::Value, NOT_HERE),
    ("proxy-port-range", Takes::Value, "ports of the userspace mode are the kernel's to choose"),
];

impl Args for Ignored {
    fn augment_args(command: Command) -> Command {
        command.args(IGNORED.iter().map(|(name, takes, why)| {
            let flag = Arg::new(*name).long(*name).action(ArgAction::Append).hide_short_help(true);
            let flag = flag.help(format!("Ignored: {why}")).help_heading("Ignored flags of kube-proxy");
            match takes {
                Takes::Bool => flag.num_args(0..=1).require_equals(true).default_missing_value("true"),
                Takes::Value => flag.num_args(1).allow_hyphen_values(true),
            }
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Ignored {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = IGNORED.iter().filter(|(name, ..)| matches.contains_id(name));
        Ok(Self(given.map(|(name, _, why)| note(name, why)).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
