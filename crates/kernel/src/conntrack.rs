//! Connection tracking for real, over netlink (linux/netfilter/nfnetlink_conntrack.h).

use std::net::{IpAddr, SocketAddr};

use netstate::conntrack::{Connection, ConntrackError, ConntrackPort, Filter, Flow, meant};
use netstate::nft::{Family, L4Protocol};

use crate::nfnetlink::{Attributes, Socket, Writer, kind};
use crate::nft::family_number;

/// `NFNL_SUBSYS_CTNETLINK` with `IPCTNL_MSG_CT_GET` and `IPCTNL_MSG_CT_DELETE`.
const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const IDENTIFIER: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
/// Deletions sent at once; each is about 100 bytes.
const CHUNK: usize = 500;

/// Connection tracking of one network namespace.
pub struct Conntrack {
    socket: Socket,
}

/// A connection with what names it to the kernel.
struct Found {
    connection: Connection,
    family: u8,
    original: Vec<u8>,
    identifier: Option<Vec<u8>>,
}

impl Conntrack {
    /// Opens connection tracking of the network namespace that the calling thread is in now. It stays that one,
    /// whatever thread uses it later.
    ///
    /// # Errors
    /// [`ConntrackError::Kernel`] if the kernel gives no netfilter socket.
    pub fn open() -> Result<Self, ConntrackError> {
        let socket =
            Socket::open().map_err(|source| ConntrackError::Kernel { doing: "open a socket", source })?;
        Ok(Self { socket })
    }

    fn find(&mut self, filters: &[Filter]) -> Result<Vec<Found>, ConntrackError> {
        let mut all = Vec::new();
        // The kernel walks its whole table for each family: a hash table of 262,144 lists takes 4 ms without any entry.
        for family in [Family::Ip, Family::Ip6] {
            if !filters.iter().any(|filter| filter.may_be_of(family)) {
                continue;
            }
            let number = family_number(family);
            let request = |sequence| {
                let mut writer = Writer::default();
                let flags = kind::REQUEST | kind::DUMP;
                writer.message(GET, flags, sequence, number, 0, |writer| only_of(writer, filters));
                // A few attributes of a few bytes cannot outgrow one.
                writer.finish().unwrap_or_default()
            };
            let found = self
                .socket
                .dump(request, Vec::new, |found, message| {
                    let read = read(number, message.attributes());
                    found.extend(read.filter(|read| meant(filters, &read.connection)));
                })
                .map_err(|source| ConntrackError::Kernel { doing: "list", source })?;
            all.extend(found);
        }
        Ok(all)
    }

    fn forget(&mut self, chunk: &[Found]) -> Result<usize, ConntrackError> {
        // A chunk is far below 2^32.
        let first = self.socket.sequences(chunk.len() as u32);
        let mut writer = Writer::default();
        for (sequence, found) in (first..).zip(chunk) {
            writer.message(DELETE, kind::REQUEST, sequence, found.family, 0, |writer| {
                writer.nest(TUPLE_ORIGINAL, |writer| writer.raw(&found.original));
                // With its identifier, a new connection between the same ends is left alone.
                if let Some(identifier) = &found.identifier {
                    writer.bytes(IDENTIFIER, identifier);
                }
            });
        }
        let bytes = writer.finish().ok_or_else(|| ConntrackError::Malformed {
            doing: "delete",
            reason: "a connection's addresses are longer than 64 kB".to_owned(),
        })?;
        let refusals = self
            .socket
            .transact(&bytes, first)
            .map_err(|source| ConntrackError::Kernel { doing: "delete", source })?;
        let ended = |errno| errno == nix::errno::Errno::ENOENT as i32;
        match refusals.iter().find(|refusal| !ended(refusal.errno)) {
            Some(refusal) => Err(ConntrackError::Kernel {
                doing: "delete",
                source: std::io::Error::from_raw_os_error(refusal.errno),
            }),
            None => Ok(chunk.len() - refusals.len()),
        }
    }
}

impl ConntrackPort for Conntrack {
    fn list(&mut self, filters: &[Filter]) -> Result<Vec<Connection>, ConntrackError> {
        Ok(self.find(filters)?.into_iter().map(|found| found.connection).collect())
    }

    fn delete(&mut self, filters: &[Filter]) -> Result<usize, ConntrackError> {
        let found = self.find(filters)?;
        let mut deleted = 0;
        for chunk in found.chunks(CHUNK) {
            deleted += self.forget(chunk)?;
        }
        Ok(deleted)
    }
}

