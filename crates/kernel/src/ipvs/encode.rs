//! Changes as messages.

use std::net::{IpAddr, SocketAddr};

use netstate::ipvs::{Op, ServiceId, Settings};
use netstate::nft::Family;

use super::{INET, INET6, PERSISTENT, attribute, command};
use crate::nfnetlink::{Writer, kind};

/// Writes one change.
pub(super) fn op(writer: &mut Writer, family: u16, sequence: u32, op: &Op) {
    let mut message = |command, body: &dyn Fn(&mut Writer)| {
        writer.generic(family, kind::REQUEST, sequence, command, body);
    };
    match op {
        Op::AddService { id, settings } => {
            message(command::NEW_SERVICE, &|writer| service(writer, id, settings))
        }
        Op::SetService { id, settings } => {
            message(command::SET_SERVICE, &|writer| service(writer, id, settings))
        }
        Op::DeleteService { id: service } => message(command::DELETE_SERVICE, &|writer| {
            writer.nest(attribute::SERVICE, |writer| id(writer, service));
        }),
        Op::AddDestination { id, to, weight } => message(command::NEW_DESTINATION, &|writer| {
            destination(writer, id, *to, Some(*weight));
        }),
        Op::SetWeight { id, to, weight } => message(command::SET_DESTINATION, &|writer| {
            destination(writer, id, *to, Some(*weight));
        }),
        Op::DeleteDestination { id, to } => {
            message(command::DELETE_DESTINATION, &|writer| destination(writer, id, *to, None));
        }
    }
}

/// What names a service.
pub(super) fn id(writer: &mut Writer, id: &ServiceId) {
    let family = match id.family() {
        Family::Ip => INET,
        Family::Ip6 => INET6,
    };
    writer.bytes(attribute::FAMILY, &family.to_ne_bytes());
    match id {
        ServiceId::Address { protocol, at } => {
            writer.bytes(attribute::PROTOCOL, &u16::from(protocol.0).to_ne_bytes());
            writer.bytes(attribute::ADDRESS, &union(at.ip()));
            writer.bytes(attribute::PORT, &at.port().to_be_bytes());
        }
        ServiceId::Mark { mark, .. } => writer.bytes(attribute::MARK, &mark.to_ne_bytes()),
    }
}

fn service(writer: &mut Writer, service: &ServiceId, settings: &Settings) {
    writer.nest(attribute::SERVICE, |writer| {
        id(writer, service);
        writer.text(attribute::SCHEDULER, settings.scheduler.as_str());
        // The flag and the mask of the flags that are meant.
        let flag = if settings.persistence.is_some() { PERSISTENT } else { 0 };
        let flags = [flag.to_ne_bytes(), u32::MAX.to_ne_bytes()].concat();
        writer.bytes(attribute::FLAGS, &flags);
        writer.bytes(attribute::TIMEOUT, &settings.persistence.unwrap_or(0).to_ne_bytes());
        // Every client address for itself: a mask for IPv4, a length for IPv6.
        let whole = match service.family() {
            Family::Ip => u32::MAX,
            Family::Ip6 => 128,
        };
        writer.bytes(attribute::NETMASK, &whole.to_ne_bytes());
    });
}

/// Without a weight: only what names it.
fn destination(writer: &mut Writer, service: &ServiceId, to: SocketAddr, weight: Option<u32>) {
    writer.nest(attribute::SERVICE, |writer| id(writer, service));
    writer.nest(attribute::DESTINATION, |writer| {
        let family = if to.is_ipv4() { INET } else { INET6 };
        writer.bytes(attribute::TO_FAMILY, &family.to_ne_bytes());
        writer.bytes(attribute::TO_ADDRESS, &union(to.ip()));
        writer.bytes(attribute::TO_PORT, &to.port().to_be_bytes());
        if let Some(weight) = weight {
            let zero = 0u32.to_ne_bytes();
            // 0 is `IP_VS_CONN_F_MASQ`.
            writer.bytes(attribute::FORWARDING, &zero);
            writer.bytes(attribute::WEIGHT, &weight.to_ne_bytes());
            writer.bytes(attribute::UPPER_THRESHOLD, &zero);
            writer.bytes(attribute::LOWER_THRESHOLD, &zero);
        }
    });
}

/// `union nf_inet_addr`: sixteen bytes, of which IPv4 takes the first four.
fn union(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(address) => address.octets(),
    }
}
