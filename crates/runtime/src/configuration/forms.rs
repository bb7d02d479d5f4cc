//! The forms that values have, in the file and in flags alike. Errors say what a value should look like.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use proxy::ipvs::Scheduler;

use super::{DetectLocal, NodePortChoice, ProxyConfiguration, loopback_beside};

/// The longest name of an interface, in bytes (`IFNAMSIZ` without its zero).
const LONGEST_INTERFACE: usize = 15;

/// Where health and metrics are served when nobody says, by the node's address.
pub fn default_listeners(node_address: Option<IpAddr>) -> (SocketAddr, SocketAddr) {
    let unspecified: IpAddr = match node_address {
        Some(IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        Some(IpAddr::V4(_)) | None => Ipv4Addr::UNSPECIFIED.into(),
    };
    (
        SocketAddr::new(unspecified, ProxyConfiguration::HEALTH_PORT),
        SocketAddr::new(loopback_beside(unspecified), ProxyConfiguration::METRICS_PORT),
    )
}

/// A duration as Go writes it: `1h30m`, `250ms`, `0`.
///
/// # Errors
/// What is wrong with it.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no duration such as 30s, 1m or 24h0m0s");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.starts_with('-') {
        return Err(format!("'{text}' is less than nothing"));
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut nanoseconds: f64 = 0.0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits =
            rest.find(|letter: char| !(letter.is_ascii_digit() || letter == '.')).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let end = tail.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        nanoseconds += number
            * match unit {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return Err(wrong()),
            };
        rest = tail;
    }
    // Go's own limit, some 292 years.
    if nanoseconds > 9.2e18 {
        return Err(format!("'{text}' is too long"));
    }
    Duration::try_from_secs_f64(nanoseconds / 1e9).map_err(|_| wrong())
}

/// An address to listen at: `ADDRESS:PORT`, or an address alone. `None` for the empty text.
///
/// # Errors
/// What is wrong with it.
pub fn listener(text: &str, port: u16) -> Result<Option<SocketAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(Some(SocketAddr::new(address, port)));
    }
    let parsed: SocketAddr =
        text.parse().map_err(|_| format!("'{text}' is no address such as 0.0.0.0:{port} or [::]:{port}"))?;
    // As with kube-proxy, port 0 means that nothing is served.
    Ok((parsed.port() != 0).then_some(parsed))
}

/// The node's own address; `None` for one that says nothing.
///
/// # Errors
/// What is wrong with it.
pub fn node_address(text: &str) -> Result<Option<IpAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let address: IpAddr = text.parse().map_err(|_| format!("'{text}' is no address"))?;
    Ok(Some(address))
}

/// A range of addresses.
///
/// # Errors
/// What is wrong with it.
pub fn range(text: &str) -> Result<IpNet, String> {
    text.trim().parse().map_err(|_| format!("'{text}' is no range such as 10.244.0.0/16"))
}

/// The ranges of the cluster's pods: one, or one of each family with a comma between.
///
/// # Errors
/// What is wrong with them.
pub fn cluster_ranges(text: &str) -> Result<Vec<IpNet>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let ranges = text.split(',').map(range).collect::<Result<Vec<_>, _>>()?;
    match ranges.as_slice() {
        [_] | [IpNet::V4(_), IpNet::V6(_)] | [IpNet::V6(_), IpNet::V4(_)] => Ok(ranges),
        _ => Err(format!("'{text}': there may be one range, or one of each address family")),
    }
}

/// `nodePortAddresses`: nothing, `primary`, or ranges.
///
/// # Errors
/// What is wrong with them.
pub fn node_ports<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<NodePortChoice, String> {
    let words: Vec<&str> = words.into_iter().collect();
    match words.as_slice() {
        [] | [""] => Ok(NodePortChoice::Unsaid),
        ["primary"] => Ok(NodePortChoice::Primary),
        words if words.contains(&"primary") => {
            Err("'primary' stands alone, without ranges beside it".to_owned())
        }
        ranges => Ok(NodePortChoice::Ranges(ranges.iter().copied().map(range).collect::<Result<_, _>>()?)),
    }
}

/// `detectLocalMode` with what it needs.
///
/// # Errors
/// What is wrong with it, or what is missing.
pub fn detect_local(mode: &str, bridge: &str, prefix: &str) -> Result<DetectLocal, String> {
    match mode {
        "" | "ClusterCIDR" => Ok(DetectLocal::ClusterRanges),
        "NodeCIDR" => Ok(DetectLocal::NodeRanges),
        "BridgeInterface" => Ok(DetectLocal::Bridge(interface("the bridge's name", bridge)?)),
        "InterfaceNamePrefix" => {
            Ok(DetectLocal::InterfacePrefix(interface("the prefix of the interfaces' names", prefix)?))
        }
        other => Err(format!(
            "'{other}' is none of ClusterCIDR, NodeCIDR, BridgeInterface and InterfaceNamePrefix"
        )),
    }
}

fn interface(what: &str, name: &str) -> Result<String, String> {
    let fits = |letter: char| letter.is_ascii_graphic() && letter != '/';
    match name {
        "" => Err(format!("{what} must be given as well")),
        name if name.len() > LONGEST_INTERFACE => {
            Err(format!("{what}, '{name}', is longer than {LONGEST_INTERFACE} characters"))
        }
        name if name.chars().all(fits) => Ok(name.to_owned()),
        name => Err(format!("{what}, '{name}', is no name of an interface")),
    }
}

/// A scheduler of the kernel's load balancer; round robin for the empty text.
///
/// # Errors
/// What is wrong with it.
pub fn scheduler(text: &str) -> Result<Scheduler, String> {
    if text.is_empty() {
        return Ok(Scheduler::ROUND_ROBIN);
    }
    Scheduler::parse(text).map_err(|error| error.to_string())
}

/// A node's name, as the API has it: in small letters, without white space around it.
///
/// # Errors
/// What is wrong with it.
pub fn node_name(text: &str) -> Result<String, String> {
    let name = text.trim().to_lowercase();
    if name.is_empty() { Err("a node has a name".to_owned()) } else { Ok(name) }
}
