//! Sockets that listen at every address of the node.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netstate::nft::Family;
use netstate::relay::{RelayError, RelayName, Transport};
use socket2::{Domain, Protocol, Socket, Type};

use crate::PortRange;

/// Connections that may wait to be accepted; the system has a limit of its own below it (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// Opens a socket at a port of the range, the first free one from `from` on, or at any. It does not block.
pub(crate) fn open(
    name: &RelayName,
    family: Family,
    transport: Transport,
    ports: Option<PortRange>,
    from: u16,
) -> Result<(Socket, u16), RelayError> {
    let failed = |source| RelayError::Socket { relay: name.clone(), source };
    let Some(range) = ports else {
        return open_at(family, transport, 0).map_err(failed);
    };
    for port in range.starting_at(from) {
        match open_at(family, transport, port) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            other => return other.map_err(failed),
        }
    }
    Err(RelayError::NoPort { relay: name.clone(), first: range.first(), last: range.last() })
}

fn open_at(family: Family, transport: Transport, port: u16) -> io::Result<(Socket, u16)> {
    let (domain, everywhere): (Domain, IpAddr) = match family {
        Family::Ip => (Domain::IPV4, Ipv4Addr::UNSPECIFIED.into()),
        Family::Ip6 => (Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()),
    };
    let (kind, protocol) = match transport {
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(domain, kind, Some(protocol))?;
    if family == Family::Ip6 {
        // IPv4 has a relay of its own.
        socket.set_only_v6(true)?;
    }
    // On Unix this only lets connections of a former relay fade away beside this one; on Windows it would let
    // somebody else take the port.
    #[cfg(unix)]
    if transport == Transport::Tcp {
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::new(everywhere, port).into())?;
    if transport == Transport::Tcp {
        socket.listen(BACKLOG)?;
    }
    let port = socket.local_addr()?.as_socket().map_or(0, |address| address.port());
    Ok((socket, port))
}
