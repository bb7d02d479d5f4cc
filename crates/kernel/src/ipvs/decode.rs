//! What the kernel says of its services and destinations. `None` is what we cannot name.

use std::net::{IpAddr, SocketAddr};

use netstate::ipvs::{Destination, Forwarding, Scheduler, ServiceId, Settings};
use netstate::nft::{Family, L4Protocol};

use super::{INET, INET6, PERSISTENT, attribute};
use crate::nfnetlink::Attributes;

/// `IP_VS_CONN_F_FWD_MASK`: the part of a destination's flags that says how packets get there.
const FORWARDING_MASK: u32 = 0x7;

/// Reads a service.
pub(crate) fn service(nest: Attributes<'_>) -> Option<(ServiceId, Settings)> {
    let family = match half(nest, attribute::FAMILY)? {
        INET => Family::Ip,
        INET6 => Family::Ip6,
        _ => return None,
    };
    let id = match whole(nest, attribute::MARK) {
        Some(mark) if mark != 0 => ServiceId::Mark { mark, family },
        _ => ServiceId::Address {
            protocol: L4Protocol(u8::try_from(half(nest, attribute::PROTOCOL)?).ok()?),
            at: SocketAddr::new(
                address(nest.find(attribute::ADDRESS)?, family == Family::Ip6)?,
                nest.u16(attribute::PORT)?,
            ),
        },
    };
    let flags = nest.find(attribute::FLAGS)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))?;
    let persistence = (flags & PERSISTENT != 0).then(|| whole(nest, attribute::TIMEOUT)).flatten();
    let scheduler = Scheduler::parse(nest.text(attribute::SCHEDULER)?).ok()?;
    Some((id, Settings { scheduler, persistence }))
}

/// Reads a destination. Kernels before 3.18 do not tell its family, which then is the service's.
pub(crate) fn destination(nest: Attributes<'_>, ipv6: bool) -> Option<(SocketAddr, Destination)> {
    let ipv6 = half(nest, attribute::TO_FAMILY).map_or(ipv6, |family| family == INET6);
    let to =
        SocketAddr::new(address(nest.find(attribute::TO_ADDRESS)?, ipv6)?, nest.u16(attribute::TO_PORT)?);
    let forwarding = match whole(nest, attribute::FORWARDING)? & FORWARDING_MASK {
        0 => Forwarding::Masquerade,
        other => Forwarding::Other(other),
    };
    let count = |kind| whole(nest, kind).unwrap_or(0);
    Some((
        to,
        Destination {
            weight: whole(nest, attribute::WEIGHT)?,
            forwarding,
            active: count(attribute::ACTIVE),
            inactive: count(attribute::INACTIVE),
        },
    ))
}

fn address(union: &[u8], ipv6: bool) -> Option<IpAddr> {
    if ipv6 {
        union.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes))
    } else {
        union.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes))
    }
}

/// A number in the machine's byte order.
fn whole(nest: Attributes<'_>, kind: u16) -> Option<u32> {
    nest.find(kind)?.try_into().ok().map(u32::from_ne_bytes)
}

/// A number in the machine's byte order.
fn half(nest: Attributes<'_>, kind: u16) -> Option<u16> {
    nest.find(kind)?.try_into().ok().map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use netstate::ipvs::Op;

    use super::*;
    use crate::nfnetlink::Messages;

    fn read_back<T>(op: &Op, kind: u16, read: impl Fn(Attributes<'_>) -> Option<T>) -> Option<T> {
        let bytes = super::super::message(op);
        let message = Messages::new(&bytes).next().unwrap();
        message.attributes().nest(kind).and_then(read)
    }

    #[test]
    fn what_is_written_is_read() {
        let settings = Settings { scheduler: Scheduler::ROUND_ROBIN, persistence: Some(10_800) };
        let tcp = |at: &str| ServiceId::Address { protocol: L4Protocol::TCP, at: at.parse().unwrap() };
        for id in [
            tcp("10.96.203.6:8080"),
            tcp("[fd00::6]:8080"),
            ServiceId::Mark { mark: 0x10000, family: Family::Ip6 },
        ] {
            let add = Op::AddService { id, settings: settings.clone() };
            assert_eq!(read_back(&add, attribute::SERVICE, service), Some((id, settings.clone())));
        }
        let to = "[fd01::1:2]:80".parse().unwrap();
        let add = Op::AddDestination { id: tcp("[fd00::6]:8080"), to, weight: 7 };
        let found = read_back(&add, attribute::DESTINATION, |nest| destination(nest, false));
        assert_eq!(found, Some((to, Destination { weight: 7, ..Destination::masquerade() })));
    }
}
