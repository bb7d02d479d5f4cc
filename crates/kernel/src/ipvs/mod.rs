//! IPVS for real, over the generic netlink (linux/ip_vs.h).
//!
//! ```text
//! Vec<Op> ─► encode ─► hundreds of messages a send, worked off before it returns
//! dumps ─► decode ─► services, destinations
//! ```

mod decode;
mod encode;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use netstate::ipvs::{Destination, IpvsError, IpvsPort, Op, ServiceId, Settings};

use crate::nfnetlink::{Socket, Writer, kind};

pub(crate) use decode::{destination, service};

/// `GENL_ID_CTRL` with `CTRL_CMD_GETFAMILY`: which number a family has.
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_NUMBER: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// Commands (`IPVS_CMD_*`).
mod command {
    pub const NEW_SERVICE: u8 = 1;
    pub const SET_SERVICE: u8 = 2;
    pub const DELETE_SERVICE: u8 = 3;
    pub const GET_SERVICE: u8 = 4;
    pub const NEW_DESTINATION: u8 = 5;
    pub const SET_DESTINATION: u8 = 6;
    pub const DELETE_DESTINATION: u8 = 7;
    pub const GET_DESTINATION: u8 = 8;
}

/// Attributes of a command (`IPVS_CMD_ATTR_*`), of a service (`IPVS_SVC_ATTR_*`), of a destination
/// (`IPVS_DEST_ATTR_*`).
mod attribute {
    pub const SERVICE: u16 = 1;
    pub const DESTINATION: u16 = 2;

    pub const FAMILY: u16 = 1;
    pub const PROTOCOL: u16 = 2;
    pub const ADDRESS: u16 = 3;
    pub const PORT: u16 = 4;
    pub const MARK: u16 = 5;
    pub const SCHEDULER: u16 = 6;
    pub const FLAGS: u16 = 7;
    pub const TIMEOUT: u16 = 8;
    pub const NETMASK: u16 = 9;

    pub const TO_ADDRESS: u16 = 1;
    pub const TO_PORT: u16 = 2;
    pub const FORWARDING: u16 = 3;
    pub const WEIGHT: u16 = 4;
    pub const UPPER_THRESHOLD: u16 = 5;
    pub const LOWER_THRESHOLD: u16 = 6;
    pub const ACTIVE: u16 = 7;
    pub const INACTIVE: u16 = 8;
    pub const TO_FAMILY: u16 = 11;
}

/// `AF_INET`, `AF_INET6`.
const INET: u16 = 2;
const INET6: u16 = 10;
/// `IP_VS_SVC_F_PERSISTENT`.
const PERSISTENT: u32 = 1;
/// Messages a send; more than some hundreds of answers would not fit into the receive buffer.
const CHUNK: usize = 300;

/// IPVS of one network namespace.
pub struct Ipvs {
    socket: Socket,
    family: u16,
}

impl Ipvs {
    /// Opens IPVS of the network namespace that the calling thread is in now. It stays that one, whatever thread uses it
    /// later. The kernel loads its module if it has it and may.
    ///
    /// # Errors
    /// [`IpvsError::Missing`] on a kernel without IPVS, or when it gives no socket.
    pub fn open() -> Result<Self, IpvsError> {
        let failed = |source| IpvsError::Kernel { doing: "open a socket", source };
        let mut socket = Socket::open_generic().map_err(failed)?;
        let request = |sequence| {
            let mut writer = Writer::default();
            let flags = kind::REQUEST | kind::ACKNOWLEDGE;
            writer.generic(CONTROL, flags, sequence, GET_FAMILY, |writer| writer.text(FAMILY_NAME, "IPVS"));
            written(writer)
        };
        let found = socket.dump(
            request,
            || None,
            |found, message| {
                let number = message.attributes().find(FAMILY_NUMBER).and_then(|bytes| bytes.try_into().ok());
                *found = found.or(number.map(u16::from_ne_bytes));
            },
        );
        match found {
            Ok(Some(family)) => Ok(Self { socket, family }),
            Ok(None) => Err(IpvsError::Missing),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(IpvsError::Missing),
            Err(error) => Err(failed(error)),
        }
    }

    fn send(&mut self, ops: &[Op]) -> Result<(), IpvsError> {
        // A chunk is far below 2^32.
        let first = self.socket.sequences(ops.len() as u32);
        let mut writer = Writer::default();
        for (sequence, op) in (first..).zip(ops) {
            encode::op(&mut writer, self.family, sequence, op);
        }
        let refusals = self
            .socket
            .transact(&written(writer), first)
            .map_err(|source| IpvsError::Kernel { doing: "send changes", source })?;
        let Some(refusal) = refusals.iter().min_by_key(|refusal| refusal.sequence) else {
            return Ok(());
        };
        let op = ops.get(refusal.sequence.wrapping_sub(first) as usize);
        Err(IpvsError::Refused {
            op: op.map(ToString::to_string).unwrap_or_default(),
            source: io::Error::from_raw_os_error(refusal.errno),
        })
    }
}

/// Attributes of services and destinations are short, so none outgrows its length field.
fn written(writer: Writer) -> Vec<u8> {
    writer.finish().unwrap_or_default()
}

/// One change as it is sent.
#[cfg(test)]
pub(crate) fn message(op: &Op) -> Vec<u8> {
    let mut writer = Writer::default();
    encode::op(&mut writer, 0x22, 1, op);
    written(writer)
}

impl IpvsPort for Ipvs {
    fn services(&mut self) -> Result<BTreeMap<ServiceId, Settings>, IpvsError> {
        let family = self.family;
        let request = |sequence| {
            let mut writer = Writer::default();
            writer.generic(family, kind::REQUEST | kind::DUMP, sequence, command::GET_SERVICE, |_| {});
            written(writer)
        };
        self.socket
            .dump(request, BTreeMap::new, |found, message| {
                found.extend(message.attributes().nest(attribute::SERVICE).and_then(service));
            })
            .map_err(|source| IpvsError::Kernel { doing: "list services", source })
    }

    fn destinations(&mut self, id: &ServiceId) -> Result<BTreeMap<SocketAddr, Destination>, IpvsError> {
        let family = self.family;
        let request = |sequence| {
            let mut writer = Writer::default();
            let flags = kind::REQUEST | kind::DUMP;
            writer.generic(family, flags, sequence, command::GET_DESTINATION, |writer| {
                writer.nest(attribute::SERVICE, |writer| encode::id(writer, id));
            });
            written(writer)
        };
        let ipv6 = id.family() == netstate::nft::Family::Ip6;
        self.socket
            .dump(request, BTreeMap::new, |found, message| {
                let nest = message.attributes().nest(attribute::DESTINATION);
                found.extend(nest.and_then(|nest| destination(nest, ipv6)));
            })
            .map_err(|source| IpvsError::Kernel { doing: "list destinations", source })
    }

    fn commit(&mut self, ops: &[Op]) -> Result<(), IpvsError> {
        let mut first = Ok(());
        for chunk in ops.chunks(CHUNK) {
            first = first.and(self.send(chunk));
        }
        first
    }
}
