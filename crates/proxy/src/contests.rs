use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use model::{Changes, Port, Protocol, Service, ServiceKey, Snapshot};

/// Who claims the node ports, external and load balancer addresses that nobody hands out one by one, kept up service by
/// service. Every mode serves a door that several claim for the first of them in order of names; here is who does not
/// get it.
#[derive(Debug, Default)]
pub struct Contests {
    claims: BTreeMap<Claim, BTreeSet<ServiceKey>>,
    by_service: BTreeMap<ServiceKey, Vec<Claim>>,
}

/// A door that a Service does not get, because another has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contest {
    /// Who does not get it.
    pub service: ServiceKey,
    /// Who has it.
    pub holder: ServiceKey,
    /// The door, in words.
    pub door: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    /// `None`: a port of the node.
    address: Option<IpAddr>,
    protocol: Protocol,
    port: Port,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "{} port {} of {address}", self.protocol, self.port.number()),
            None => write!(f, "{} node port {}", self.protocol, self.port.number()),
        }
    }
}

impl Contests {
    /// Takes in what changed, and says which contests are about it.
    pub fn update(&mut self, snapshot: &Snapshot<'_>, changes: &Changes) -> Vec<Contest> {
        let touched: BTreeSet<Claim> = match changes {
            Changes::Everything => {
                *self = Self::default();
                snapshot.services().flat_map(|service| self.put(&service.key, Some(service))).collect()
            }
            Changes::Services(keys) => {
                keys.iter().flat_map(|key| self.put(key, snapshot.service(key))).collect()
            }
        };
        touched.into_iter().flat_map(|claim| self.losers(claim)).collect()
    }

    /// Returns the claims that the Service had or has.
    fn put(&mut self, key: &ServiceKey, service: Option<&Service>) -> Vec<Claim> {
        let mut touched = self.by_service.remove(key).unwrap_or_default();
        for claim in &touched {
            if let Some(claimants) = self.claims.get_mut(claim) {
                claimants.remove(key);
                if claimants.is_empty() {
                    self.claims.remove(claim);
                }
            }
        }
        let claims = service.filter(|service| service.is_proxied()).map(claims).unwrap_or_default();
        for claim in &claims {
            self.claims.entry(*claim).or_default().insert(key.clone());
        }
        touched.extend(&claims);
        if !claims.is_empty() {
            self.by_service.insert(key.clone(), claims);
        }
        touched
    }

    fn losers(&self, claim: Claim) -> Vec<Contest> {
        let mut claimants = self.claims.get(&claim).into_iter().flatten();
        let Some(holder) = claimants.next() else {
            return Vec::new();
        };
        let contest = |service: &ServiceKey| Contest {
            service: service.clone(),
            holder: holder.clone(),
            door: claim.to_string(),
        };
        claimants.map(contest).collect()
    }
}

fn claims(service: &Service) -> Vec<Claim> {
    let addresses = || service.external_addresses.iter().chain(&service.load_balancer.addresses);
    let of_port = |port: &model::ServicePort| {
        let (protocol, number) = (port.protocol, port.port);
        let at = move |address: &IpAddr| Claim { address: Some(*address), protocol, port: number };
        let node = port.node_port.map(|port| Claim { address: None, protocol, port });
        addresses().map(at).chain(node).collect::<Vec<_>>()
    };
    service.ports.iter().flat_map(of_port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Cluster, service};
    use model::{Index, Object, ObjectKey};

    fn node_port(service: &mut Service) {
        service.ports[0].node_port = Port::try_from(30_000).ok();
    }

    fn told(contests: &mut Contests, index: &mut Index) -> Vec<String> {
        let changes = index.take_changes();
        let told = contests.update(&index.snapshot().unwrap(), &changes);
        told.iter().map(|one| format!("{} has {} of {}", one.holder, one.door, one.service)).collect()
    }

    #[test]
    fn the_first_in_order_of_names_has_it() {
        let cluster = Cluster::new()
            .service("b", "10.96.0.2", node_port)
            .service("a", "10.96.0.1", node_port)
            .service("c", "10.96.0.3", |_| {});
        let (mut index, mut contests) = (cluster.index(), Contests::default());
        assert_eq!(told(&mut contests, &mut index), ["default/a has tcp node port 30000 of default/b"]);
        index.delete(&ObjectKey::Service(ServiceKey::new("default", "a")));
        assert!(told(&mut contests, &mut index).is_empty());
        index.apply(Object::Service(service("c", "10.96.0.3", node_port)));
        assert_eq!(told(&mut contests, &mut index), ["default/b has tcp node port 30000 of default/c"]);
    }

    #[test]
    fn addresses_are_contested_port_by_port() {
        let external = |port: i64| {
            move |service: &mut Service| {
                service.external_addresses = vec!["192.0.2.1".parse().unwrap()];
                service.ports[0].port = Port::try_from(port).unwrap();
            }
        };
        let cluster = Cluster::new()
            .service("a", "10.96.0.1", external(80))
            .service("b", "10.96.0.2", external(81))
            .service("c", "10.96.0.3", external(80));
        let told = told(&mut Contests::default(), &mut cluster.index());
        assert_eq!(told, ["default/a has tcp port 80 of 192.0.2.1 of default/c"]);
    }
}
