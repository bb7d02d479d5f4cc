use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::{AddressFamily, NodeName, Port, Protocol, ServiceKey, SliceKey};

/// An EndpointSlice: part of the endpoints of one Service, all of one address family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Namespace and name of the slice.
    pub key: SliceKey,
    /// The Service named by the label `kubernetes.io/service-name`; a slice without one serves nobody.
    pub service: Option<ServiceKey>,
    /// Family of every address in it.
    pub family: AddressFamily,
    /// The ports that every endpoint of the slice has.
    pub ports: Vec<SlicePort>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// One port of an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicePort {
    /// Name of the service port it belongs to.
    pub name: Arc<str>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The port at the endpoint's own address.
    pub port: Port,
}

/// One endpoint of an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is. The API gives a list; all its entries mean the same, and kube-proxy uses the first.
    pub address: IpAddr,
    /// It takes connections and is not terminating (or the Service publishes it all the same).
    pub ready: bool,
    /// It takes connections, terminating or not.
    pub serving: bool,
    /// Its pod is being deleted.
    pub terminating: bool,
    /// The node it runs on, if it is known.
    pub node: Option<NodeName>,
    /// The zone it runs in, if it is known.
    pub zone: Option<Arc<str>>,
    /// For whom the control plane means it, if it says so.
    pub hints: Option<Box<Hints>>,
}

/// For whom an endpoint is meant, so that traffic stays near (KEP-2433, KEP-3015). Followed only while every ready
/// endpoint of the service port has hints of the same kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    /// Clients in these zones, by `hints.forZones`.
    pub zones: Vec<Arc<str>>,
    /// Clients on these nodes, by `hints.forNodes`.
    pub nodes: Vec<NodeName>,
}

/// Address and port of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointAddress {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: Port,
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(address) => write!(f, "{address}:{}", self.port),
            IpAddr::V6(address) => write!(f, "[{address}]:{}", self.port),
        }
    }
}
