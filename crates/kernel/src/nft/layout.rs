//! How values lie in registers and in set elements.
//!
//! A field alone takes its own length. In a concatenation every field is padded to four bytes, which is one 32-bit
//! register. Addresses and ports are in network byte order, marks in the machine's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netstate::nft::{InterfaceName, L4Protocol, Tuple, Type, Value};

/// nft packs six bits per field into one 32-bit number, so no more fields than these can be named.
const MOST_FIELDS: usize = 5;
const TYPE_BITS: u32 = 6;

/// nft's number for a type (`enum datatypes` of its source). The kernel only keeps it.
const fn number(field: Type) -> u32 {
    match field {
        Type::Ipv4Address => 7,
        Type::Ipv6Address => 8,
        Type::Protocol => 12,
        Type::Port => 13,
        Type::Mark => 19,
        Type::ClassId => 23,
        Type::Interface => 41,
    }
}

const fn by_number(number: u32) -> Option<Type> {
    match number {
        7 => Some(Type::Ipv4Address),
        8 => Some(Type::Ipv6Address),
        12 => Some(Type::Protocol),
        13 => Some(Type::Port),
        19 => Some(Type::Mark),
        23 => Some(Type::ClassId),
        41 => Some(Type::Interface),
        _ => None,
    }
}

/// Bytes of a field by itself.
pub(super) const fn width(field: Type) -> usize {
    match field {
        Type::Protocol => 1,
        Type::Port => 2,
        Type::Ipv4Address | Type::Mark | Type::ClassId => 4,
        Type::Ipv6Address | Type::Interface => 16,
    }
}

/// Bytes of an interface's whole name (`IFNAMSIZ`).
pub(super) const INTERFACE_LENGTH: usize = width(Type::Interface);

/// 32-bit registers that a field takes.
pub(super) const fn slots(field: Type) -> u8 {
    match field {
        Type::Protocol | Type::Port | Type::Ipv4Address | Type::Mark | Type::ClassId => 1,
        Type::Ipv6Address | Type::Interface => 4,
    }
}

/// Bytes of these fields side by side.
pub(super) fn length(fields: &[Type]) -> usize {
    match fields {
        [field] => width(*field),
        _ => fields.iter().map(|field| usize::from(slots(*field)) * 4).sum(),
    }
}

/// nft's number for fields side by side; `None` for none or too many.
pub(super) fn type_number(fields: &[Type]) -> Option<u32> {
    if fields.is_empty() || fields.len() > MOST_FIELDS {
        return None;
    }
    Some(fields.iter().fold(0, |packed, field| packed << TYPE_BITS | number(*field)))
}

/// The fields that a number stands for.
pub(super) fn fields(mut packed: u32) -> Option<Vec<Type>> {
    let mut fields = Vec::new();
    while packed != 0 {
        fields.push(by_number(packed & ((1 << TYPE_BITS) - 1))?);
        packed >>= TYPE_BITS;
    }
    fields.reverse();
    (!fields.is_empty()).then_some(fields)
}

/// The bytes of one value, unpadded. A prefix has none.
pub(super) fn value_bytes(value: &Value) -> Option<Vec<u8>> {
    Some(match value {
        Value::Address(address) => address_bytes(*address),
        Value::Prefix(_) => return None,
        Value::Protocol(protocol) => vec![protocol.0],
        Value::Port(port) => port.to_be_bytes().to_vec(),
        Value::Mark(number) | Value::ClassId(number) => number.to_ne_bytes().to_vec(),
        Value::Interface(interface) => interface.padded().to_vec(),
    })
}

pub(super) fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Reads one value; `None` if the bytes are of another length or no such value.
pub(super) fn value(field: Type, bytes: &[u8]) -> Option<Value> {
    Some(match field {
        Type::Ipv4Address => Value::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        Type::Ipv6Address => Value::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        Type::Protocol => match bytes {
            [number] => Value::Protocol(L4Protocol(*number)),
            _ => return None,
        },
        Type::Port => Value::Port(u16::from_be_bytes(bytes.try_into().ok()?)),
        Type::Mark => Value::Mark(u32::from_ne_bytes(bytes.try_into().ok()?)),
        Type::ClassId => Value::ClassId(u32::from_ne_bytes(bytes.try_into().ok()?)),
        Type::Interface => {
            if bytes.len() != 16 {
                return None;
            }
            let end = bytes.iter().position(|byte| *byte == 0)?;
            Value::Interface(InterfaceName::new(std::str::from_utf8(&bytes[..end]).ok()?).ok()?)
        }
    })
}

