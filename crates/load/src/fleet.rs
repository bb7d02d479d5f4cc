//! A number of Services with a number of endpoints each, as clusters have them.
//!
//! Services have no selector, so that no controller writes their EndpointSlices but who made them. Nothing else is
//! needed: no Pod stands behind an endpoint, and no Node below it.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::objects::{labels, namespace};

/// Most endpoints in a slice: what Kubernetes' own controller puts into one.
const SLICE: u32 = 100;
/// One Service in so many has a node port, and at most that many have.
const NODE_PORT_EVERY: u32 = 20;
const NODE_PORTS: u32 = 1_800;
/// The node ports that Services have from the start.
const FIRST_NODE_PORT: u16 = 30_000;

/// A port of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetPort {
    /// Its name.
    pub name: &'static str,
    /// TCP or UDP, as Kubernetes writes it.
    pub protocol: &'static str,
    /// At the cluster IP.
    pub port: u16,
    /// At the pods.
    pub target: u16,
}

const HTTP: FleetPort = FleetPort { name: "http", protocol: "TCP", port: 80, target: 8080 };
const METRICS: FleetPort = FleetPort { name: "metrics", protocol: "TCP", port: 9090, target: 9090 };
const DNS: FleetPort = FleetPort { name: "dns", protocol: "UDP", port: 53, target: 5353 };

/// The endpoints of a cluster are within this range, and those that a change brings as well.
pub const POD_RANGE: &str = "10.128.0.0/9";
const FIRST_POD: u32 = 0x0a80_0002;
const FIRST_NEW_POD: u32 = 0x0ac0_0002;
/// How many addresses each of the two halves has.
const PODS: u32 = 0x003f_ff00;

/// How many Services, and how many endpoints each has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fleet {
    /// Services, numbered from 0.
    pub services: u32,
    /// Endpoints of each.
    pub endpoints: u32,
}

/// What a proxy is to make of a [`Fleet`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Doors {
    /// Ports of cluster IPs.
    pub services: usize,
    /// Endpoints behind them.
    pub endpoints: usize,
    /// Ports of nodes.
    pub node_ports: usize,
    /// Endpoints behind these.
    pub node_endpoints: usize,
}

