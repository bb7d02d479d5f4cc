//! Operations as rtnetlink requests.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netstate::link::{Link, LinkKind, LinkName, VethPeer};
use netstate::namespace::{LinkError, LinkOp};
use netstate::route::Route;

use super::socket::RouteSocket;
use crate::netns::Netns;

/// Carries operations out one by one. Link indices are asked for once.
pub(super) struct Encoder<'a> {
    socket: &'a mut RouteSocket,
    indices: BTreeMap<LinkName, u32>,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(socket: &'a mut RouteSocket) -> Self {
        Self { socket, indices: BTreeMap::new() }
    }

    /// Carries one operation out. `peer` is the namespace that a veth's other end is born in.
    pub(super) fn commit(&mut self, operation: &LinkOp, peer: Option<&Netns>) -> Result<(), LinkError> {
        let (message, flags) = self.message(operation, peer)?;
        if let LinkOp::DeleteLink(name) = operation {
            self.indices.remove(name);
        }
        self.socket.request(message, flags).map_err(|source| refused(operation, source))
    }

    fn message(
        &mut self,
        operation: &LinkOp,
        peer: Option<&Netns>,
    ) -> Result<(RouteNetlinkMessage, u16), LinkError> {
        let create = NLM_F_CREATE | NLM_F_EXCL;
        Ok(match operation {
            LinkOp::CreateLink(link) => {
                let master = link.master.as_ref().map(|name| self.index(operation, name)).transpose()?;
                (RouteNetlinkMessage::NewLink(creation(link, master, peer)), create)
            }
            LinkOp::DeleteLink(link) => (RouteNetlinkMessage::DelLink(self.link(operation, link)?), 0),
            LinkOp::SetUp { link, up } => {
                let mut message = self.link(operation, link)?;
                switch(&mut message, *up);
                (RouteNetlinkMessage::NewLink(message), 0)
            }
            LinkOp::SetMtu { link, mtu } => self.set(operation, link, LinkAttribute::Mtu(*mtu))?,
            LinkOp::SetMac { link, mac } => {
                self.set(operation, link, LinkAttribute::Address(mac.0.to_vec()))?
            }
            LinkOp::SetMaster { link, master } => {
                let index = match master {
                    Some(master) => self.index(operation, master)?,
                    None => 0,
                };
                self.set(operation, link, LinkAttribute::Controller(index))?
            }
            LinkOp::SetHairpin { link, hairpin } => {
                let info = vec![
                    LinkInfo::PortKind(InfoPortKind::Bridge),
                    LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(*hairpin)])),
                ];
                self.set(operation, link, LinkAttribute::LinkInfo(info))?
            }
            LinkOp::AddAddress { link, address } => {
                let index = self.index(operation, link)?;
                (RouteNetlinkMessage::NewAddress(address_message(index, *address)), create)
            }
            LinkOp::DeleteAddress { link, address } => {
                let index = self.index(operation, link)?;
                (RouteNetlinkMessage::DelAddress(address_message(index, *address)), 0)
            }
            LinkOp::ReplaceRoute(route) => {
                let message = self.route(operation, route)?;
                (RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
            }
            LinkOp::DeleteRoute(route) => (RouteNetlinkMessage::DelRoute(self.route(operation, route)?), 0),
        })
    }

    fn set(
        &mut self,
        operation: &LinkOp,
        link: &LinkName,
        attribute: LinkAttribute,
    ) -> Result<(RouteNetlinkMessage, u16), LinkError> {
        let mut message = self.link(operation, link)?;
        message.attributes.push(attribute);
        Ok((RouteNetlinkMessage::NewLink(message), 0))
    }

    fn link(&mut self, operation: &LinkOp, name: &LinkName) -> Result<LinkMessage, LinkError> {
        let mut message = LinkMessage::default();
        message.header.index = self.index(operation, name)?;
        Ok(message)
    }

    fn index(&mut self, operation: &LinkOp, name: &LinkName) -> Result<u32, LinkError> {
        if let Some(index) = self.indices.get(name) {
            return Ok(*index);
        }
        let mut question = LinkMessage::default();
        question.attributes.push(LinkAttribute::IfName(name.to_string()));
        let missing = || LinkError::NoSuchLink { operation: operation.to_string(), link: name.clone() };
        let answers = self.socket.query(RouteNetlinkMessage::GetLink(question)).map_err(|source| {
            // ENODEV.
            if source.raw_os_error() == Some(19) { missing() } else { refused(operation, source) }
        })?;
        let index = answers
            .iter()
            .find_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(link) => Some(link.header.index),
                _ => None,
            })
            .ok_or_else(missing)?;
        self.indices.insert(name.clone(), index);
        Ok(index)
    }

    fn route(&mut self, operation: &LinkOp, route: &Route) -> Result<RouteMessage, LinkError> {
        let mut message = RouteMessage::default();
        let destination = route.key.destination;
        message.header.address_family = family(destination.addr());
        message.header.destination_prefix_length = destination.prefix_len();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::from(route.protocol.0);
        message.header.kind = RouteType::Unicast;
        message.header.scope = match (route.gateway, destination) {
            (None, IpNet::V4(_)) => RouteScope::Link,
            (Some(_), _) | (None, IpNet::V6(_)) => RouteScope::Universe,
        };
        if destination.prefix_len() > 0 {
            message.attributes.push(RouteAttribute::Destination(destination.network().into()));
        }
        if let Some(gateway) = route.gateway {
            message.attributes.push(RouteAttribute::Gateway(gateway.into()));
        }
        if let Some(device) = &route.device {
            message.attributes.push(RouteAttribute::Oif(self.index(operation, device)?));
        }
        if route.key.metric != 0 {
            message.attributes.push(RouteAttribute::Priority(route.key.metric));
        }
        Ok(message)
    }
}

