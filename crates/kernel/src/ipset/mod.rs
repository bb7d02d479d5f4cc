//! ipset for real, over netlink (linux/netfilter/ipset/ip_set.h).
//!
//! ```text
//! Vec<Op> ─► encode ─► messages of many members, worked off before the send returns
//! dumps ─► decode ─► Sets
//! ```

mod decode;
mod encode;

use std::collections::BTreeMap;
use std::io;

use netstate::ipset::{Definition, IpsetError, IpsetPort, Op, SetName, Sets};

use crate::nfnetlink::{Message, Socket, Writer, kind};

pub(crate) use decode::{count, take};

/// `NFNL_SUBSYS_IPSET`, in the upper byte of a message's kind.
const SUBSYSTEM: u16 = 6 << 8;
/// The lowest protocol version that kernels since 2011 understand; newer ones change nothing that we need.
const PROTOCOL: u8 = 6;
/// `NFPROTO_IPV4`, for requests that have no family.
const ANY: u8 = 2;

/// Commands (`IPSET_CMD_*`).
mod command {
    pub const PROTOCOL: u16 = 1;
    pub const CREATE: u16 = 2;
    pub const DESTROY: u16 = 3;
    pub const LIST: u16 = 7;
    pub const ADD: u16 = 9;
    pub const DELETE: u16 = 10;
    pub const TYPE: u16 = 13;
}

/// Attributes of a command, of what creates a set, of a member (`IPSET_ATTR_*`).
mod attribute {
    pub const PROTOCOL: u16 = 1;
    pub const SET_NAME: u16 = 2;
    pub const TYPE_NAME: u16 = 3;
    pub const REVISION: u16 = 4;
    pub const FAMILY: u16 = 5;
    pub const FLAGS: u16 = 6;
    pub const DATA: u16 = 7;
    pub const MEMBERS: u16 = 8;
    pub const LINE: u16 = 9;
    pub const REVISION_MIN: u16 = 10;

    pub const IP: u16 = 1;
    pub const PORT: u16 = 4;
    pub const PORT_TO: u16 = 5;
    pub const TIMEOUT: u16 = 6;
    pub const PROTO: u16 = 7;
    pub const DATA_FLAGS: u16 = 8;
    pub const MAX_MEMBERS: u16 = 19;
    pub const IP2: u16 = 20;
    pub const CIDR2: u16 = 21;
    pub const COUNT: u16 = 24;
    pub const MARK: u16 = 27;
}

/// `IPSET_FLAG_WITH_SKBINFO`.
const WITH_MARKS: u32 = 1 << 6;
/// `IPSET_FLAG_LIST_HEADER`.
const HEADER_ONLY: u32 = 1 << 2;

/// The sets of one network namespace.
pub struct Ipset {
    socket: Socket,
}

impl Ipset {
    /// Opens ipset of the network namespace that the calling thread is in now. It stays that one, whatever thread uses
    /// it later. The kernel loads its module if it has it and may.
    ///
    /// # Errors
    /// [`IpsetError::Missing`] on a kernel without ipset, or when it gives no socket.
    pub fn open() -> Result<Self, IpsetError> {
        let failed = |source| IpsetError::Kernel { doing: "open a socket", source };
        let mut ipset = Self { socket: Socket::open().map_err(failed)? };
        let answer = ipset.ask(command::PROTOCOL, kind::ACKNOWLEDGE, |_| {}, || (), |(), _| {});
        match answer {
            Ok(()) => Ok(ipset),
            // What nfnetlink says to a subsystem that it does not have.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Err(IpsetError::Missing),
            Err(error) => Err(failed(error)),
        }
    }

    fn ask<T>(
        &mut self,
        command: u16,
        flags: u16,
        body: impl Fn(&mut Writer),
        start: impl Fn() -> T,
        each: impl FnMut(&mut T, &Message<'_>),
    ) -> io::Result<T> {
        let request = |sequence| {
            let mut writer = Writer::default();
            writer.message(SUBSYSTEM | command, kind::REQUEST | flags, sequence, ANY, 0, |writer| {
                writer.u8(attribute::PROTOCOL, PROTOCOL);
                body(writer);
            });
            // A request has no attribute that could outgrow its length field.
            writer.finish().unwrap_or_default()
        };
        self.socket.dump(request, start, each)
    }

    /// The revision to make sets of a type in: one that tools of the last ten years can show, if this kernel has it.
    fn revision(&mut self, definition: &Definition) -> Result<u8, IpsetError> {
        let body = |writer: &mut Writer| {
            writer.text(attribute::TYPE_NAME, definition.kind.as_str());
            writer.u8(attribute::FAMILY, encode::family(definition));
        };
        let range = self
            .ask(
                command::TYPE,
                kind::ACKNOWLEDGE,
                body,
                || (0, 0),
                |range, message| {
                    let revision = |kind| message.attributes().u8(kind).unwrap_or(0);
                    *range = (revision(attribute::REVISION_MIN), revision(attribute::REVISION));
                },
            )
            .map_err(|source| IpsetError::Kernel { doing: "ask for a type of set", source })?;
        let (least, most) = range;
        Ok(encode::usual_revision(definition.kind).clamp(least, most.max(least)))
    }

    fn send(&mut self, op: &Op) -> Result<(), IpsetError> {
        let revision = match op {
            Op::Create { definition, .. } => self.revision(definition)?,
            Op::Destroy { .. } | Op::Add { .. } | Op::Delete { .. } => 0,
        };
        let messages = encode::message_count(op);
        let first = self.socket.sequences(messages);
        let bytes = encode::op(op, first, revision)?;
        let refusals = self
            .socket
            .transact(&bytes, first)
            .map_err(|source| IpsetError::Kernel { doing: "send changes", source })?;
        match refusals.iter().min_by_key(|refusal| refusal.sequence) {
            None => Ok(()),
            Some(refusal) => Err(IpsetError::Refused {
                op: op.to_string(),
                source: io::Error::from_raw_os_error(refusal.errno),
            }),
        }
    }
}

/// One change as it is sent.
#[cfg(test)]
pub(crate) fn message(op: &Op) -> Vec<u8> {
    encode::op(op, 1, 5).unwrap_or_default()
}

impl IpsetPort for Ipset {
    fn observe(&mut self, prefix: &str) -> Result<Sets, IpsetError> {
        self.ask(
            command::LIST,
            kind::DUMP,
            |_| {},
            Sets::new,
            |sets, message| {
                take(sets, prefix, message.attributes());
            },
        )
        .map_err(|source| IpsetError::Kernel { doing: "list sets", source })
    }

    fn counts(&mut self, prefix: &str) -> Result<BTreeMap<SetName, usize>, IpsetError> {
        let header_only = |writer: &mut Writer| encode::number(writer, attribute::FLAGS, HEADER_ONLY);
        self.ask(command::LIST, kind::DUMP, header_only, BTreeMap::new, |counts, message| {
            counts.extend(count(prefix, message.attributes()));
        })
        .map_err(|source| IpsetError::Kernel { doing: "list the headers of sets", source })
    }

    fn commit(&mut self, ops: &[Op]) -> Result<(), IpsetError> {
        let mut first = Ok(());
        for op in ops {
            first = first.and(self.send(op));
        }
        first
    }
}
