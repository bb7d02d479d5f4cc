//! Ports of the node that pods ask for. Pure.

use k8s_openapi::api::core::v1::{ContainerPort, PodSpec};

/// A port of a node, as a container asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    protocol: String,
    /// Empty for every address of the node.
    address: String,
    port: i32,
}

impl HostPort {
    /// The node's ports that a pod asks for, with its sidecars' (`GetHostPorts`).
    pub(crate) fn of(spec: &PodSpec) -> Vec<Self> {
        let sidecars = spec.init_containers.iter().flatten();
        let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
        let ports =
            spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
        ports.filter_map(Self::parse).collect()
    }

    fn parse(port: &ContainerPort) -> Option<Self> {
        let number = port.host_port.filter(|number| *number > 0)?;
        let address = port.host_ip.clone().filter(|address| address != "0.0.0.0").unwrap_or_default();
        Some(Self {
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            address,
            port: number,
        })
    }

    /// Whether both cannot be on one node.
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        let same_address =
            self.address.is_empty() || other.address.is_empty() || self.address == other.address;
        self.port == other.port && self.protocol == other.protocol && same_address
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ports(ports: serde_json::Value) -> Vec<HostPort> {
        let spec = json!({"containers": [{"name": "c", "ports": ports}], "initContainers": [
            {"name": "sidecar", "restartPolicy": "Always", "ports": [{"containerPort": 1, "hostPort": 9}]},
            {"name": "init", "ports": [{"containerPort": 1, "hostPort": 10}]}]});
        HostPort::of(&serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn one_port_of_one_address_and_protocol_is_for_one() {
        let all = ports(json!([
            {"containerPort": 80, "hostPort": 8080},
            {"containerPort": 80, "hostPort": 8080, "protocol": "UDP"},
            {"containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1"},
            {"containerPort": 80, "hostPort": 8080, "hostIP": "10.100.0.2"},
            {"containerPort": 81}]));
        let conflicts: Vec<_> =
            all.iter().map(|one| all.iter().filter(|other| one.conflicts(other)).count()).collect();
        assert_eq!(conflicts, [3, 1, 2, 2, 1]);
        assert_eq!(all[4].port, 9, "the sidecar's, and not the init container's");
    }
}
