use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::NodeName;

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Its own addresses (`InternalIP`), in the object's order.
    pub addresses: Vec<IpAddr>,
    /// The ranges its pods take their addresses from, at most one per family.
    pub pod_ranges: Vec<IpNet>,
    /// The zone named by the label `topology.kubernetes.io/zone`.
    pub zone: Option<Arc<str>>,
}