/// The bytes of exact values side by side; `None` if one is a prefix.
pub(super) fn tuple_bytes(values: &Tuple) -> Option<Vec<u8>> {
    let is_one_of_several = values.fields().nth(1).is_some();
    let mut bytes = Vec::with_capacity(16);
    for value in values.fields() {
        bytes.extend(value_bytes(&value)?);
        if is_one_of_several {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
    }
    Some(bytes)
}

/// Reads exact values side by side.
pub(super) fn tuple(fields: &[Type], bytes: &[u8]) -> Option<Tuple> {
    if bytes.len() != length(fields) {
        return None;
    }
    let mut rest = bytes;
    let values = fields.iter().map(|field| {
        let (head, tail) = rest.split_at_checked(width(*field))?;
        let padding = width(*field).next_multiple_of(4) - width(*field);
        rest = tail.get(padding..).unwrap_or_default();
        value(*field, head)
    });
    values.collect()
}

/// The first and the last value of a key with ranges; `None` if an address is given by itself there, where only
/// ranges (also of one address) are unambiguous.
pub(super) fn bounds(values: &Tuple) -> Option<(Tuple, Tuple)> {
    let bound = |value| match value {
        Value::Prefix(net) => Some((Value::Address(net.network()), Value::Address(net.broadcast()))),
        Value::Address(_) => None,
        Value::Protocol(_) | Value::Port(_) | Value::Mark(_) | Value::Interface(_) | Value::ClassId(_) => {
            Some((value, value))
        }
    };
    let bounds: Vec<_> = values.fields().map(bound).collect::<Option<_>>()?;
    Some((bounds.iter().map(|(first, _)| *first).collect(), bounds.iter().map(|(_, last)| *last).collect()))
}

/// The inverse of [`bounds`]; `None` if a range is no prefix.
pub(super) fn from_bounds(first: &Tuple, last: &Tuple) -> Option<Tuple> {
    if !first.types().eq(last.types()) {
        return None;
    }
    first.fields().zip(last.fields()).map(|(first, last)| from_bound(first, last)).collect()
}

fn from_bound(first: Value, last: Value) -> Option<Value> {
    match (first, last) {
        (Value::Address(IpAddr::V4(first)), Value::Address(IpAddr::V4(last))) => {
            let differing = first.to_bits() ^ last.to_bits();
            // A u32 has at most 32 leading zeros.
            let net = Ipv4Net::new(first, differing.leading_zeros() as u8).ok()?;
            (net.network() == first && net.broadcast() == last).then(|| Value::prefix(IpNet::V4(net)))
        }
        (Value::Address(IpAddr::V6(first)), Value::Address(IpAddr::V6(last))) => {
            let differing = first.to_bits() ^ last.to_bits();
            // A u128 has at most 128 leading zeros.
            let net = Ipv6Net::new(first, differing.leading_zeros() as u8).ok()?;
            (net.network() == first && net.broadcast() == last).then(|| Value::prefix(IpNet::V6(net)))
        }
        _ => (first == last).then_some(first),
    }
}

/// The bytes one further, as of a big number; `None` after the last.
pub(super) fn successor(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    for byte in bytes.iter_mut().rev() {
        let (next, carried) = byte.overflowing_add(1);
        *byte = next;
        if !carried {
            return Some(bytes);
        }
    }
    None
}

/// The inverse of [`successor`].
pub(super) fn predecessor(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    for byte in bytes.iter_mut().rev() {
        let (previous, borrowed) = byte.overflowing_sub(1);
        *byte = previous;
        if !borrowed {
            return Some(bytes);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_type() -> impl Strategy<Value = Type> {
        prop_oneof![
            Just(Type::Ipv4Address),
            Just(Type::Ipv6Address),
            Just(Type::Protocol),
            Just(Type::Port),
            Just(Type::Mark),
            Just(Type::ClassId),
            Just(Type::Interface),
        ]
    }

    fn value_of(field: Type) -> BoxedStrategy<Value> {
        match field {
            Type::Ipv4Address => any::<Ipv4Addr>().prop_map(Value::from).boxed(),
            Type::Ipv6Address => any::<Ipv6Addr>().prop_map(Value::from).boxed(),
            Type::Protocol => any::<u8>().prop_map(|number| Value::Protocol(L4Protocol(number))).boxed(),
            Type::Port => any::<u16>().prop_map(Value::Port).boxed(),
            Type::Mark => any::<u32>().prop_map(Value::Mark).boxed(),
            Type::ClassId => any::<u32>().prop_map(Value::ClassId).boxed(),
            Type::Interface => "[a-z][a-z0-9.-]{0,14}"
                .prop_map(|name| Value::Interface(InterfaceName::new(&name).unwrap()))
                .boxed(),
        }
    }

    proptest! {
        #[test]
        fn tuples_are_read_back(values in proptest::collection::vec(any_type(), 1..=5)
            .prop_flat_map(|fields| fields.into_iter().map(value_of).collect::<Vec<_>>()))
        {
            let types: Vec<Type> = values.iter().map(Value::value_type).collect();
            let values = Tuple::from(values);
            let bytes = tuple_bytes(&values).unwrap();
            prop_assert_eq!(bytes.len(), length(&types));
            prop_assert_eq!(tuple(&types, &bytes), Some(values));
            prop_assert_eq!(fields(type_number(&types).unwrap()), Some(types));
        }

        #[test]
        fn prefixes_are_read_back(address in any::<Ipv4Addr>(), length in 0u8..=32) {
            let value = Value::prefix(Ipv4Net::new(address, length).unwrap().into());
            let (first, last) = bounds(&value.into()).unwrap();
            prop_assert_eq!(from_bounds(&first, &last), Some(value.into()));
        }

        #[test]
        fn any_bytes_can_be_read(
            types in proptest::collection::vec(any_type(), 0..=5),
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
            packed in any::<u32>(),
        ) {
            tuple(&types, &bytes);
            fields(packed);
            if let Some(next) = successor(bytes.clone()) {
                prop_assert_eq!(predecessor(next), Some(bytes));
            }
        }
    }

    #[test]
    fn a_range_that_is_no_prefix_is_none() {
        let address = |text: &str| Tuple::from(Value::Address(text.parse().unwrap()));
        assert_eq!(from_bounds(&address("10.0.0.1"), &address("10.0.0.2")), None);
        assert_eq!(from_bounds(&address("10.0.0.0"), &address("10.0.2.255")), None);
        assert_eq!(type_number(&[Type::Port; 6]), None);
    }
}