/// `RT_TABLE_LOCAL` of linux/rtnetlink.h.
const LOCAL_TABLE: u8 = 255;

/// `local ADDRESS dev lo src SOURCE`, in the kernel's table of its own addresses.
pub(super) fn local_route(address: Ipv4Addr, source: Ipv4Addr) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = 32;
    message.header.table = LOCAL_TABLE;
    message.header.protocol = RouteProtocol::from(netstate::route::RouteProtocol::PORTOLAN.0);
    message.header.kind = RouteType::Local;
    message.header.scope = RouteScope::Host;
    message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(address)));
    message.attributes.push(RouteAttribute::PrefSource(RouteAddress::Inet(source)));
    // lo is the first link of every namespace.
    message.attributes.push(RouteAttribute::Oif(1));
    message
}

fn refused(operation: &LinkOp, source: io::Error) -> LinkError {
    LinkError::Operation { operation: operation.to_string(), source }
}

fn switch(message: &mut LinkMessage, up: bool) {
    message.header.change_mask = LinkFlags::Up;
    if up {
        message.header.flags = LinkFlags::Up;
    }
}

fn creation(link: &Link, master: Option<u32>, peer_namespace: Option<&Netns>) -> LinkMessage {
    let mut message = LinkMessage::default();
    switch(&mut message, link.up);
    message.attributes.push(LinkAttribute::IfName(link.name.to_string()));
    if let Some(mac) = link.mac {
        message.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
    }
    if let Some(mtu) = link.mtu {
        message.attributes.push(LinkAttribute::Mtu(mtu));
    }
    if let Some(master) = master {
        message.attributes.push(LinkAttribute::Controller(master));
    }
    let info = match &link.kind {
        LinkKind::Loopback => vec![LinkInfo::Kind(InfoKind::Other("loopback".to_owned()))],
        LinkKind::Bridge => vec![LinkInfo::Kind(InfoKind::Bridge)],
        LinkKind::Dummy => vec![LinkInfo::Kind(InfoKind::Dummy)],
        LinkKind::Other(kind) => vec![LinkInfo::Kind(InfoKind::from(kind.as_str()))],
        LinkKind::Veth { peer: None } => vec![LinkInfo::Kind(InfoKind::Veth)],
        LinkKind::Veth { peer: Some(peer) } => {
            let peer = InfoVeth::Peer(peer_message(peer, link.mtu, peer_namespace));
            vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(InfoData::Veth(peer))]
        }
    };
    message.attributes.push(LinkAttribute::LinkInfo(info));
    message
}

/// The other end, with the MTU of the first, since the smaller of both is what counts. It is born down: the kernel opens
/// no end (`veth_open`: ENOTCONN) before it has joined the two.
fn peer_message(peer: &VethPeer, mtu: Option<u32>, namespace: Option<&Netns>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(peer.name.to_string()));
    if let Some(mac) = peer.mac {
        message.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
    }
    if let Some(mtu) = mtu {
        message.attributes.push(LinkAttribute::Mtu(mtu));
    }
    if let Some(namespace) = namespace {
        message.attributes.push(LinkAttribute::NetNsFd(namespace.as_fd().as_raw_fd()));
    }
    message
}

fn address_message(index: u32, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.addr());
    message.header.prefix_len = address.prefix_len();
    message.header.scope = AddressScope::Universe;
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(address.addr()));
    message.attributes.push(AddressAttribute::Address(address.addr()));
    if let IpNet::V4(address) = address
        && address.prefix_len() < 31
    {
        message.attributes.push(AddressAttribute::Broadcast(address.broadcast()));
    }
    message
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