impl Fleet {
    /// A Service's name: `payments-gateway-1042`.
    #[must_use]
    pub fn name(number: u32) -> String {
        const WHOSE: [&str; 8] =
            ["checkout", "payments", "catalog", "search", "orders", "inventory", "shipping", "identity"];
        const WHAT: [&str; 5] = ["api", "web", "worker", "cache", "gateway"];
        let word =
            |words: &[&'static str], number: u32| -> &'static str { words[number as usize % words.len()] };
        format!("{}-{}-{number}", word(&WHOSE, number), word(&WHAT, number / 8))
    }

    /// A Service's ports: one in ten has a second one, and one in fifty speaks UDP too.
    #[must_use]
    pub fn ports(number: u32) -> Vec<FleetPort> {
        let mut ports = vec![HTTP];
        ports.extend((number % 10 == 3).then_some(METRICS));
        ports.extend((number % 50 == 9).then_some(DNS));
        ports
    }

    /// The port of the node at which the first port of a Service is from the start.
    #[must_use]
    pub fn node_port(number: u32) -> Option<u16> {
        let turn = number / NODE_PORT_EVERY;
        let has = number % NODE_PORT_EVERY == 7 && turn < NODE_PORTS;
        has.then(|| FIRST_NODE_PORT + u16::try_from(turn).unwrap_or_default())
    }

    /// A node port that no Service has from the start: `number` may be up to 967.
    #[must_use]
    pub fn free_node_port(number: u32) -> u16 {
        const FIRST_FREE: u32 = 31_800;
        u16::try_from(FIRST_FREE + number % (32_768 - FIRST_FREE)).unwrap_or(u16::MAX)
    }

    /// A Service. The server chooses its address.
    #[must_use]
    pub fn service(self, number: u32) -> Value {
        let node_port = Self::node_port(number);
        let ports: Vec<Value> = Self::ports(number)
            .into_iter()
            .enumerate()
            .map(|(index, FleetPort { name, protocol, port, target })| {
                let mut value =
                    json!({"name": name, "protocol": protocol, "port": port, "targetPort": target});
                if let (0, Some(node_port)) = (index, node_port) {
                    value["nodePort"] = node_port.into();
                }
                value
            })
            .collect();
        let kind = if node_port.is_some() { "NodePort" } else { "ClusterIP" };
        let spec = match Self::ports(number).len() {
            // A second port of such a Service would get a node port of the server's choice.
            2.. if node_port.is_some() => json!({"type": kind, "ports": ports[..1]}),
            _ => json!({"type": kind, "ports": ports}),
        };
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": Self::name(number), "namespace": namespace(number), "labels": labels(number)},
            "spec": spec,
        })
    }

    /// The EndpointSlices of a Service: one for each hundred endpoints.
    #[must_use]
    pub fn slices(self, number: u32) -> Vec<Value> {
        (0..self.endpoints.div_ceil(SLICE)).map(|slice| self.slice(number, slice)).collect()
    }

    fn slice(self, number: u32, slice: u32) -> Value {
        let mut labels = labels(number);
        labels["kubernetes.io/service-name"] = Self::name(number).into();
        labels["endpointslice.kubernetes.io/managed-by"] = "load".into();
        let endpoints = slice * SLICE..((slice + 1) * SLICE).min(self.endpoints);
        let endpoints: Vec<Value> = endpoints.map(|endpoint| self.endpoint(number, endpoint)).collect();
        let ports: Vec<Value> = Self::ports(number)
            .into_iter()
            .map(|FleetPort { name, protocol, target, .. }| {
                json!({"name": name, "port": target, "protocol": protocol})
            })
            .collect();
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": Self::slice_name(number, slice), "namespace": namespace(number), "labels": labels},
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": ports,
        })
    }

    /// One endpoint of a Service, as its slice holds it.
    #[must_use]
    pub fn endpoint(self, number: u32, endpoint: u32) -> Value {
        let index = number.wrapping_mul(self.endpoints).wrapping_add(endpoint);
        json!({
            "addresses": [Self::address(index).to_string()],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": format!("node{}", index % 100 + 1),
            "zone": format!("zone-{}", index % 3),
            "targetRef": {
                "kind": "Pod", "namespace": namespace(number),
                "name": format!("{}-{endpoint}", Self::name(number)),
                "uid": format!("00000000-0000-4000-8000-{index:012}"),
            },
        })
    }

    /// The address of an endpoint, by its number among all.
    fn address(index: u32) -> Ipv4Addr {
        Ipv4Addr::from(FIRST_POD + index % PODS)
    }

    /// An address that no endpoint has from the start, by a number below 4 million.
    #[must_use]
    pub fn new_address(number: u32) -> Ipv4Addr {
        Ipv4Addr::from(FIRST_NEW_POD + number % PODS)
    }

    fn slice_name(number: u32, slice: u32) -> String {
        format!("{}-x{slice}", Self::name(number))
    }

    /// Where a Service is.
    #[must_use]
    pub fn service_path(number: u32) -> String {
        format!("{}/{}", Self::services_path(number), Self::name(number))
    }

    /// Where the Services are that a Service is among.
    #[must_use]
    pub fn services_path(number: u32) -> String {
        format!("/api/v1/namespaces/{}/services", namespace(number))
    }

    /// Where a slice of a Service is.
    #[must_use]
    pub fn slice_path(number: u32, slice: u32) -> String {
        format!("{}/{}", Self::slices_path(number), Self::slice_name(number, slice))
    }

    /// Where the slices are that those of a Service are among.
    #[must_use]
    pub fn slices_path(number: u32) -> String {
        format!("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices", namespace(number))
    }

    /// How many slices each Service has.
    #[must_use]
    pub fn slices_each(self) -> u32 {
        self.endpoints.div_ceil(SLICE)
    }

    /// What a proxy is to make of it.
    #[must_use]
    pub fn doors(self) -> Doors {
        let each = self.endpoints as usize;
        (0..self.services).fold(Doors::default(), |doors, number| {
            let has_node_port = Self::node_port(number).is_some();
            let ports = if has_node_port { 1 } else { Self::ports(number).len() };
            let node_ports = usize::from(has_node_port);
            Doors {
                services: doors.services + ports,
                endpoints: doors.endpoints + ports * each,
                node_ports: doors.node_ports + node_ports,
                node_endpoints: doors.node_endpoints + node_ports * each,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn doors_are_those_of_the_objects() {
        let fleet = Fleet { services: 120, endpoints: 3 };
        let mut found = Doors::default();
        let mut addresses = BTreeSet::new();
        for number in 0..fleet.services {
            let ports = fleet.service(number)["spec"]["ports"].as_array().unwrap().clone();
            found.services += ports.len();
            found.node_ports += ports.iter().filter(|port| port.get("nodePort").is_some()).count();
            for slice in fleet.slices(number) {
                let endpoints = slice["endpoints"].as_array().unwrap().clone();
                found.endpoints += endpoints.len() * ports.len();
                addresses
                    .extend(endpoints.iter().map(|one| one["addresses"][0].as_str().unwrap().to_owned()));
            }
        }
        found.node_endpoints = found.node_ports * 3;
        assert_eq!(fleet.doors(), found);
        assert_eq!(addresses.len(), 360, "each endpoint has an address of its own");
        assert!(found.node_ports == 6 && found.services > 120, "{found:?}");
    }

    #[test]
    fn many_endpoints_are_in_several_slices() {
        let fleet = Fleet { services: 1, endpoints: 250 };
        let sizes =
            fleet.slices(0).iter().map(|slice| slice["endpoints"].as_array().unwrap().len()).collect();
        let sizes: Vec<usize> = sizes;
        assert_eq!(sizes, [100, 100, 50]);
        assert_eq!(
            fleet.slices(0)[2]["metadata"]["name"],
            Fleet::slice_path(0, 2).rsplit_once('/').unwrap().1
        );
    }

    #[test]
    fn changes_keep_clear_of_what_is_there() {
        assert!(Fleet::new_address(0) > Fleet::address(PODS - 1));
        let last = (0..200_000).filter_map(Fleet::node_port).max().unwrap();
        assert_eq!((last, Fleet::free_node_port(0), Fleet::free_node_port(967)), (31_799, 31_800, 32_767));
    }
}
