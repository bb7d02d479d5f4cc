use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::{AddressFamily, Port, Protocol, ServiceKey, ServicePortName};

/// A Service as far as the network of a node is concerned with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub key: ServiceKey,
    /// What kind of door it opens.
    pub kind: ServiceKind,
    /// Its virtual addresses, at most one per family; empty for a headless Service.
    pub cluster_addresses: Vec<IpAddr>,
    /// Its ports, in the object's order.
    pub ports: Vec<ServicePort>,
    /// Whether a client stays with its endpoint.
    pub affinity: SessionAffinity,
    /// The proxy that the label `service.kubernetes.io/service-proxy-name` hands the Service to;
    /// a Service with one is not ours to serve.
    pub proxy_name: Option<Arc<str>>,
}

impl Service {
    /// Whether this proxy serves the Service at all.
    ///
    /// Not so when it has no virtual address (headless, ExternalName) or when another proxy was asked
    /// to.
    pub fn is_proxied(&self) -> bool {
        self.proxy_name.is_none()
            && !self.cluster_addresses.is_empty()
            && !matches!(self.kind, ServiceKind::ExternalName(_))
    }

    /// Its virtual address of one family.
    pub fn cluster_address(&self, family: AddressFamily) -> Option<IpAddr> {
        self.cluster_addresses.iter().copied().find(|address| AddressFamily::of(*address) == family)
    }

    /// The full name of one of its ports.
    pub fn port_name(&self, port: &ServicePort) -> ServicePortName {
        ServicePortName { service: self.key.clone(), port: port.name.clone() }
    }
}

/// `spec.type`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceKind {
    /// A virtual address inside the cluster, or none when headless.
    ClusterIp,
    /// Also a port on every node.
    NodePort,
    /// Also an address from a load balancer.
    LoadBalancer,
    /// Only a name for another name, for DNS.
    ExternalName(Arc<str>),
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name, empty when the Service's only port has none. An [`crate::EndpointSlice`] says under
    /// the same name which port of the endpoints it leads to, whatever the target port was called.
    pub name: Arc<str>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The port at the virtual address.
    pub port: Port,
    /// The port on every node, if there is one.
    pub node_port: Option<Port>,
}

/// `spec.sessionAffinity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionAffinity {
    /// Every connection is balanced anew.
    None,
    /// A client address stays with its endpoint until it has been silent for `timeout`.
    ClientAddress {
        /// 1 second to 1 day, 3 hours when the Service does not say.
        timeout: Duration,
    },
}
