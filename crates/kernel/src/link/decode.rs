//! Links and routes as values from what the kernel tells.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoBridgePort, InfoKind, InfoPortData, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netstate::link::{Link, LinkKind, LinkName, MacAddress};
use netstate::namespace::{LinkError, NetworkState};
use netstate::route::{Route, RouteKey, RouteProtocol};

use super::socket::RouteSocket;

/// Reads links, addresses and routes. A link that goes between the three dumps is seen without its parts.
pub(super) fn observe(socket: &mut RouteSocket) -> Result<NetworkState, LinkError> {
    let links =
        socket.dump(&RouteNetlinkMessage::GetLink(LinkMessage::default())).map_err(LinkError::Socket)?;
    let addresses = socket
        .dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()))
        .map_err(LinkError::Socket)?;
    let routes =
        socket.dump(&RouteNetlinkMessage::GetRoute(RouteMessage::default())).map_err(LinkError::Socket)?;
    let names: BTreeMap<u32, LinkName> = links.iter().filter_map(index_and_name).collect();
    let mut state = NetworkState::default();
    for message in &links {
        if let RouteNetlinkMessage::NewLink(message) = message
            && let Some(link) = link(message, &names)
        {
            state.insert_link(link);
        }
    }
    for message in &addresses {
        if let RouteNetlinkMessage::NewAddress(message) = message
            && let Some(link) = names.get(&message.header.index).and_then(|name| state.links.get_mut(name))
            && let Some(address) = address(message)
        {
            link.addresses.insert(address);
        }
    }
    for message in &routes {
        if let RouteNetlinkMessage::NewRoute(message) = message
            && let Some(route) = route(message, &names)
        {
            state.insert_route(route);
        }
    }
    Ok(state)
}

fn index_and_name(message: &RouteNetlinkMessage) -> Option<(u32, LinkName)> {
    let RouteNetlinkMessage::NewLink(link) = message else { return None };
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => LinkName::parse(name).ok(),
        _ => None,
    })?;
    Some((link.header.index, name))
}

fn link(message: &LinkMessage, names: &BTreeMap<u32, LinkName>) -> Option<Link> {
    let name = names.get(&message.header.index)?.clone();
    let mut link = Link::new(name, LinkKind::Other(String::new()));
    link.up = message.header.flags.contains(LinkFlags::Up);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Address(bytes) => link.mac = bytes.as_slice().try_into().ok().map(MacAddress),
            LinkAttribute::Mtu(mtu) => link.mtu = Some(*mtu),
            LinkAttribute::Controller(index) => link.master = names.get(index).cloned(),
            LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| read_info(&mut link, info)),
            _ => {}
        }
    }
    if message.header.flags.contains(LinkFlags::Loopback) {
        link.kind = LinkKind::Loopback;
        link.mac = None;
    }
    Some(link)
}

fn read_info(link: &mut Link, info: &LinkInfo) {
    match info {
        LinkInfo::Kind(InfoKind::Bridge) => link.kind = LinkKind::Bridge,
        LinkInfo::Kind(InfoKind::Dummy) => link.kind = LinkKind::Dummy,
        LinkInfo::Kind(InfoKind::Veth) => link.kind = LinkKind::Veth { peer: None },
        LinkInfo::Kind(other) => link.kind = LinkKind::Other(other.to_string()),
        LinkInfo::PortData(InfoPortData::BridgePort(settings)) => {
            link.hairpin = settings.contains(&InfoBridgePort::HairpinMode(true));
        }
        _ => {}
    }
}

/// The link's own address. Link-local ones of IPv6 come and go by themselves and are not told.
fn address(message: &AddressMessage) -> Option<IpNet> {
    let mut own = None;
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link ADDRESS is the other end's; LOCAL is ours wherever it is given.
            AddressAttribute::Local(address) => own = Some(*address),
            AddressAttribute::Address(address) => own = own.or(Some(*address)),
            _ => {}
        }
    }
    if let Some(IpAddr::V6(address)) = own
        && address.is_unicast_link_local()
    {
        return None;
    }
    IpNet::new(own?, message.header.prefix_len).ok()
}

fn route(message: &RouteMessage, names: &BTreeMap<u32, LinkName>) -> Option<Route> {
    let header = &message.header;
    let mut table = u32::from(header.table);
    let any = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let (mut destination, mut gateway, mut device, mut metric) = (any, None, None, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(id) => table = *id,
            RouteAttribute::Destination(address) => destination = ip(address)?,
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Oif(index) => device = names.get(index).cloned(),
            // Without a metric an IPv6 route gets this one (`IP6_RT_PRIO_USER`).
            RouteAttribute::Priority(1024) if any.is_ipv6() => {}
            RouteAttribute::Priority(priority) => metric = *priority,
            _ => {}
        }
    }
    if header.kind != RouteType::Unicast || table != u32::from(RouteHeader::RT_TABLE_MAIN) {
        return None;
    }
    let destination = IpNet::new(destination, header.destination_prefix_length).ok()?;
    if let IpNet::V6(network) = destination
        && network.network().is_unicast_link_local()
    {
        return None;
    }
    Some(Route {
        key: RouteKey { destination, metric },
        gateway,
        device,
        protocol: RouteProtocol(u8::from(header.protocol)),
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}
