//! Keys of elements, and what they hold.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{InterfaceName, L4Protocol, Type, Value};

/// One or more fields side by side (`a . b . c`): a key, or the data of an element.
///
/// A table has as many of them as the cluster has endpoints, so they are kept packed: one of at most 22 bytes, as each of
/// IPv4 is, takes no memory beside its own 24. They are in the order of their fields.
#[derive(Clone)]
pub struct Tuple(Packed);

/// Bytes that fit beside the length and the word which variant it is.
const INLINE: usize = 22;

/// Each field as its tag and its bytes, the most significant first: packed tuples are in the order of their fields.
#[derive(Clone)]
enum Packed {
    Inline { length: u8, bytes: [u8; INLINE] },
    Boxed(Box<[u8]>),
}

/// What a field is, in the order of [`Value`].
mod tag {
    pub(super) const IPV4_ADDRESS: u8 = 0;
    pub(super) const IPV6_ADDRESS: u8 = 1;
    pub(super) const IPV4_PREFIX: u8 = 2;
    pub(super) const IPV6_PREFIX: u8 = 3;
    pub(super) const PROTOCOL: u8 = 4;
    pub(super) const PORT: u8 = 5;
    pub(super) const MARK: u8 = 6;
    pub(super) const INTERFACE: u8 = 7;
    pub(super) const CLASS_ID: u8 = 8;
}

impl Tuple {
    /// The fields.
    pub fn fields(&self) -> Fields<'_> {
        Fields { rest: self.packed() }
    }

    /// The fields as a list, to be matched with patterns.
    pub fn to_vec(&self) -> Vec<Value> {
        self.fields().collect()
    }

    /// The types of the fields.
    pub fn types(&self) -> impl Iterator<Item = Type> + '_ {
        self.fields().map(|value| value.value_type())
    }

    /// The same with one more field behind.
    #[must_use]
    pub fn with(&self, field: Value) -> Self {
        let mut longer = self.clone();
        longer.push(field);
        longer
    }

    fn packed(&self) -> &[u8] {
        match &self.0 {
            Packed::Inline { length, bytes } => &bytes[..usize::from(*length)],
            Packed::Boxed(bytes) => bytes,
        }
    }

    fn push(&mut self, field: Value) {
        use std::net::IpAddr::{V4, V6};
        match field {
            Value::Address(V4(address)) => self.put(tag::IPV4_ADDRESS, &address.octets()),
            Value::Address(V6(address)) => self.put(tag::IPV6_ADDRESS, &address.octets()),
            Value::Prefix(IpNet::V4(net)) => {
                let [a, b, c, d] = net.addr().octets();
                self.put(tag::IPV4_PREFIX, &[a, b, c, d, net.prefix_len()]);
            }
            Value::Prefix(IpNet::V6(net)) => {
                let mut bytes = [net.prefix_len(); 17];
                bytes[..16].copy_from_slice(&net.addr().octets());
                self.put(tag::IPV6_PREFIX, &bytes);
            }
            Value::Protocol(protocol) => self.put(tag::PROTOCOL, &[protocol.0]),
            Value::Port(port) => self.put(tag::PORT, &port.to_be_bytes()),
            Value::Mark(mark) => self.put(tag::MARK, &mark.to_be_bytes()),
            Value::Interface(interface) => self.put(tag::INTERFACE, interface.padded()),
            Value::ClassId(class) => self.put(tag::CLASS_ID, &class.to_be_bytes()),
        }
    }

    fn put(&mut self, tag: u8, field: &[u8]) {
        if let Packed::Inline { length, bytes } = &mut self.0 {
            let begin = usize::from(*length);
            let end = begin + 1 + field.len();
            if end <= INLINE {
                bytes[begin] = tag;
                bytes[begin + 1..end].copy_from_slice(field);
                // At most INLINE.
                *length = end as u8;
                return;
            }
        }
        let longer: Vec<u8> = [self.packed(), &[tag], field].concat();
        self.0 = Packed::Boxed(longer.into());
    }
}

