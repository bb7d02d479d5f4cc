use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::{AddressFamily, Endpoint, EndpointAddress, EndpointSlice, Hints, NodeName, ServicePort};

/// From where connections are balanced.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The node that balances; endpoints on it are local.
    pub node: &'a NodeName,
    /// The zone it is in, if it is known.
    pub zone: Option<&'a str>,
}

/// The endpoints that serve one service port, as one node sees them. Each list is ordered by address and port and
/// holds each endpoint once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Serving {
    /// For connections that any node's endpoints may serve, those that hints keep away left out.
    pub cluster: Vec<EndpointAddress>,
    /// For connections that only this node's own endpoints may serve.
    pub local: Vec<EndpointAddress>,
    /// Whether anybody serves anywhere. Then connections that find nobody here are dropped, to be tried elsewhere, and
    /// not refused.
    pub anywhere: bool,
    /// Addresses of those in either list that are on this node: they may meet themselves.
    pub here: BTreeSet<IpAddr>,
}

/// Which endpoints serve a service port for connections that are balanced at `place`.
///
/// The rules are those of kube-proxy's `CategorizeEndpoints`:
///
/// - the slice port with the service port's name and protocol says which port of the endpoint is meant,
///   so that a named target port may differ from pod to pod;
/// - ready endpoints serve;
/// - when there is none, those that terminate but still serve do (KEP-1669), so that a rollout of a
///   Service with one pod loses nothing; in the cluster and on the node each for itself;
/// - when every ready endpoint has hints for nodes, and one is for this node, only those for this node serve the
///   cluster's connections; failing that the same with zones (KEP-2433, KEP-3015). Local ones need no hints;
/// - an endpoint found in several slices, which happens while the API moves it from one to another,
///   counts once, with its best condition.
///
/// The answer does not depend on the order of slices.
pub fn serving_endpoints<'a>(
    port: &ServicePort,
    family: AddressFamily,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    place: Place<'_>,
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
                match Condition::of(endpoint) {
                    Condition::Ready => enter(&mut ready, at, endpoint, place),
                    Condition::Draining => enter(&mut draining, at, endpoint, place),
                    Condition::Out => {}
                }
            }
        }
    }
    let on_node = |group: &Group<'_>| -> Vec<EndpointAddress> {
        group.iter().filter(|(_, seen)| seen.local).map(|(at, _)| *at).collect()
    };
    let cluster = if ready.is_empty() { draining.keys().copied().collect() } else { near(&ready, place) };
    let mut local = on_node(&ready);
    if local.is_empty() {
        local = on_node(&draining);
    }
    let is_here = |at: &&EndpointAddress| [&ready, &draining].iter().any(|group| is_local(group, at));
    let here = cluster.iter().chain(&local).filter(is_here).map(|at| at.address).collect();
    Serving { anywhere: !(ready.is_empty() && draining.is_empty()), here, cluster, local }
}

/// Endpoints of one condition.
type Group<'a> = BTreeMap<EndpointAddress, Seen<'a>>;

/// What all slices together say of an endpoint.
struct Seen<'a> {
    local: bool,
    hints: Option<&'a Hints>,
}

fn enter<'a>(group: &mut Group<'a>, at: EndpointAddress, endpoint: &'a Endpoint, place: Place<'_>) {
    let seen = group.entry(at).or_insert(Seen { local: false, hints: None });
    seen.local |= endpoint.node.as_ref() == Some(place.node);
    // Of two slices that differ the first in their order is as good as the other; the API soon removes one.
    seen.hints = seen.hints.or(endpoint.hints.as_deref());
}

fn is_local(group: &Group<'_>, at: &EndpointAddress) -> bool {
    group.get(at).is_some_and(|seen| seen.local)
}

/// Those that hints leave for this place, or all.
fn near(ready: &Group<'_>, place: Place<'_>) -> Vec<EndpointAddress> {
    let for_node = |hints: &Hints| (!hints.nodes.is_empty()).then(|| hints.nodes.contains(place.node));
    let for_zone = |hints: &Hints| {
        let zone = place.zone?;
        (!hints.zones.is_empty()).then(|| hints.zones.iter().any(|candidate| **candidate == *zone))
    };
    hinted(ready, for_node)
        .or_else(|| hinted(ready, for_zone))
        .unwrap_or_else(|| ready.keys().copied().collect())
}

/// Those that are meant for us, when every endpoint says for whom it is and one is for us. `meant` is `None` for
/// an endpoint that does not say.
fn hinted(ready: &Group<'_>, meant: impl Fn(&Hints) -> Option<bool>) -> Option<Vec<EndpointAddress>> {
    let mut ours = Vec::new();
    for (at, seen) in ready {
        if meant(seen.hints?)? {
            ours.push(*at);
        }
    }
    (!ours.is_empty()).then_some(ours)
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
