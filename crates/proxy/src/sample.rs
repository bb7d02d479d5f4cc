//! Clusters for the tests of this crate.

use model::{
    AddressFamily, Endpoint, EndpointAddress, EndpointSlice, Index, Kind, Object, Port, Protocol, Service,
    ServiceKey, ServicePort, SliceKey, SlicePort,
};

/// A cluster in the making: services `name` at an address with TCP port 8080, endpoints at port 80.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cluster {
    pub(crate) objects: Vec<Object>,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn service(mut self, name: &str, address: &str, change: impl FnOnce(&mut Service)) -> Self {
        self.objects.push(Object::Service(service(name, address, change)));
        self
    }

    pub(crate) fn endpoints(mut self, service: &str, addresses: &[&str]) -> Self {
        self.objects.push(Object::EndpointSlice(slice(service, addresses)));
        self
    }

    /// Everything listed and in sync.
    pub(crate) fn index(&self) -> Index {
        let mut index = Index::new();
        for kind in Kind::ALL {
            index.begin_listing(kind);
        }
        self.objects.iter().cloned().for_each(|object| index.apply(object));
        for kind in Kind::ALL {
            index.end_listing(kind);
        }
        index
    }
}

pub(crate) fn service(name: &str, address: &str, change: impl FnOnce(&mut Service)) -> Service {
    let mut service = Service {
        cluster_addresses: vec![address.parse().unwrap()],
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: Port::try_from(8080).unwrap(),
            node_port: None,
        }],
        ..Service::new(ServiceKey::new("default", name))
    };
    change(&mut service);
    service
}

/// A slice of ready endpoints for both protocols; 10.244.N.x is on nodeN.
pub(crate) fn slice(service: &str, addresses: &[&str]) -> EndpointSlice {
    let node_of = |address: &str| format!("node{}", address.split('.').nth(2).unwrap());
    let endpoint = |address: &&str| Endpoint {
        address: address.parse().unwrap(),
        ready: true,
        serving: true,
        terminating: false,
        node: Some(node_of(address).as_str().into()),
        zone: None,
        hints: None,
    };
    EndpointSlice {
        key: SliceKey::new("default", service),
        service: Some(ServiceKey::new("default", service)),
        family: AddressFamily::V4,
        ports: [Protocol::Tcp, Protocol::Udp]
            .map(|protocol| SlicePort { name: "".into(), protocol, port: Port::try_from(80).unwrap() })
            .into(),
        endpoints: addresses.iter().map(endpoint).collect(),
    }
}

pub(crate) fn endpoint(address: &str, port: i64) -> EndpointAddress {
    EndpointAddress { address: address.parse().unwrap(), port: Port::try_from(port).unwrap() }
}
