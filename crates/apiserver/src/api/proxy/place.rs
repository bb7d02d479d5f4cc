//! Where a proxied request goes: pure.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use crate::status::Status;

/// What the path asks for: `NAME`, `NAME:PORT` or `SCHEME:NAME:PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    /// All of it, for messages.
    pub(super) whole: &'a str,
    /// Speak TLS.
    pub(super) secure: bool,
    /// The pod or service.
    pub(super) name: &'a str,
    /// A number or a name; empty for what the object suggests.
    pub(super) port: &'a str,
}

/// An address to connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) secure: bool,
    pub(super) address: SocketAddr,
}

impl<'a> Asked<'a> {
    /// Reads what stands in the path in place of a name; `kind` is for the message (`utilnet.SplitSchemeNamePort`).
    pub(super) fn parse(kind: &str, whole: &'a str) -> Result<Self, Status> {
        let parts: Vec<&str> = whole.split(':').collect();
        let (scheme, name, port) = match *parts.as_slice() {
            [name] => ("", name, ""),
            [name, port] => ("", name, port),
            [scheme, name, port] => (scheme, name, port),
            _ => ("", "", ""),
        };
        if name.is_empty() || !matches!(scheme, "" | "http" | "https") {
            return Err(Status::bad_request(format!("invalid {kind} request {whole:?}")));
        }
        Ok(Self { whole, secure: scheme == "https", name, port })
    }

    fn place(&self, address: &str, port: u16) -> Result<Place, Status> {
        // Loopback, link-local and the like are the server's own neighbourhood.
        match address.parse::<IpAddr>() {
            Ok(ip) if is_global_unicast(ip) => {
                Ok(Place { secure: self.secure, address: SocketAddr::new(ip, port) })
            }
            _ => Err(Status::bad_request("address not allowed")),
        }
    }
}

/// A pod's address; without a port the first that its containers name, then the scheme's.
pub(super) fn of_pod(asked: &Asked<'_>, pod: &Value) -> Result<Place, Status> {
    let port = match asked.port {
        "" => first_port(pod).unwrap_or(if asked.secure { 443 } else { 80 }),
        text => text.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
            Status::bad_request(format!("invalid pod request {:?}: {text:?} is no port number", asked.whole))
        })?,
    };
    asked.place(pod.pointer("/status/podIP").and_then(Value::as_str).unwrap_or_default(), port)
}

fn first_port(pod: &Value) -> Option<u16> {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let mut ports = containers.filter_map(|container| container.pointer("/ports/0/containerPort"));
    ports.next().and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok())
}

/// The name of the service's port of that number; the empty one where a single port has none.
pub(super) fn port_name(service: &Value, name: &str, number: u16) -> Result<String, Status> {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
    let mut found = ports.filter(|port| port["port"].as_u64() == Some(u64::from(number)));
    let port = found
        .next()
        .ok_or_else(|| Status::unavailable(format!("no service port {number} found for service {name:?}")))?;
    Ok(port["name"].as_str().unwrap_or_default().to_owned())
}

/// One ready address of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate<'a> {
    address: &'a str,
    port: u16,
    target: Option<(&'a str, &'a str)>,
}

/// The ready addresses that have a port of this name.
pub(super) fn candidates<'a>(endpoints: &'a Value, port: &str) -> Vec<Candidate<'a>> {
    let mut out = Vec::new();
    for subset in list(endpoints, "subsets") {
        let mut ports = list(subset, "ports");
        let Some(found) = ports.find(|found| found["name"].as_str().unwrap_or_default() == port) else {
            continue;
        };
        let Some(port) = found["port"].as_u64().and_then(|port| u16::try_from(port).ok()) else { continue };
        out.extend(list(subset, "addresses").map(|address| {
            Candidate {
                address: address["ip"].as_str().unwrap_or_default(),
                port,
                target: address
                    .pointer("/targetRef/namespace")
                    .and_then(Value::as_str)
                    .zip(address.pointer("/targetRef/name").and_then(Value::as_str)),
            }
        }));
    }
    out
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

impl<'a> Candidate<'a> {
    /// The pod that the address is said to be of, when it is one of this namespace.
    pub(super) fn pod(&self, namespace: &str) -> Option<&'a str> {
        self.target.filter(|(own, _)| *own == namespace).map(|(_, name)| name)
    }

    /// Whether the pod really has the address.
    pub(super) fn belongs_to(&self, pod: &Value) -> bool {
        let all = pod.pointer("/status/podIPs").and_then(Value::as_array).into_iter().flatten();
        let mut addresses = all.filter_map(|entry| entry["ip"].as_str());
        addresses.any(|address| address == self.address)
            || pod.pointer("/status/podIP").and_then(Value::as_str) == Some(self.address)
    }

    pub(super) fn place(&self, asked: &Asked<'_>) -> Result<Place, Status> {
        asked.place(self.address, self.port)
    }
}

/// 503, in Kubernetes' words.
pub(super) fn no_endpoints(service: &str) -> Status {
    Status::unavailable(format!("no endpoints available for service {service:?}"))
}

/// The path without `.`, `..` and empty segments (Go's `path.Join`); a slash at its end stays. Never empty.
pub(super) fn cleaned(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => _ = segments.pop(),
            other => segments.push(other),
        }
    }
    let mut out = format!("/{}", segments.join("/"));
    if path.ends_with('/') && !segments.is_empty() {
        out.push('/');
    }
    out
}

/// As Go's `IP.IsGlobalUnicast`, of addresses that also have no meaning beyond one machine or link.
fn is_global_unicast(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !link_local && !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast()
}
