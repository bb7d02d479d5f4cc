//! The node's pod network, put together from the kernel's ports.

use std::path::PathBuf;
use std::sync::Arc;

use ipnet::Ipv4Net;
use kernel::conntrack::Conntrack;
use kernel::link::{Links, Namespaces};
use kernel::nft::Nftables;
use kernel::sysctl::Sysctls;
use netstate::link::LinkName;
use podnet::{FileStore, PodNetwork, Ports};

use crate::pods::ports::Failure;

/// What the pod network of a node is made from.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// The node's range.
    pub range: Ipv4Net,
    /// Destinations that see the pods' own addresses.
    pub non_masquerade: Vec<Ipv4Net>,
    /// Where the addresses given are written down.
    pub addresses: PathBuf,
}

/// The pod network.
#[derive(Debug)]
pub struct HostNetwork;

impl HostNetwork {
    /// Opens and sets up the network of the node whose namespace the caller is in.
    ///
    /// # Errors
    /// When the kernel refuses a step.
    pub fn set_up(config: NetworkConfig) -> Result<Arc<PodNetwork>, Failure> {
        let ports = Ports {
            links: Box::new(Links::in_current().map_err(|error| Failure::of(&error))?),
            namespaces: Box::new(Namespaces),
            settings: Box::new(Sysctls::in_current()),
            conntrack: Box::new(Conntrack::open().map_err(|error| Failure::of(&error))?),
            nft: Box::new(Nftables::open().map_err(|error| Failure::of(&error))?),
            store: Box::new(FileStore::new(config.addresses)),
        };
        let config = podnet::Config {
            range: config.range,
            non_masquerade: config.non_masquerade,
            uplink: LinkName::eth0(),
        };
        let network = PodNetwork::new(config, ports).map_err(|error| Failure::of(&error))?;
        network.setup_node().map_err(|error| Failure::of(&error))?;
        Ok(Arc::new(network))
    }
}
