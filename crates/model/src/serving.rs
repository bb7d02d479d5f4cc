use std::collections::BTreeMap;

use crate::{AddressFamily, Endpoint, EndpointAddress, EndpointSlice, NodeName, ServicePort};

/// The endpoints that serve one service port, as one node sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Serving {
    /// Ordered by address and port, each once.
    pub endpoints: Vec<ServingEndpoint>,
}

/// An endpoint that takes new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServingEndpoint {
    /// Where it is.
    pub at: EndpointAddress,
    /// It runs on the node that asks.
    pub local: bool,
}

/// Which endpoints serve a service port for connections that `node` balances.
///
/// The rules are those of kube-proxy's `CategorizeEndpoints`:
///
/// - the slice port with the service port's name and protocol says which port of the endpoint is meant,
///   so that a named target port may differ from pod to pod;
/// - ready endpoints serve;
/// - when there is none, those that terminate but still serve do (KEP-1669), so that a rollout of a
///   Service with one pod loses nothing;
/// - an endpoint found in several slices, which happens while the API moves it from one to another,
///   counts once, with its best condition.
///
/// The answer does not depend on the order of slices.
pub fn serving_endpoints<'a>(
    port: &ServicePort,
    family: AddressFamily,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    node: &NodeName,
) -> Serving {
    let mut ready = BTreeMap::new();
    let mut draining = BTreeMap::new();
    for slice in slices.into_iter().filter(|slice| slice.family == family) {
        let ports = slice
            .ports
            .iter()
            .filter(|candidate| candidate.name == port.name && candidate.protocol == port.protocol);
        for slice_port in ports {
            for endpoint in &slice.endpoints {
                let at = EndpointAddress { address: endpoint.address, port: slice_port.port };
                let local = endpoint.node.as_ref() == Some(node);
                match Condition::of(endpoint) {
                    Condition::Ready => *ready.entry(at).or_insert(false) |= local,
                    Condition::Draining => *draining.entry(at).or_insert(false) |= local,
                    Condition::Out => {}
                }
            }
        }
    }
    let chosen = if ready.is_empty() { draining } else { ready };
    let endpoints = chosen.into_iter().map(|(at, local)| ServingEndpoint { at, local }).collect();
    Serving { endpoints }
}

enum Condition {
    Ready,
    Draining,
    Out,
}

impl Condition {
    fn of(endpoint: &Endpoint) -> Self {
        if endpoint.ready {
            Self::Ready
        } else if endpoint.serving && endpoint.terminating {
            Self::Draining
        } else {
            Self::Out
        }
    }
}

#[cfg(test)]
mod tests;
