//! Datagrams with the address that they were sent to: an answer must come from there.
//!
//! A packet that the kernel redirected has an address of the node as its destination, by the interface it came in by.
//! An answer from any other one of the node's addresses would not be translated back.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

use netstate::nft::Family;
use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::Socket;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::flow::LONGEST;

/// Lets the kernel tell with each datagram where it was sent to.
pub(crate) fn prepare(socket: &Socket, family: Family) -> io::Result<()> {
    match family {
        Family::Ip => setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?,
        Family::Ip6 => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?,
    }
    Ok(())
}

/// Between whom a flow is, as the listener sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path {
    client: SocketAddr,
    /// The node's address that the client reached, and by which interface when the address alone does not say.
    here: IpAddr,
    interface: u32,
}

impl Path {
    pub(super) const fn client(&self) -> SocketAddr {
        self.client
    }
}

/// Where datagrams are taken in.
#[derive(Debug)]
pub(super) struct Inbox {
    buffer: Vec<u8>,
    control: Vec<u8>,
    length: usize,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; LONGEST], control: cmsg_space!(in6_pktinfo), length: 0 }
    }

    /// The last datagram that was received.
    pub(super) fn datagram(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// Takes in a datagram. Does not wait.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<Path> {
        let Self { buffer, control, length } = self;
        socket.try_io(Interest::READABLE, || {
            let mut parts = [IoSliceMut::new(buffer)];
            let message = recvmsg::<SockaddrStorage>(
                socket.as_raw_fd(),
                &mut parts,
                Some(control),
                MsgFlags::MSG_DONTWAIT,
            )?;
            *length = message.bytes;
            let nobody = || io::Error::from(io::ErrorKind::InvalidData);
            let client = message.address.and_then(address_of).ok_or_else(nobody)?;
            let (here, interface) = message.cmsgs()?.find_map(reached).ok_or_else(nobody)?;
            Ok(Path { client, here, interface })
        })
    }
}

/// Sends a datagram back. Does not wait.
pub(super) fn send(socket: &UdpSocket, datagram: &[u8], path: &Path) -> io::Result<()> {
    let parts = [IoSlice::new(datagram)];
    let (v4, v6);
    let from = match path.here {
        IpAddr::V4(here) => {
            let address = in_addr { s_addr: u32::from_ne_bytes(here.octets()) };
            v4 = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: address };
            ControlMessage::Ipv4PacketInfo(&v4)
        }
        IpAddr::V6(here) => {
            let address = in6_addr { s6_addr: here.octets() };
            v6 = in6_pktinfo { ipi6_addr: address, ipi6_ifindex: path.interface };
            ControlMessage::Ipv6PacketInfo(&v6)
        }
    };
    let to = SockaddrStorage::from(path.client);
    sendmsg(socket.as_raw_fd(), &parts, &[from], MsgFlags::MSG_DONTWAIT, Some(&to))?;
    Ok(())
}

fn address_of(storage: SockaddrStorage) -> Option<SocketAddr> {
    if let Some(address) = storage.as_sockaddr_in() {
        return Some(SocketAddrV4::from(*address).into());
    }
    storage.as_sockaddr_in6().map(|address| SocketAddrV6::from(*address).into())
}

fn reached(message: ControlMessageOwned) -> Option<(IpAddr, u32)> {
    match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some((Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into(), 0))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            let here = Ipv6Addr::from(info.ipi6_addr.s6_addr);
            // Only link-local addresses need the interface, and only by theirs may the answer leave.
            let interface = if here.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
            Some((here.into(), interface))
        }
        _ => None,
    }
}
