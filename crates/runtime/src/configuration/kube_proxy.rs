//! `KubeProxyConfiguration` of `kubeproxy.config.k8s.io/v1alpha1`, field by field.

use std::path::PathBuf;

use proxy::ipvs::Config;
use proxy::{Mode, ModeChoice};
use serde_json::{Map, Value};

use super::fields::Fields;
use super::{ConfigurationError, ConntrackSettings, Note, ProxyConfiguration, forms};

const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
const KIND: &str = "KubeProxyConfiguration";

const AT_ONCE: &str = "every change is written at once, and costs what it changes only";
const LOOKED_AFTER: &str = "rules are looked after all the time, not in periods";
const NO_REQUESTS: &str = "the proxy only lists and watches, in JSON; nothing has to be held back";
const WINDOWS: &str = "it is for Windows";
const LOOPBACK: &str = "node ports are never served at loopback addresses";
const IPVS_TIMES: &str = "the kernel's times for connections of IPVS stay as they are";

/// Reads the file's bytes. The notes name what has no effect, and fields that are unknown.
///
/// # Errors
/// [`ConfigurationError`] says which field is wrong, and how.
pub fn read(bytes: &[u8]) -> Result<(ProxyConfiguration, Vec<Note>), ConfigurationError> {
    let document: Value = serde_saphyr::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        ConfigurationError::Yaml { reason: text.lines().next().unwrap_or_default().to_owned() }
    })?;
    let Value::Object(document) = document else {
        return Err(ConfigurationError::Kind { found: "no object".to_owned() });
    };
    check_kind(&document)?;
    let mut fields = Fields::top(document);
    let configuration = top(&mut fields)?;
    Ok((configuration, fields.finish()))
}

fn check_kind(document: &Map<String, Value>) -> Result<(), ConfigurationError> {
    let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or("nothing");
    if (text("apiVersion"), text("kind")) == (API_VERSION, KIND) {
        return Ok(());
    }
    Err(ConfigurationError::Kind { found: format!("{}, kind {}", text("apiVersion"), text("kind")) })
}

fn top(fields: &mut Fields) -> Result<ProxyConfiguration, ConfigurationError> {
    let defaults = ProxyConfiguration::default();
    fields.text("apiVersion")?;
    fields.text("kind")?;
    let mode = fields.parsed("mode", |word| word.parse::<ModeChoice>().map_err(|error| error.to_string()))?;
    let node_address = fields.parsed("bindAddress", forms::node_address)?;
    let (health, metrics) = forms::default_listeners(node_address);
    let listener = |default: std::net::SocketAddr| {
        move |text: &str| match text {
            "" => Ok(Some(default)),
            text => forms::listener(text, default.port()),
        }
    };
    let node_name = match fields.text("hostnameOverride")?.as_str() {
        "" => None,
        text => Some(forms::node_name(text).map_err(|problem| fields.wrong("hostnameOverride", problem))?),
    };
    let local_mode = fields.text("detectLocalMode")?;
    let (bridge, prefix) = fields.section("detectLocal", |fields| {
        Ok((fields.text("bridgeInterface")?, fields.text("interfaceNamePrefix")?))
    })?;
    let local = forms::detect_local(&local_mode, &bridge, &prefix)
        .map_err(|problem| fields.wrong("detectLocalMode", problem))?;
    let node_ports = fields.texts("nodePortAddresses")?;
    let node_ports = forms::node_ports(node_ports.iter().map(String::as_str))
        .map_err(|problem| fields.wrong("nodePortAddresses", problem))?;
    let ipvs = fields.section("ipvs", ipvs)?;
    let configuration = ProxyConfiguration {
        mode,
        node_name,
        kubeconfig: fields.section("clientConnection", client_connection)?,
        node_address: node_address.filter(|address| !address.is_unspecified()),
        health: fields.parsed("healthzBindAddress", listener(health))?,
        metrics: fields.parsed("metricsBindAddress", listener(metrics))?,
        must_bind: fields.flag("bindAddressHardFail")?,
        local,
        cluster_ranges: fields.parsed("clusterCIDR", forms::cluster_ranges)?,
        node_ports,
        masquerade_all: masquerade_all(fields, mode)?,
        ipvs,
        conntrack: fields.section("conntrack", conntrack)?,
        oom_score: small(fields.number("oomScoreAdj", -1000..=1000)?).unwrap_or(defaults.oom_score),
        verbosity: fields.section("logging", logging)?,
    };
    fields.ignored(&["winkernel", "windowsRunAsService"], WINDOWS);
    fields.ignored(&["configSyncPeriod"], "watches tell every change; nothing is listed again in periods");
    fields.ignored(
        &["portRange", "udpIdleTimeout"],
        "kube-proxy's own userspace mode is gone, and this had its meaning there",
    );
    fields.ignored(&["featureGates"], "the gates are kube-proxy's own");
    fields.ignored(&["enableProfiling", "showHiddenMetricsForVersion"], "there is no such thing here");
    Ok(configuration)
}

