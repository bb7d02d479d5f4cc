//! What the proxy has to know of its node, and what it sets there.

use std::net::IpAddr;
use std::num::NonZero;

use anyhow::{Context, Result};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use kernel::sysctl::Sysctls;
use netstate::nft::InterfaceName;
use netstate::sysctl::{SysctlKey, SysctlPort};
use proxy::{LocalTraffic, Mode, ModeChoice, NodeContext, NodePortAddresses};
use runtime::configuration::{ConntrackSettings, DetectLocal, NodePortChoice, ProxyConfiguration};

/// The number of buckets of the table of connections, which is the machine's and no namespace's.
const HASH_SIZE: &str = "/sys/module/nf_conntrack/parameters/hashsize";

/// Settings of the node that the proxy asks for; each that cannot be set is said, and costs nothing else.
pub fn set_up(configuration: &ProxyConfiguration) {
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", configuration.oom_score.to_string()) {
        tracing::warn!(score = configuration.oom_score, %error, "oom_score_adj cannot be set");
    }
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let processors = u32::try_from(processors).unwrap_or(u32::MAX);
    for error in set_conntrack(&Sysctls::in_current(), &configuration.conntrack, processors) {
        tracing::warn!("connection tracking keeps a setting of its own: {error}");
    }
    if let Some(most) = configuration.conntrack.max(processors) {
        grow_hash_table(most / 4);
    }
}

/// Returns what could not be set.
fn set_conntrack(port: &dyn SysctlPort, settings: &ConntrackSettings, processors: u32) -> Vec<String> {
    let seconds = |duration: std::time::Duration| duration.as_secs();
    let wanted = [
        ("nf_conntrack_max", settings.max(processors).map_or(0, u64::from)),
        ("nf_conntrack_tcp_timeout_established", seconds(settings.tcp_established)),
        ("nf_conntrack_tcp_timeout_close_wait", seconds(settings.tcp_close_wait)),
        ("nf_conntrack_tcp_be_liberal", u64::from(settings.tcp_be_liberal)),
        ("nf_conntrack_udp_timeout", seconds(settings.udp)),
        ("nf_conntrack_udp_timeout_stream", seconds(settings.udp_stream)),
    ];
    let wanted = wanted.into_iter().filter(|(_, value)| *value > 0);
    wanted.filter_map(|(name, value)| grow(port, name, value).err()).collect()
}

/// Makes a setting at least so large, as kube-proxy does: what an administrator made larger stays.
fn grow(port: &dyn SysctlPort, name: &str, value: u64) -> Result<(), String> {
    let key = SysctlKey::new(format!("net.netfilter.{name}"));
    let now = port.read(&key).map_err(|error| error.to_string())?;
    let now = now.ok_or_else(|| format!("this kernel has no {key}"))?;
    if now.parse().is_ok_and(|now: u64| now >= value) {
        return Ok(());
    }
    tracing::info!(setting = %key, before = %now, after = value, "connection tracking");
    port.write(&key, &value.to_string()).map_err(|error| error.to_string())
}

fn grow_hash_table(buckets: u32) {
    let now = std::fs::read_to_string(HASH_SIZE).ok().and_then(|text| text.trim().parse::<u32>().ok());
    if now.is_some_and(|now| now < buckets)
        && let Err(error) = std::fs::write(HASH_SIZE, buckets.to_string())
    {
        tracing::warn!(setting = HASH_SIZE, wanted = buckets, %error, "connections will share buckets");
    }
}

/// The node as the proxy sees it. Waits for the node's object when the configuration refers to it.
pub async fn context(configuration: &ProxyConfiguration, client: &kube::Client) -> Result<NodeContext> {
    let name = match &configuration.node_name {
        Some(name) => name.clone(),
        None => host_name()?,
    };
    let primary = match &configuration.node_ports {
        NodePortChoice::Primary => true,
        NodePortChoice::Unsaid => configuration.mode == ModeChoice::This(Mode::Nftables),
        NodePortChoice::Ranges(_) => false,
    };
    let by_node_ranges = configuration.local == DetectLocal::NodeRanges;
    let mut own = runtime::NodeFacts::default();
    if primary || by_node_ranges {
        own = runtime::node_facts(client, &name.as_str().into(), |facts| {
            !by_node_ranges || !facts.pod_ranges.is_empty()
        })
        .await;
    }
    let mut addresses = own.addresses;
    if addresses.is_empty() {
        addresses.extend(configuration.node_address);
    }
    Ok(NodeContext {
        node: name.as_str().into(),
        pods: pods(configuration, own.pod_ranges)?,
        masquerade_all: configuration.masquerade_all,
        node_port_addresses: node_port_addresses(&configuration.node_ports, primary, &addresses),
    })
}

