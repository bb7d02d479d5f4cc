use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use model::{
    AddressFamily, Changes, NodeName, Place, Port, Service, ServiceKey, ServicePort, Snapshot, TrafficPolicy,
    serving_endpoints,
};

/// What a node has to tell of Services whose connections stay on it, kept up service by service.
#[derive(Debug, Default)]
pub struct LocalServices {
    facts: BTreeMap<ServiceKey, Facts>,
}

/// What a load balancer asks a node about a Service (`spec.healthCheckNodePort`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthCheck {
    /// Where it asks.
    pub port: Port,
    /// How many endpoints are ready on the node.
    pub local_endpoints: usize,
}

/// Service ports whose connections stay on the node, which has no endpoint for them while others have: the node
/// drops them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WithoutLocalEndpoints {
    /// By `internalTrafficPolicy: Local`.
    pub internal: usize,
    /// By `externalTrafficPolicy: Local`.
    pub external: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Facts {
    health_check: Option<HealthCheck>,
    missing: WithoutLocalEndpoints,
}

impl LocalServices {
    /// Looks again at what changed. Says whether anything is to be told differently.
    pub fn update(&mut self, snapshot: &Snapshot<'_>, changes: &Changes, node: &NodeName) -> bool {
        match changes {
            Changes::Everything => {
                let facts = snapshot.services().filter_map(|service| {
                    let facts = Facts::of(snapshot, service, node)?;
                    Some((service.key.clone(), facts))
                });
                let before = std::mem::replace(&mut self.facts, facts.collect());
                before != self.facts
            }
            Changes::Services(keys) => {
                let look_at = |changed, key| changed | self.look_at(snapshot, key, node);
                keys.iter().fold(false, look_at)
            }
        }
    }

    /// What load balancers ask about, by Service.
    pub fn health_checks(&self) -> BTreeMap<ServiceKey, HealthCheck> {
        self.facts.iter().filter_map(|(key, facts)| Some((key.clone(), facts.health_check?))).collect()
    }

    /// How many service ports serve nobody here.
    pub fn without_endpoints(&self) -> WithoutLocalEndpoints {
        self.facts.values().fold(WithoutLocalEndpoints::default(), |sum, facts| WithoutLocalEndpoints {
            internal: sum.internal + facts.missing.internal,
            external: sum.external + facts.missing.external,
        })
    }

    fn look_at(&mut self, snapshot: &Snapshot<'_>, key: &ServiceKey, node: &NodeName) -> bool {
        let facts = snapshot.service(key).and_then(|service| Facts::of(snapshot, service, node));
        let before = match facts {
            Some(facts) => self.facts.insert(key.clone(), facts),
            None => self.facts.remove(key),
        };
        before != facts
    }
}

impl Facts {
    /// `None` for a Service with nothing to tell.
    fn of(snapshot: &Snapshot<'_>, service: &Service, node: &NodeName) -> Option<Self> {
        let internal = service.internal_policy == TrafficPolicy::Local;
        let external = service.external_policy == TrafficPolicy::Local;
        if !service.is_proxied() || !(internal || external) {
            return None;
        }
        let lonely = service.ports.iter().filter(|port| is_lonely(snapshot, service, port, node)).count();
        let health_check = service.health_check_port.filter(|_| external);
        Some(Self {
            health_check: health_check
                .map(|port| HealthCheck { port, local_endpoints: local_endpoints(snapshot, service, node) }),
            missing: WithoutLocalEndpoints {
                internal: if internal { lonely } else { 0 },
                external: if external { lonely } else { 0 },
            },
        })
    }
}

/// Whether others have endpoints of the port, and the node has none, in some family that the Service has.
fn is_lonely(snapshot: &Snapshot<'_>, service: &Service, port: &ServicePort, node: &NodeName) -> bool {
    service.cluster_addresses.iter().any(|address| {
        let place = Place { node, zone: None };
        let family = AddressFamily::of(*address);
        let serving = serving_endpoints(port, family, snapshot.slices(&service.key), place);
        serving.anywhere && serving.local.is_empty()
    })
}