/// The fields of a [`Tuple`] in order.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl Iterator for Fields<'_> {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        let (tag, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(match *tag {
            tag::IPV4_ADDRESS => Ipv4Addr::from(self.take::<4>()?).into(),
            tag::IPV6_ADDRESS => Ipv6Addr::from(self.take::<16>()?).into(),
            tag::IPV4_PREFIX => {
                let [a, b, c, d, length] = self.take()?;
                Value::Prefix(IpNet::V4(Ipv4Net::new([a, b, c, d].into(), length).ok()?))
            }
            tag::IPV6_PREFIX => {
                let address: [u8; 16] = self.take()?;
                let [length] = self.take()?;
                Value::Prefix(IpNet::V6(Ipv6Net::new(address.into(), length).ok()?))
            }
            tag::PROTOCOL => Value::Protocol(L4Protocol(self.take::<1>()?[0])),
            tag::PORT => Value::Port(u16::from_be_bytes(self.take()?)),
            tag::MARK => Value::Mark(u32::from_be_bytes(self.take()?)),
            tag::CLASS_ID => Value::ClassId(u32::from_be_bytes(self.take()?)),
            _ => Value::Interface(InterfaceName::from_padded(self.take()?)),
        })
    }
}

impl Fields<'_> {
    /// As many bytes as a field has; they are there, since [`Tuple::push`] wrote them.
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*field)
    }
}

impl FromIterator<Value> for Tuple {
    fn from_iter<I: IntoIterator<Item = Value>>(fields: I) -> Self {
        let mut tuple = Self(Packed::Inline { length: 0, bytes: [0; INLINE] });
        fields.into_iter().for_each(|field| tuple.push(field));
        tuple
    }
}

impl<const N: usize> From<[Value; N]> for Tuple {
    fn from(fields: [Value; N]) -> Self {
        fields.into_iter().collect()
    }
}

impl From<Vec<Value>> for Tuple {
    fn from(fields: Vec<Value>) -> Self {
        fields.into_iter().collect()
    }
}

impl From<Value> for Tuple {
    fn from(field: Value) -> Self {
        [field].into()
    }
}

impl PartialEq for Tuple {
    fn eq(&self, other: &Self) -> bool {
        self.packed() == other.packed()
    }
}

impl Eq for Tuple {}

impl PartialOrd for Tuple {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Tuple {
    fn cmp(&self, other: &Self) -> Ordering {
        self.packed().cmp(other.packed())
    }
}

impl Hash for Tuple {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.packed().hash(state);
    }
}

impl fmt::Debug for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<std::net::IpAddr>().prop_map(Value::Address),
            (any::<Ipv4Addr>(), 0..=32_u8)
                .prop_map(|(address, length)| Value::prefix(Ipv4Net::new(address, length).unwrap().into())),
            (any::<Ipv6Addr>(), 0..=128_u8)
                .prop_map(|(address, length)| Value::prefix(Ipv6Net::new(address, length).unwrap().into())),
            any::<u8>().prop_map(|number| Value::Protocol(L4Protocol(number))),
            any::<u16>().prop_map(Value::Port),
            any::<u32>().prop_map(Value::Mark),
            any::<u32>().prop_map(Value::ClassId),
            "[a-z][a-z0-9.-]{0,14}".prop_map(|name| Value::Interface(InterfaceName::new(&name).unwrap())),
        ]
    }

    proptest! {
        #[test]
        fn fields_come_back_and_order_is_theirs(
            one in prop::collection::vec(any_value(), 0..6),
            other in prop::collection::vec(any_value(), 0..6),
        ) {
            let (packed, other_packed) = (Tuple::from(one.clone()), Tuple::from(other.clone()));
            prop_assert_eq!(packed.to_vec(), one.clone());
            prop_assert!(packed.types().eq(one.iter().map(Value::value_type)));
            prop_assert_eq!(packed.cmp(&other_packed), one.cmp(&other));
            let longer: Vec<Value> = [one, other.clone()].concat();
            let extended = other.into_iter().fold(packed, |tuple, field| tuple.with(field));
            prop_assert_eq!(extended, Tuple::from(longer));
        }
    }

    #[test]
    fn a_key_of_ipv4_takes_no_memory_beside_its_own() {
        let slot = [
            Value::Address([10, 96, 0, 1].into()),
            Value::Protocol(L4Protocol::TCP),
            Value::Port(80),
            Value::Mark(7),
        ];
        assert!(matches!(Tuple::from(slot).0, Packed::Inline { .. }));
        assert_eq!(size_of::<Tuple>(), 24);
    }
}
