//! The Services that are loaded, and those of them that are asked.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use model::{
    AddressFamily, Endpoint, EndpointSlice, Index, Kind, NodeName, Object, Port, Protocol, Service,
    ServiceKey, ServiceKind, ServicePort, SliceKey, SlicePort,
};

/// The node whose proxy is measured.
pub const NODE: &str = "node1";
/// Where Services are asked, for TCP and for UDP.
const SERVICE_PORT: u16 = 80;
/// Where endpoints listen, for TCP and for UDP.
pub const ENDPOINT_PORT: u16 = 8080;
/// So many endpoints has each Service that is asked. Connections that are masqueraded share one source address, so with
/// one endpoint there would be no more than 64,000 of them a second.
const ASKED_ENDPOINTS: u8 = 10;
/// The asked Services' node ports.
const NODE_PORTS: u16 = 30_000;

/// Where among all the loaded Services one stands, by name and by address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// Before all others.
    First,
    /// With as many before it as behind it.
    Middle,
    /// Behind all others.
    Last,
}

impl Position {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::First, Self::Middle, Self::Last];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Middle => "middle",
            Self::Last => "last",
        }
    }

    fn number(self, services: u32) -> u32 {
        match self {
            Self::First => 0,
            Self::Middle => services / 2,
            Self::Last => services.saturating_sub(1),
        }
    }
}

/// A Service that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// By its virtual address.
    pub address: SocketAddrV4,
    /// By a port of the node.
    pub node_port: u16,
    /// Straight to its endpoints.
    pub endpoints: Vec<SocketAddrV4>,
}

/// Services as many as are wanted, with as many endpoints each; the asked ones have [`ASKED_ENDPOINTS`].
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// How many Services.
    pub services: u32,
    /// How many endpoints each has.
    pub endpoints: u32,
}

impl Load {
    /// The Service at that position. With fewer than three Services some positions are the same one.
    pub fn asked(self, position: Position) -> Asked {
        let number = position.number(self.services);
        // Of the same Service the first position's.
        let slot = self.slot(number).unwrap_or_default();
        let endpoint = |last| SocketAddrV4::new(Ipv4Addr::new(10, 244, 128 + slot, last), ENDPOINT_PORT);
        Asked {
            address: SocketAddrV4::new(address(number), SERVICE_PORT),
            node_port: NODE_PORTS + u16::from(slot),
            endpoints: (1..=ASKED_ENDPOINTS).map(endpoint).collect(),
        }
    }

    /// All of them, and nothing else, in a new index.
    pub fn index(self) -> Index {
        let mut index = Index::new();
        Kind::ALL.into_iter().for_each(|kind| index.begin_listing(kind));
        for number in 0..self.services {
            self.objects(number).into_iter().for_each(|object| index.apply(object));
        }
        Kind::ALL.into_iter().for_each(|kind| index.end_listing(kind));
        index
    }

    fn slot(self, number: u32) -> Option<u8> {
        (0..)
            .zip(Position::ALL)
            .find(|(_, position)| position.number(self.services) == number)
            .map(|(slot, _)| slot)
    }

    fn objects(self, number: u32) -> [Object; 2] {
        let slot = self.slot(number);
        let sorts = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
        // Few have UDP, as in clusters.
        let sorts = if slot.is_some() { &sorts[..] } else { &sorts[..1] };
        let service_port = |&(name, protocol): &(&str, Protocol)| ServicePort {
            name: name.into(),
            protocol,
            port: port(SERVICE_PORT),
            node_port: slot.map(|slot| port(NODE_PORTS + u16::from(slot))),
        };
        let slice_port = |&(name, protocol): &(&str, Protocol)| SlicePort {
            name: name.into(),
            protocol,
            port: port(ENDPOINT_PORT),
        };
        // By name as by number.
        let key = ServiceKey::new("load", &format!("svc-{number:06}"));
        let service = Service {
            kind: if slot.is_some() { ServiceKind::NodePort } else { ServiceKind::ClusterIp },
            cluster_addresses: vec![address(number).into()],
            ports: sorts.iter().map(service_port).collect(),
            ..Service::new(key.clone())
        };
        let slice = EndpointSlice {
            key: SliceKey::new("load", &key.name),
            service: Some(key),
            family: AddressFamily::V4,
            ports: sorts.iter().map(slice_port).collect(),
            endpoints: self.endpoints_of(number),
        };
        [Object::Service(service), Object::EndpointSlice(slice)]
    }

    fn endpoints_of(self, number: u32) -> Vec<Endpoint> {
        let position = Position::ALL.into_iter().find(|position| position.number(self.services) == number);
        if let Some(position) = position {
            let node: NodeName = NODE.into();
            let endpoints = self.asked(position).endpoints;
            return endpoints.into_iter().map(|at| endpoint((*at.ip()).into(), node.clone())).collect();
        }
        let other = |index: u32| {
            let address = Ipv4Addr::from(0x0a80_0002 + index % 0x003f_ff00);
            endpoint(address.into(), format!("node{}", 2 + index % 100).as_str().into())
        };
        (0..self.endpoints).map(|one| other(number.wrapping_mul(self.endpoints).wrapping_add(one))).collect()
    }
}

impl Asked {
    /// Those who may answer.
    pub fn answerers(&self) -> BTreeSet<Ipv4Addr> {
        self.endpoints.iter().map(|endpoint| *endpoint.ip()).collect()
    }
}

fn endpoint(address: IpAddr, node: NodeName) -> Endpoint {
    Endpoint {
        address,
        ready: true,
        serving: true,
        terminating: false,
        node: Some(node),
        zone: None,
        hints: None,
    }
}

/// In 10.96.0.0/12, which ends above 200,000 Services.
fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a60_0000 + number + 1)
}

fn port(number: u16) -> Port {
    Port::try_from(i64::from(number)).expect("no port is 0 here")
}