fn client_connection(fields: &mut Fields) -> Result<Option<PathBuf>, ConfigurationError> {
    fields.ignored(&["acceptContentTypes", "contentType", "qps", "burst"], NO_REQUESTS);
    let path = fields.text("kubeconfig")?;
    Ok((!path.is_empty()).then(|| path.into()))
}

fn masquerade_all(fields: &mut Fields, mode: ModeChoice) -> Result<bool, ConfigurationError> {
    let chains = fields.section("iptables", |fields| {
        masquerade_bit(fields)?;
        fields.ignored(&["syncPeriod"], LOOKED_AFTER);
        fields.ignored(&["minSyncPeriod"], AT_ONCE);
        fields.ignored(&["localhostNodePorts"], LOOPBACK);
        fields.ignored(&["snatNodeInternalIP"], "the kernel chooses the address that a connection leaves by");
        fields.flag("masqueradeAll")
    })?;
    let maps = fields.section("nftables", |fields| {
        masquerade_bit(fields)?;
        fields.ignored(&["syncPeriod"], LOOKED_AFTER);
        fields.ignored(&["minSyncPeriod"], AT_ONCE);
        fields.flag("masqueradeAll")
    })?;
    Ok(match mode {
        ModeChoice::This(Mode::Nftables) => maps,
        ModeChoice::This(Mode::Iptables | Mode::Ipvs | Mode::Userspace) => chains,
        ModeChoice::Auto => chains || maps,
    })
}

/// The bit that says "masquerade me" is the one that network plugins know.
fn masquerade_bit(fields: &mut Fields) -> Result<(), ConfigurationError> {
    match fields.number("masqueradeBit", 0..=31)? {
        None | Some(14) => Ok(()),
        Some(other) => {
            Err(fields.wrong("masqueradeBit", format!("{other} cannot be had, the bit is always 14")))
        }
    }
}

fn ipvs(fields: &mut Fields) -> Result<Config, ConfigurationError> {
    fields.ignored(&["syncPeriod"], LOOKED_AFTER);
    fields.ignored(&["minSyncPeriod"], AT_ONCE);
    fields.ignored(&["tcpTimeout", "tcpFinTimeout", "udpTimeout"], IPVS_TIMES);
    let mut exclude = Vec::new();
    for (place, text) in fields.texts("excludeCIDRs")?.iter().enumerate() {
        let range = forms::range(text);
        exclude.push(range.map_err(|problem| fields.wrong(&format!("excludeCIDRs[{place}]"), problem))?);
    }
    Ok(Config {
        scheduler: fields.parsed("scheduler", forms::scheduler)?,
        strict_arp: fields.flag("strictARP")?,
        exclude,
    })
}

fn conntrack(fields: &mut Fields) -> Result<ConntrackSettings, ConfigurationError> {
    let defaults = ConntrackSettings::default();
    let most = i64::from(i32::MAX);
    Ok(ConntrackSettings {
        max_per_core: small(fields.number("maxPerCore", 0..=most)?).unwrap_or(defaults.max_per_core),
        min: small(fields.number("min", 0..=most)?).unwrap_or(defaults.min),
        tcp_established: fields.duration("tcpEstablishedTimeout")?.unwrap_or(defaults.tcp_established),
        tcp_close_wait: fields.duration("tcpCloseWaitTimeout")?.unwrap_or(defaults.tcp_close_wait),
        tcp_be_liberal: fields.flag("tcpBeLiberal")?,
        udp: fields.duration("udpTimeout")?.unwrap_or(defaults.udp),
        udp_stream: fields.duration("udpStreamTimeout")?.unwrap_or(defaults.udp_stream),
    })
}

fn logging(fields: &mut Fields) -> Result<u32, ConfigurationError> {
    fields.ignored(
        &["format", "flushFrequency", "vmodule", "options"],
        "the log is lines of text on standard error",
    );
    Ok(small(fields.number("verbosity", 0..=i64::from(u32::MAX))?).unwrap_or(0))
}

/// A number that its range has made small enough.
fn small<T: TryFrom<i64>>(number: Option<i64>) -> Option<T> {
    number.and_then(|number| T::try_from(number).ok())
}
