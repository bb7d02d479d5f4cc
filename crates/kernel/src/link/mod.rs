//! Links, addresses and routes over rtnetlink: the real [`LinkPort`].
//!
//! ```text
//! LinkPort::commit ─► encode ─► socket (one request, one acknowledgement)
//! LinkPort::observe ─► socket (three dumps) ─► decode ─► NetworkState
//! ```

mod decode;
mod encode;
mod socket;

use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netstate::link::{LinkKind, NamespacePath};
use netstate::namespace::{LinkError, LinkOp, LinkPort, NamespacePorts, NetworkState};

use crate::netns::{Netns, NetnsError};
use encode::Encoder;
use socket::RouteSocket;

/// The links and routes of one namespace. Calls block; several threads may share it and then take turns.
#[derive(Debug)]
pub struct Links {
    socket: Mutex<RouteSocket>,
}

impl Links {
    /// Those of the calling thread's namespace, for as long as this lives, wherever the thread goes afterwards.
    ///
    /// # Errors
    /// [`LinkError::Socket`] when the kernel gives no socket.
    pub fn in_current() -> Result<Self, LinkError> {
        let socket = RouteSocket::open().map_err(LinkError::Socket)?;
        Ok(Self { socket: Mutex::new(socket) })
    }

    /// Those of another namespace.
    ///
    /// # Errors
    /// [`LinkError::Namespace`] when it cannot be entered.
    pub fn in_namespace(namespace: &Netns) -> Result<Self, LinkError> {
        namespace.run(Self::in_current).map_err(namespace_error)?
    }
}

impl Links {
    /// Makes an address the machine's own without giving it to a link: packets to it are delivered here, and it can
    /// be bound. The machine's own processes talk to it from `source`, so that others can answer them, too. Adding it
    /// again changes nothing.
    ///
    /// # Errors
    /// [`LinkError::Socket`] when the kernel refuses, mostly for want of rights.
    pub fn add_local_address(&self, address: Ipv4Addr, source: Ipv4Addr) -> Result<(), LinkError> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let message = encode::local_route(address, source);
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        socket.request(RouteNetlinkMessage::NewRoute(message), flags).map_err(LinkError::Socket)
    }
}

impl LinkPort for Links {
    fn observe(&self) -> Result<NetworkState, LinkError> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        decode::observe(&mut socket)
    }

    fn commit(&self, operations: &[LinkOp]) -> Result<(), LinkError> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let mut encoder = Encoder::new(&mut socket);
        for operation in operations {
            match peer_namespace(operation) {
                None => encoder.commit(operation, None)?,
                Some(path) => {
                    let namespace = Netns::open_path(path.as_path()).map_err(namespace_error)?;
                    encoder.commit(operation, Some(&namespace))?;
                }
            }
        }
        Ok(())
    }
}

/// Opens the links of any namespace of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Namespaces;

impl NamespacePorts for Namespaces {
    fn open(&self, namespace: &NamespacePath) -> Result<Box<dyn LinkPort>, LinkError> {
        let namespace = Netns::open_path(namespace.as_path()).map_err(namespace_error)?;
        Ok(Box::new(Links::in_namespace(&namespace)?))
    }
}

fn namespace_error(error: NetnsError) -> LinkError {
    match error {
        NetnsError::Step { path, source, .. } => LinkError::Namespace { path, source },
        NetnsError::InvalidName { name } => {
            LinkError::Namespace { path: name.into(), source: std::io::ErrorKind::InvalidInput.into() }
        }
    }
}

fn peer_namespace(operation: &LinkOp) -> Option<&NamespacePath> {
    match operation {
        LinkOp::CreateLink(link) => match &link.kind {
            LinkKind::Veth { peer: Some(peer) } => peer.namespace.as_ref(),
            LinkKind::Veth { peer: None }
            | LinkKind::Loopback
            | LinkKind::Bridge
            | LinkKind::Dummy
            | LinkKind::Other(_) => None,
        },
        _ => None,
    }
}
