use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

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
    /// `spec.externalIPs`: addresses that somebody routes to the nodes.
    pub external_addresses: Vec<IpAddr>,
    /// What a load balancer in front of the nodes is for it.
    pub load_balancer: LoadBalancer,
    /// `spec.externalTrafficPolicy`: who serves connections that come in by node ports, external addresses and load
    /// balancers.
    pub external_policy: TrafficPolicy,
    /// `spec.internalTrafficPolicy`: who serves connections to the virtual address.
    pub internal_policy: TrafficPolicy,
    /// `spec.healthCheckNodePort`: where a load balancer asks whether this node has endpoints of the Service.
    pub health_check_port: Option<Port>,
    /// The proxy that the label `service.kubernetes.io/service-proxy-name` hands the Service to;
    /// a Service with one is not ours to serve.
    pub proxy_name: Option<Arc<str>>,
}

impl Service {
    /// A Service of type ClusterIP without addresses and ports: headless.
    pub fn new(key: ServiceKey) -> Self {
        Self {
            key,
            kind: ServiceKind::ClusterIp,
            cluster_addresses: Vec::new(),
            ports: Vec::new(),
            affinity: SessionAffinity::None,
            external_addresses: Vec::new(),
            load_balancer: LoadBalancer::default(),
            external_policy: TrafficPolicy::default(),
            internal_policy: TrafficPolicy::default(),
            health_check_port: None,
            proxy_name: None,
        }
    }

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

/// Which endpoints of a Service a node leads connections to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// Any, wherever they run.
    #[default]
    Cluster,
    /// Only those on the node itself; without any the connection is dropped.
    Local,
}

/// A load balancer in front of the nodes, as far as they must know of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadBalancer {
    /// Its addresses, of `status.loadBalancer.ingress`, under which packets reach the nodes. Not those with `ipMode:
    /// Proxy`, whose packets arrive under the node's own (KEP-1860).
    pub addresses: Vec<IpAddr>,
    /// `spec.loadBalancerSourceRanges`: only clients from there may use these addresses. Empty: everybody.
    pub source_ranges: Arc<[IpNet]>,
}
