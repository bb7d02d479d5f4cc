//! Services and endpoints, put into an index by hand.

use std::time::Duration;

use model::{
    AddressFamily, Changes, Endpoint, EndpointSlice, Index, Kind, Node, Object, ObjectKey, Port, Protocol,
    Service, ServiceKey, ServiceKind, ServicePort, SessionAffinity, SliceKey, SlicePort,
};
use proxy::{Dataplane, SyncReport};

/// A Service without ports at an address.
pub fn service(name: &str, address: &str) -> Service {
    Service {
        kind: ServiceKind::NodePort,
        cluster_addresses: vec![address.parse().unwrap()],
        ..Service::new(ServiceKey::new("default", name))
    }
}

/// One more port of a Service.
pub trait WithPort {
    fn port(self, name: &str, protocol: Protocol, port: u16) -> Self;
    fn node_port(self, name: &str, protocol: Protocol, port: u16, node_port: u16) -> Self;
    fn remembers(self, timeout: Duration) -> Self;
}

impl WithPort for Service {
    fn port(mut self, name: &str, protocol: Protocol, port: u16) -> Self {
        self.ports.push(ServicePort { name: name.into(), protocol, port: number(port), node_port: None });
        self
    }

    fn node_port(self, name: &str, protocol: Protocol, port: u16, node_port: u16) -> Self {
        let mut service = self.port(name, protocol, port);
        service.ports.iter_mut().filter(|port| &*port.name == name).for_each(|port| {
            port.node_port = Some(number(node_port));
        });
        service
    }

    fn remembers(mut self, timeout: Duration) -> Self {
        self.affinity = SessionAffinity::ClientAddress { timeout };
        self
    }
}

/// A slice: which ports the endpoints have, and the endpoints.
pub fn slice(
    service: &str,
    name: &str,
    ports: &[(&str, Protocol, u16)],
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    let port = |(name, protocol, port): &(&str, Protocol, u16)| SlicePort {
        name: (*name).into(),
        protocol: *protocol,
        port: number(*port),
    };
    EndpointSlice {
        key: SliceKey::new("default", name),
        service: Some(ServiceKey::new("default", service)),
        family: AddressFamily::V4,
        ports: ports.iter().map(port).collect(),
        endpoints,
    }
}

/// An endpoint that takes connections.
pub fn ready(address: &str) -> Endpoint {
    let node = if address.starts_with("10.244.1.") { "node1" } else { "node2" };
    Endpoint {
        address: address.parse().unwrap(),
        ready: true,
        serving: true,
        terminating: false,
        node: Some(node.into()),
        zone: None,
        hints: None,
    }
}

fn number(port: u16) -> Port {
    Port::try_from(i64::from(port)).unwrap()
}

/// What the API server would tell, and a proxy that hears it.
pub struct Cluster<D> {
    pub index: Index,
    pub proxy: D,
}

impl<D: Dataplane> Cluster<D> {
    /// Nothing is written yet.
    pub fn new(proxy: D, objects: impl IntoIterator<Item = Object>) -> Self {
        let mut index = Index::new();
        Kind::ALL.into_iter().for_each(|kind| index.begin_listing(kind));
        objects.into_iter().for_each(|object| index.apply(object));
        Kind::ALL.into_iter().for_each(|kind| index.end_listing(kind));
        Self { index, proxy }
    }

    /// Brings the kernel in line.
    pub fn sync(&mut self) -> SyncReport {
        let changes = self.index.take_changes();
        self.proxy.sync(&self.index.snapshot().unwrap(), &changes).unwrap()
    }

    /// The same, after a look at all of it.
    pub fn sync_everything(&mut self) -> SyncReport {
        self.proxy.sync(&self.index.snapshot().unwrap(), &Changes::Everything).unwrap()
    }

    /// Objects appear or change.
    pub fn apply(&mut self, objects: impl IntoIterator<Item = Object>) -> SyncReport {
        objects.into_iter().for_each(|object| self.index.apply(object));
        self.sync()
    }

    /// An object goes.
    pub fn delete(&mut self, key: &ObjectKey) -> SyncReport {
        self.index.delete(key);
        self.sync()
    }
}

/// httpd-svc at TCP 8080 and node port 30000, and UDP 53 and node port 30053, all to port 80 of these endpoints.
pub fn httpd(endpoints: &[&str]) -> [Object; 2] {
    let service = service("httpd-svc", "10.96.0.6").node_port("web", Protocol::Tcp, 8080, 30000).node_port(
        "dns",
        Protocol::Udp,
        53,
        30053,
    );
    let ports = [("web", Protocol::Tcp, 80), ("dns", Protocol::Udp, 80)];
    let endpoints = endpoints.iter().map(|address| ready(address)).collect();
    [Object::Service(service), Object::EndpointSlice(slice("httpd-svc", "httpd-svc", &ports, endpoints))]
}

/// node1, with the address that clients outside know.
pub fn node() -> Object {
    Object::Node(Node {
        name: "node1".into(),
        addresses: vec!["10.100.0.2".parse().unwrap()],
        pod_ranges: vec!["10.244.1.0/24".parse().unwrap()],
        zone: None,
    })
}

/// The three endpoints that there can be.
pub const ALL: [&str; 3] = ["10.244.1.2", "10.244.1.3", "10.244.2.2"];