/// Asks for the protocol that all filters share, if they do: a node may have hundreds of thousands of TCP connections. A
/// kernel before Linux 5.8 does not look at it, and shows all.
fn only_of(writer: &mut Writer, filters: &[Filter]) {
    const FLAGS_OF_ORIGINAL: u16 = 1;
    /// `CTA_FILTER_F_CTA_PROTO_NUM` of net/netfilter/nf_internals.h.
    const BY_PROTOCOL: u32 = 1 << 3;
    let Some((first, others)) = filters.split_first() else {
        return;
    };
    if others.iter().any(|filter| filter.protocol != first.protocol) {
        return;
    }
    writer.nest(TUPLE_ORIGINAL, |writer| {
        writer.nest(TUPLE_PROTOCOL, |writer| writer.u8(PROTOCOL_NUMBER, first.protocol.0));
    });
    writer.nest(FILTER, |writer| writer.bytes(FLAGS_OF_ORIGINAL, &BY_PROTOCOL.to_ne_bytes()));
}

/// The connection that an entry of a listing tells of, if it is one that we can name.
pub(crate) fn entry(attributes: Attributes<'_>) -> Option<Connection> {
    read(0, attributes).map(|found| found.connection)
}

/// `None` for what we cannot name, and for entries of a zone.
fn read(family: u8, attributes: Attributes<'_>) -> Option<Found> {
    if attributes.u16(ZONE).is_some_and(|zone| zone != 0) {
        return None;
    }
    let original = attributes.find(TUPLE_ORIGINAL)?;
    let (protocol, original_flow) = read_tuple(Attributes::new(original))?;
    let (_, reply) = read_tuple(attributes.nest(TUPLE_REPLY)?)?;
    Some(Found {
        connection: Connection { protocol, original: original_flow, reply },
        family,
        original: original.to_vec(),
        identifier: attributes.find(IDENTIFIER).map(<[u8]>::to_vec),
    })
}

/// `CTA_TUPLE_IP` and `CTA_TUPLE_PROTO`. ICMP has no ports.
fn read_tuple(tuple: Attributes<'_>) -> Option<(L4Protocol, Flow)> {
    let addresses = tuple.nest(1)?;
    let protocol = tuple.nest(TUPLE_PROTOCOL)?;
    let address = |v4: u16, v6: u16| -> Option<IpAddr> {
        if let Some(bytes) = addresses.find(v4) {
            return Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?));
        }
        Some(IpAddr::from(<[u8; 16]>::try_from(addresses.find(v6)?).ok()?))
    };
    let end = |address, port| SocketAddr::new(address, protocol.u16(port).unwrap_or(0));
    let flow = Flow { source: end(address(1, 3)?, 2), destination: end(address(2, 4)?, 3) };
    Some((L4Protocol(protocol.u8(PROTOCOL_NUMBER)?), flow))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tuple(writer: &mut Writer, source: [u8; 4], destination: [u8; 4], ports: (u16, u16)) {
        writer.nest(1, |writer| {
            writer.bytes(1, &source);
            writer.bytes(2, &destination);
        });
        writer.nest(2, |writer| {
            writer.u8(1, 17);
            writer.bytes(2, &ports.0.to_be_bytes());
            writer.bytes(3, &ports.1.to_be_bytes());
        });
    }

    #[test]
    fn an_entry_is_read() {
        let mut writer = Writer::default();
        writer.nest(TUPLE_ORIGINAL, |writer| tuple(writer, [10, 244, 1, 9], [10, 96, 0, 10], (40000, 53)));
        writer.nest(TUPLE_REPLY, |writer| tuple(writer, [10, 244, 2, 3], [10, 244, 1, 9], (5353, 40000)));
        let bytes = writer.finish().unwrap();
        let found = read(2, Attributes::new(&bytes)).unwrap();
        assert_eq!(
            found.connection.to_string(),
            "udp 10.244.1.9:40000 > 10.96.0.10:53, answered 10.244.2.3:5353 > 10.244.1.9:40000"
        );
    }

    #[test]
    fn an_entry_of_a_zone_is_not_ours() {
        let mut writer = Writer::default();
        writer.bytes(ZONE, &[0, 7]);
        writer.nest(TUPLE_ORIGINAL, |writer| tuple(writer, [1; 4], [2; 4], (1, 2)));
        writer.nest(TUPLE_REPLY, |writer| tuple(writer, [2; 4], [1; 4], (2, 1)));
        assert!(read(2, Attributes::new(&writer.finish().unwrap())).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            read(2, Attributes::new(&bytes));
        }
    }
}