/// Ready ones of the Service's first family: a pod with two addresses counts once. Those that terminate do not
/// count, whether or not they still serve, so that load balancers turn away in time.
fn local_endpoints(snapshot: &Snapshot<'_>, service: &Service, node: &NodeName) -> usize {
    let family = service.cluster_addresses.first().map(|address| AddressFamily::of(*address));
    let slices = snapshot.slices(&service.key);
    let addresses: BTreeSet<IpAddr> = slices
        .filter(|slice| Some(slice.family) == family && !slice.ports.is_empty())
        .flat_map(|slice| &slice.endpoints)
        .filter(|endpoint| endpoint.ready && endpoint.node.as_ref() == Some(node))
        .map(|endpoint| endpoint.address)
        .collect();
    addresses.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Cluster, slice};
    use model::{Index, Object};

    fn cluster() -> Cluster {
        Cluster::new()
            .service("a", "10.96.0.1", |service| {
                service.external_policy = TrafficPolicy::Local;
                service.health_check_port = Port::try_from(31_000).ok();
            })
            .endpoints("a", &["10.244.1.2", "10.244.1.3", "10.244.2.2"])
            .service("b", "10.96.0.2", |service| service.internal_policy = TrafficPolicy::Local)
            .endpoints("b", &["10.244.2.3"])
            .service("c", "10.96.0.3", |_| {})
            .endpoints("c", &["10.244.2.4"])
    }

    fn told(index: &Index, node: &str) -> (Vec<usize>, WithoutLocalEndpoints) {
        let mut local = LocalServices::default();
        local.update(&index.snapshot().unwrap(), &Changes::Everything, &node.into());
        let checks = local.health_checks().values().map(|check| check.local_endpoints).collect();
        (checks, local.without_endpoints())
    }

    #[test]
    fn a_node_tells_of_its_own_endpoints() {
        let index = cluster().index();
        assert_eq!(told(&index, "node1"), (vec![2], WithoutLocalEndpoints { internal: 1, external: 0 }));
        assert_eq!(told(&index, "node2"), (vec![1], WithoutLocalEndpoints::default()));
        assert_eq!(told(&index, "node3"), (vec![0], WithoutLocalEndpoints { internal: 1, external: 1 }));
    }

    #[test]
    fn endpoints_that_terminate_do_not_count_and_nobody_anywhere_is_no_miss() {
        let mut index = cluster().index();
        let mut leaving = slice("a", &["10.244.1.2", "10.244.1.3"]);
        for endpoint in &mut leaving.endpoints {
            (endpoint.ready, endpoint.serving, endpoint.terminating) = (false, true, true);
        }
        index.apply(Object::EndpointSlice(leaving));
        index.apply(Object::EndpointSlice(slice("b", &[])));
        assert_eq!(told(&index, "node1"), (vec![0], WithoutLocalEndpoints::default()));
    }

    #[test]
    fn a_change_is_told_and_nothing_else() {
        let (mut index, mut local) = (cluster().index(), LocalServices::default());
        let node = NodeName::from("node1");
        assert!(local.update(&index.snapshot().unwrap(), &Changes::Everything, &node));
        index.take_changes();
        index.apply(Object::EndpointSlice(slice("c", &["10.244.1.9"])));
        let changes = index.take_changes();
        assert!(!local.update(&index.snapshot().unwrap(), &changes, &node), "nobody asks about c");
        index.apply(Object::EndpointSlice(slice("a", &["10.244.1.2"])));
        let changes = index.take_changes();
        assert!(local.update(&index.snapshot().unwrap(), &changes, &node));
        assert_eq!(local.health_checks().values().next().unwrap().local_endpoints, 1);
    }
}