fn host_name() -> Result<String> {
    let path = "/proc/sys/kernel/hostname";
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the machine's name from {path}; give --hostname-override"))?;
    runtime::configuration::forms::node_name(&text).map_err(anyhow::Error::msg)
}

fn pods(configuration: &ProxyConfiguration, node_ranges: Vec<IpNet>) -> Result<LocalTraffic> {
    let name = |text: &str| InterfaceName::new(text).with_context(|| format!("'{text}' names no interface"));
    let ranges = |ranges: Vec<IpNet>| match ranges.is_empty() {
        true => LocalTraffic::Unknown,
        false => LocalTraffic::Ranges(ranges),
    };
    Ok(match &configuration.local {
        DetectLocal::ClusterRanges => ranges(configuration.cluster_ranges.clone()),
        DetectLocal::NodeRanges => ranges(node_ranges),
        DetectLocal::Bridge(bridge) => LocalTraffic::Interface(name(bridge)?),
        DetectLocal::InterfacePrefix(prefix) => LocalTraffic::InterfacePrefix(name(prefix)?),
    })
}

/// A family that nobody speaks of is served at all its addresses, as in kube-proxy.
fn node_port_addresses(choice: &NodePortChoice, primary: bool, own: &[IpAddr]) -> NodePortAddresses {
    let mut ranges = match choice {
        NodePortChoice::Ranges(ranges) => ranges.clone(),
        NodePortChoice::Primary | NodePortChoice::Unsaid if primary => {
            let first = |family: fn(&IpAddr) -> bool| own.iter().copied().find(family);
            [first(IpAddr::is_ipv4), first(IpAddr::is_ipv6)].into_iter().flatten().map(IpNet::from).collect()
        }
        NodePortChoice::Primary | NodePortChoice::Unsaid => return NodePortAddresses::All,
    };
    if !ranges.iter().any(|range| matches!(range, IpNet::V4(_))) {
        ranges.push(IpNet::V4(Ipv4Net::default()));
    }
    if !ranges.iter().any(|range| matches!(range, IpNet::V6(_))) {
        ranges.push(IpNet::V6(Ipv6Net::default()));
    }
    let whole = ranges.iter().filter(|range| range.prefix_len() == 0).count();
    if whole >= 2 { NodePortAddresses::All } else { NodePortAddresses::Ranges(ranges) }
}

#[cfg(test)]
mod tests {
    use netstate::sysctl::FakeSysctls;

    use super::*;

    fn ranges(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn settings_only_grow() {
        let port = FakeSysctls::default();
        let key = |name: &str| SysctlKey::new(format!("net.netfilter.{name}"));
        let put = |name, value: &str| port.write(&key(name), value).unwrap();
        put("nf_conntrack_max", "1000");
        put("nf_conntrack_tcp_timeout_established", "432000");
        put("nf_conntrack_udp_timeout", "30");
        let failed = set_conntrack(&port, &ConntrackSettings::default(), 8);
        assert_eq!(failed, ["this kernel has no net.netfilter.nf_conntrack_tcp_timeout_close_wait"]);
        let now = |name| port.read(&key(name)).unwrap().unwrap();
        assert_eq!(now("nf_conntrack_max"), "262144");
        assert_eq!(now("nf_conntrack_tcp_timeout_established"), "432000", "longer than asked for");
        assert_eq!(now("nf_conntrack_udp_timeout"), "30", "nobody asked");
    }

    #[test]
    fn node_ports_are_served_where_kube_proxy_serves_them() {
        let own: Vec<IpAddr> =
            ["10.0.0.7", "10.0.0.8", "fd00::7"].iter().map(|text| text.parse().unwrap()).collect();
        let served = |choice, primary| node_port_addresses(&choice, primary, &own);
        assert_eq!(served(NodePortChoice::Unsaid, false), NodePortAddresses::All);
        let primary = NodePortAddresses::Ranges(ranges(&["10.0.0.7/32", "fd00::7/128"]));
        assert_eq!(served(NodePortChoice::Unsaid, true), primary);
        let chosen = NodePortChoice::Ranges(ranges(&["192.0.2.0/24"]));
        let expected = NodePortAddresses::Ranges(ranges(&["192.0.2.0/24", "::/0"]));
        assert_eq!(served(chosen, false), expected);
        assert_eq!(served(NodePortChoice::Ranges(ranges(&["0.0.0.0/0"])), false), NodePortAddresses::All);
    }
}
