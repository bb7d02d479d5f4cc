use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

/// What the controllers must know about the cluster they serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// All pod addresses of the cluster, for example 10.244.0.0/16. Each node gets one piece of it.
    pub pod_cidr: IpNet,
    /// Prefix length of one node's piece: at least the length of `pod_cidr`, at most 30 (IPv4) or 126 (IPv6), and at
    /// most 16 bits longer than it (as kube-controller-manager's `--node-cidr-mask-size`, by default 24).
    pub node_prefix_length: u8,
    /// All cluster IPs, for example 10.96.0.0/12. The Service `kubernetes` holds its first address.
    pub service_cidr: IpNet,
    /// Where pods and nodes reach the API server: the only endpoint of the Service `kubernetes`.
    pub advertise: SocketAddr,
    /// The address of the Service `kube-dns`, whose endpoints are the nodes; `None` leaves that Service to others.
    pub cluster_dns: Option<IpAddr>,
    /// The certificate (PEM) by which pods know the API server; `None` tells them nothing.
    pub root_ca: Option<String>,
    /// How long nodes may be silent.
    pub nodes: NodeTimes,
}

/// How long a node may be silent until it counts as lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeTimes {
    /// Since it last renewed its Lease or its status: kube-controller-manager's `--node-monitor-grace-period`. Several
    /// times the period in which the agents renew, so that one lost renewal says nothing.
    pub grace: Duration,
    /// Since it was first seen, while it has no status yet: `--node-startup-grace-period`.
    pub startup_grace: Duration,
}

impl Default for NodeTimes {
    fn default() -> Self {
        Self { grace: Duration::from_secs(40), startup_grace: Duration::from_secs(60) }
    }
}

/// A [`Config`] that no cluster can be run with.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// A node's piece would not fit the pod range, or would hold too few addresses.
    #[error(
        "node prefix length {length} does not fit the pod range {pod_cidr}: choose one between {shortest} and {longest}"
    )]
    NodePrefixLength {
        /// The cluster's pod range.
        pod_cidr: IpNet,
        /// The refused prefix length.
        length: u8,
        /// The shortest prefix length that fits.
        shortest: u8,
        /// The longest prefix length that fits.
        longest: u8,
    },
    /// The service range has no first address to give to the Service `kubernetes`.
    #[error("the service range {service_cidr} is too small: choose one of at least four addresses")]
    ServiceRange {
        /// The refused range.
        service_cidr: IpNet,
    },
}

/// How many more bits than the pod range a node's piece may have, as in kube-controller-manager
/// (`clusterSubnetMaxDiff`): it bounds the number of pieces to 65,536.
const MOST_PIECE_BITS: u8 = 16;

impl Config {
    /// Refuses ranges that cannot work.
    ///
    /// # Errors
    /// When the node prefix length does not fit the pod range, or the service range holds less than four addresses.
    pub fn check(&self) -> Result<(), ConfigError> {
        let shortest = self.pod_cidr.prefix_len();
        let longest = (self.pod_cidr.max_prefix_len() - 2).min(shortest.saturating_add(MOST_PIECE_BITS));
        if !(shortest..=longest).contains(&self.node_prefix_length) {
            return Err(ConfigError::NodePrefixLength {
                pod_cidr: self.pod_cidr,
                length: self.node_prefix_length,
                shortest,
                longest,
            });
        }
        if self.service_cidr.prefix_len() > self.service_cidr.max_prefix_len() - 2 {
            return Err(ConfigError::ServiceRange { service_cidr: self.service_cidr });
        }
        Ok(())
    }

    /// The address of the Service `kubernetes`: the first after the network address of the service range.
    pub fn kubernetes_address(&self) -> IpAddr {
        match self.service_cidr.network() {
            IpAddr::V4(network) => IpAddr::V4((u32::from(network).wrapping_add(1)).into()),
            IpAddr::V6(network) => IpAddr::V6((u128::from(network).wrapping_add(1)).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pod_cidr: &str, node_prefix_length: u8, service_cidr: &str) -> Config {
        Config {
            pod_cidr: pod_cidr.parse().unwrap(),
            node_prefix_length,
            service_cidr: service_cidr.parse().unwrap(),
            advertise: "10.100.0.254:6443".parse().unwrap(),
            cluster_dns: None,
            root_ca: None,
            nodes: NodeTimes::default(),
        }
    }

    #[test]
    fn the_service_kubernetes_holds_the_first_address() {
        let config = config("10.244.0.0/16", 24, "10.96.0.0/12");
        assert_eq!(config.check(), Ok(()));
        assert_eq!(config.kubernetes_address().to_string(), "10.96.0.1");
    }

    #[test]
    fn pieces_larger_than_the_range_are_refused() {
        let refused = config("10.244.0.0/16", 15, "10.96.0.0/12").check().unwrap_err();
        assert_eq!(
            refused.to_string(),
            "node prefix length 15 does not fit the pod range 10.244.0.0/16: choose one between 16 and 30"
        );
        assert!(config("10.0.0.0/8", 25, "10.96.0.0/12").check().is_err());
        assert!(config("10.244.0.0/16", 31, "10.96.0.0/12").check().is_err());
    }

    #[test]
    fn a_service_range_without_room_is_refused() {
        assert!(config("10.244.0.0/16", 24, "10.96.0.0/31").check().is_err());
    }
}
