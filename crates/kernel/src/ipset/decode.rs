//! What the kernel says of its sets. A member that we cannot read is left out.

use std::collections::btree_map::Entry;
use std::net::IpAddr;

use ipnet::IpNet;
use netstate::ipset::{Definition, IpPort, Member, Set, SetKind, SetName, Sets};
use netstate::nft::{Family, L4Protocol};

use super::{WITH_MARKS, attribute};
use crate::nfnetlink::Attributes;

/// Takes in one message of a listing. A set's first message tells what it is like, and the following ones bring more
/// members.
pub(crate) fn take(sets: &mut Sets, prefix: &str, message: Attributes<'_>) {
    let Some(name) = name(prefix, message) else {
        return;
    };
    let set = match sets.entry(name) {
        Entry::Occupied(set) => set.into_mut(),
        Entry::Vacant(place) => match definition(message) {
            Some(definition) => place.insert(Set::new(definition.kind, definition.family)),
            None => return,
        },
    };
    for (kind, payload) in message.nest(attribute::MEMBERS).into_iter().flatten() {
        if kind == attribute::DATA {
            let member = member(set.definition.kind, Attributes::new(payload));
            set.members.extend(member.filter(|member| member.fits(&set.definition)));
        }
    }
}

/// How many members a header tells of.
pub(crate) fn count(prefix: &str, message: Attributes<'_>) -> Option<(SetName, usize)> {
    let count = message.nest(attribute::DATA)?.u32(attribute::COUNT)?;
    Some((name(prefix, message)?, count as usize))
}

fn name(prefix: &str, message: Attributes<'_>) -> Option<SetName> {
    let name = message.text(attribute::SET_NAME)?;
    name.starts_with(prefix).then(|| SetName::parse(name).ok()).flatten()
}

fn definition(message: Attributes<'_>) -> Option<Definition> {
    let data = message.nest(attribute::DATA)?;
    let flags = data.u32(attribute::DATA_FLAGS).unwrap_or(0);
    let whole = data.u16(attribute::PORT) == Some(0) && data.u16(attribute::PORT_TO) == Some(u16::MAX);
    let kind = match message.text(attribute::TYPE_NAME)? {
        _ if data.find(attribute::TIMEOUT).is_some() => SetKind::Foreign,
        "hash:ip" if flags == 0 => SetKind::Ip,
        "hash:ip,port" if flags == 0 => SetKind::IpPort,
        "hash:ip,port" if flags == WITH_MARKS => SetKind::IpPortMark,
        "hash:ip,port,ip" if flags == 0 => SetKind::IpPortIp,
        "hash:ip,port,net" if flags == 0 => SetKind::IpPortNet,
        "bitmap:port" if flags == 0 && whole => SetKind::Port,
        _ => SetKind::Foreign,
    };
    let family = if message.u8(attribute::FAMILY) == Some(10) { Family::Ip6 } else { Family::Ip };
    Some(Definition::new(kind, family))
}

fn member(kind: SetKind, data: Attributes<'_>) -> Option<Member> {
    let at = || {
        Some(IpPort {
            address: address(data, attribute::IP)?,
            protocol: L4Protocol(data.u8(attribute::PROTO)?),
            port: data.u16(attribute::PORT)?,
        })
    };
    Some(match kind {
        SetKind::Ip => Member::Ip(address(data, attribute::IP)?),
        SetKind::IpPort => Member::IpPort(at()?),
        SetKind::IpPortMark => {
            // A member without a mark says nothing.
            let mark = data.u64(attribute::MARK).map_or(0, |word| (word >> 32) as u32);
            Member::IpPortMark(at()?, mark)
        }
        SetKind::IpPortIp => Member::IpPortIp(at()?, address(data, attribute::IP2)?),
        SetKind::IpPortNet => {
            let net = address(data, attribute::IP2)?;
            Member::IpPortNet(at()?, IpNet::new(net, data.u8(attribute::CIDR2)?).ok()?)
        }
        SetKind::Port => Member::Port(data.u16(attribute::PORT)?),
        SetKind::Foreign => return None,
    })
}

fn address(data: Attributes<'_>, kind: u16) -> Option<IpAddr> {
    let nest = data.nest(kind)?;
    match nest.find(1) {
        Some(bytes) => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        None => Some(IpAddr::from(<[u8; 16]>::try_from(nest.find(2)?).ok()?)),
    }
}
