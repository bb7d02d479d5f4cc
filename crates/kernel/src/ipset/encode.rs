//! Changes as messages.

use std::net::IpAddr;

use netstate::ipset::{Definition, IpPort, IpsetError, Member, Op, SetKind, SetName};
use netstate::nft::Family;

use super::{ANY, PROTOCOL, SUBSYSTEM, WITH_MARKS, attribute, command};
use crate::nfnetlink::{Writer, kind};

/// `NLA_F_NET_BYTEORDER`, without which ipset takes no number longer than a byte.
const NETWORK_ORDER: u16 = 0x4000;
/// `IPSET_ATTR_IPADDR_IPV4`, `IPSET_ATTR_IPADDR_IPV6`.
const V4: u16 = 1;
const V6: u16 = 2;
/// Members a message: at most 100 bytes each, and their nest may be 64 kB long.
const CHUNK: usize = 400;
/// The most members that a set may have. Costs nothing until they are there.
const MOST: u32 = 1 << 20;

/// How many messages a change is made of.
pub(super) fn message_count(op: &Op) -> u32 {
    match op {
        Op::Create { .. } | Op::Destroy { .. } => 1,
        // Fewer than there is memory for.
        Op::Add { members, .. } | Op::Delete { members, .. } => members.len().div_ceil(CHUNK) as u32,
    }
}

/// Writes one change, with sequence numbers from `first` on.
pub(super) fn op(op: &Op, first: u32, revision: u8) -> Result<Vec<u8>, IpsetError> {
    let unwritable = |reason: &str| IpsetError::Unwritable { op: op.to_string(), reason: reason.to_owned() };
    let mut writer = Writer::default();
    match op {
        Op::Create { definition, .. } if definition.kind == SetKind::Foreign => {
            return Err(unwritable("nobody knows what it is like"));
        }
        Op::Create { set, definition } => {
            message(&mut writer, command::CREATE, kind::EXCLUSIVE, first, set, |writer| {
                create(writer, definition, revision);
            });
        }
        Op::Destroy { set } => message(&mut writer, command::DESTROY, 0, first, set, |_| {}),
        Op::Add { set, members } | Op::Delete { set, members } => {
            let command = if matches!(op, Op::Add { .. }) { command::ADD } else { command::DELETE };
            for (sequence, chunk) in (first..).zip(members.chunks(CHUNK)) {
                message(&mut writer, command, 0, sequence, set, |writer| {
                    // Whoever writes many members is taken for a script and must tell its line.
                    writer.bytes(attribute::LINE, &0u32.to_ne_bytes());
                    writer.nest(attribute::MEMBERS, |writer| {
                        chunk
                            .iter()
                            .for_each(|one| writer.nest(attribute::DATA, |writer| member(writer, one)));
                    });
                });
            }
        }
    }
    writer.finish().ok_or_else(|| unwritable("too long for a message"))
}

fn message(
    writer: &mut Writer,
    command: u16,
    flags: u16,
    sequence: u32,
    set: &SetName,
    body: impl FnOnce(&mut Writer),
) {
    writer.message(SUBSYSTEM | command, kind::REQUEST | flags, sequence, ANY, 0, |writer| {
        writer.u8(attribute::PROTOCOL, PROTOCOL);
        writer.text(attribute::SET_NAME, set.as_str());
        body(writer);
    });
}

fn create(writer: &mut Writer, definition: &Definition, revision: u8) {
    writer.text(attribute::TYPE_NAME, definition.kind.as_str());
    writer.u8(attribute::REVISION, revision);
    writer.u8(attribute::FAMILY, family(definition));
    writer.nest(attribute::DATA, |writer| match definition.kind {
        SetKind::Port => {
            port(writer, attribute::PORT, 0);
            port(writer, attribute::PORT_TO, u16::MAX);
        }
        SetKind::IpPortMark => {
            number(writer, attribute::MAX_MEMBERS, MOST);
            number(writer, attribute::DATA_FLAGS, WITH_MARKS);
        }
        SetKind::Ip | SetKind::IpPort | SetKind::IpPortIp | SetKind::IpPortNet => {
            number(writer, attribute::MAX_MEMBERS, MOST);
        }
        SetKind::Foreign => {}
    });
}

/// The number of a set's address family. Ports have none, which is 0.
pub(super) fn family(definition: &Definition) -> u8 {
    match (definition.kind, definition.family) {
        (SetKind::Port | SetKind::Foreign, _) => 0,
        (_, Family::Ip) => 2,
        (_, Family::Ip6) => 10,
    }
}

/// The revision that Linux 3.18 brought: `skbinfo`, and everything else that we need.
pub(super) fn usual_revision(kind: SetKind) -> u8 {
    match kind {
        SetKind::Ip => 4,
        SetKind::IpPort | SetKind::IpPortMark | SetKind::IpPortIp => 5,
        SetKind::IpPortNet => 7,
        SetKind::Port => 3,
        SetKind::Foreign => 0,
    }
}

fn member(writer: &mut Writer, member: &Member) {
    match member {
        Member::Ip(one) => address(writer, attribute::IP, *one),
        Member::IpPort(at) => ip_port(writer, at),
        Member::IpPortMark(at, mark) => {
            ip_port(writer, at);
            // The mark, and the mask of its bits that count: all.
            let word = u64::from(*mark) << 32 | u64::from(u32::MAX);
            writer.u64(attribute::MARK | NETWORK_ORDER, word);
        }
        Member::IpPortIp(at, other) => {
            ip_port(writer, at);
            address(writer, attribute::IP2, *other);
        }
        Member::IpPortNet(at, net) => {
            ip_port(writer, at);
            address(writer, attribute::IP2, net.network());
            writer.u8(attribute::CIDR2, net.prefix_len());
        }
        Member::Port(number) => port(writer, attribute::PORT, *number),
    }
}

fn ip_port(writer: &mut Writer, at: &IpPort) {
    address(writer, attribute::IP, at.address);
    port(writer, attribute::PORT, at.port);
    writer.u8(attribute::PROTO, at.protocol.0);
}

fn address(writer: &mut Writer, kind: u16, address: IpAddr) {
    writer.nest(kind, |writer| match address {
        IpAddr::V4(address) => writer.bytes(V4 | NETWORK_ORDER, &address.octets()),
        IpAddr::V6(address) => writer.bytes(V6 | NETWORK_ORDER, &address.octets()),
    });
}

fn port(writer: &mut Writer, kind: u16, port: u16) {
    writer.bytes(kind | NETWORK_ORDER, &port.to_be_bytes());
}

/// A number in network byte order, marked so.
pub(super) fn number(writer: &mut Writer, kind: u16, number: u32) {
    writer.u32(kind | NETWORK_ORDER, number);
}
