//! Ports of the node that containers ask for.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1 as core;
use netstate::nft::L4Protocol;
use podnet::HostPort;

/// Those of a pod with its own network; sidecars have some too, other init containers do not (`GetHostPorts`).
///
/// # Errors
/// Which port cannot be had, in words for the pod's user.
pub(super) fn parse_all(spec: &core::PodSpec) -> Result<Vec<HostPort>, String> {
    if spec.host_network == Some(true) {
        return Ok(Vec::new());
    }
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    ports.filter_map(|port| parse(port).transpose()).collect()
}

fn parse(port: &core::ContainerPort) -> Result<Option<HostPort>, String> {
    let number = |number: i32| u16::try_from(number).ok().filter(|number| *number > 0);
    let Some(host_port) = port.host_port.and_then(number) else { return Ok(None) };
    let protocol = match port.protocol.as_deref() {
        None | Some("TCP") => L4Protocol::TCP,
        Some("UDP") => L4Protocol::UDP,
        Some("SCTP") => L4Protocol::SCTP,
        Some(other) => return Err(format!("hostPort {host_port}: there is no protocol {other:?}")),
    };
    let address = match port.host_ip.as_deref() {
        None | Some("" | "0.0.0.0") => None,
        Some(text) => Some(text.parse::<Ipv4Addr>().map_err(|_| {
            format!("hostPort {host_port}: hostIP {text:?} is not an IPv4 address, and nodes have no others")
        })?),
    };
    let Some(pod_port) = number(port.container_port) else { return Ok(None) };
    Ok(Some(HostPort { protocol, address, port: host_port, pod_port }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parsed(host_network: bool, port: Value) -> Result<Vec<HostPort>, String> {
        let spec = json!({"hostNetwork": host_network, "containers": [{"name": "c", "ports": [port]}]});
        parse_all(&serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn ports_of_the_node_are_read_or_refused() {
        let one = parsed(
            false,
            json!({"containerPort": 80, "hostPort": 8080, "protocol": "UDP", "hostIP": "10.100.0.2"}),
        );
        let address = Some("10.100.0.2".parse().unwrap());
        assert_eq!(one, Ok(vec![HostPort { protocol: L4Protocol::UDP, address, port: 8080, pod_port: 80 }]));
        assert_eq!(parsed(false, json!({"containerPort": 80})), Ok(Vec::new()));
        assert_eq!(parsed(true, json!({"containerPort": 80, "hostPort": 80})), Ok(Vec::new()));
        let refused = parsed(false, json!({"containerPort": 80, "hostPort": 8080, "hostIP": "fd00::1"}));
        assert!(refused.unwrap_err().contains("is not an IPv4 address"));
    }
}
