//! Datagrams as every system has them. An answer comes from the address that the system chooses.

use std::io;
use std::net::SocketAddr;

use netstate::nft::Family;
use socket2::{SockRef, Socket};
use tokio::net::UdpSocket;

use super::flow::LONGEST;

/// Nothing is to be prepared.
pub(crate) fn prepare(_: &Socket, _: Family) -> io::Result<()> {
    Ok(())
}

/// Between whom a flow is, as the listener sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path {
    client: SocketAddr,
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
    length: usize,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; LONGEST], length: 0 }
    }

    /// The last datagram that was received.
    pub(super) fn datagram(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// Takes in a datagram. Does not wait.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<Path> {
        let (length, client) = socket.try_recv_from(&mut self.buffer)?;
        self.length = length;
        Ok(Path { client })
    }
}

/// Sends a datagram back. Does not wait.
pub(super) fn send(socket: &UdpSocket, datagram: &[u8], path: &Path) -> io::Result<()> {
    SockRef::from(socket).send_to(datagram, &path.client.into()).map(|_| ())
}
