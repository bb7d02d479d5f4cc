//! Values that keys, element data and comparisons are made of.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The type of one field of a key or of element data.
///
/// Only types that `nft` can print inside a concatenation are here: a plain integer makes nft 1.0.6 abort, so
/// counters and indexes are marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Type {
    /// `ipv4_addr`, 4 bytes.
    Ipv4Address,
    /// `ipv6_addr`, 16 bytes.
    Ipv6Address,
    /// `inet_proto`, 1 byte.
    Protocol,
    /// `inet_service`, a port, 2 bytes.
    Port,
    /// `mark`, 4 bytes in the machine's byte order.
    Mark,
    /// `ifname`, 16 bytes.
    Interface,
    /// `classid`, what `meta priority` holds: two numbers of 16 bits, the major one first, in the machine's byte order.
    ClassId,
}

/// An IP protocol number, as `meta l4proto` holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct L4Protocol(pub u8);

impl L4Protocol {
    /// ICMP for IPv4.
    pub const ICMP: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// SCTP.
    pub const SCTP: Self = Self(132);
}

impl fmt::Display for L4Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ICMP => f.write_str("icmp"),
            Self::TCP => f.write_str("tcp"),
            Self::UDP => f.write_str("udp"),
            Self::ICMPV6 => f.write_str("ipv6-icmp"),
            Self::SCTP => f.write_str("sctp"),
            Self(number) => write!(f, "{number}"),
        }
    }
}

/// The name of a network interface: 1 to 15 bytes, no `/`, no white space, no quotes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName([u8; 16]);

/// Why a text is no [`InterfaceName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no interface name: it must have 1 to 15 printable ASCII characters without `/`, quotes, `*` and spaces"
)]
pub struct InvalidInterfaceName {
    /// The rejected text.
    pub text: String,
}

impl InterfaceName {
    /// Parses an interface name.
    ///
    /// # Errors
    /// [`InvalidInterfaceName`] when the kernel would not take it, or nft would read it as a pattern.
    pub fn new(text: &str) -> Result<Self, InvalidInterfaceName> {
        let good = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'"' | b'*' | b'\\');
        if text.is_empty() || text.len() > 15 || !text.bytes().all(good) {
            return Err(InvalidInterfaceName { text: text.to_owned() });
        }
        let mut bytes = [0; 16];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self(bytes))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        // `new` lets only ASCII in.
        std::str::from_utf8(&self.0[..end]).unwrap_or_default()
    }

    /// The name whose padded form this is.
    pub(super) const fn from_padded(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The name padded with zeros to `IFNAMSIZ`, as the kernel compares it.
    pub const fn padded(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One field of a key or of element data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// An IPv4 or IPv6 address.
    Address(IpAddr),
    /// A whole range of addresses; only in keys of [`SetKind::Interval`](super::SetKind::Interval) sets.
    /// Make it with [`Value::prefix`], which clears the host bits.
    Prefix(IpNet),
    /// A protocol number.
    Protocol(L4Protocol),
    /// A TCP, UDP or SCTP port.
    Port(u16),
    /// A packet mark, or an index (see [`Type`]).
    Mark(u32),
    /// An interface.
    Interface(InterfaceName),
    /// A packet's priority: the major number in the upper 16 bits, the minor one in the lower.
    ClassId(u32),
}

impl Value {
    /// A range of addresses, host bits cleared so that equal ranges are equal values.
    pub fn prefix(net: IpNet) -> Self {
        Self::Prefix(net.trunc())
    }

    /// The type of this value.
    pub const fn value_type(&self) -> Type {
        match self {
            Self::Address(IpAddr::V4(_)) | Self::Prefix(IpNet::V4(_)) => Type::Ipv4Address,
            Self::Address(IpAddr::V6(_)) | Self::Prefix(IpNet::V6(_)) => Type::Ipv6Address,
            Self::Protocol(_) => Type::Protocol,
            Self::Port(_) => Type::Port,
            Self::Mark(_) => Type::Mark,
            Self::Interface(_) => Type::Interface,
            Self::ClassId(_) => Type::ClassId,
        }
    }
}

impl From<IpAddr> for Value {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

impl From<Ipv4Addr> for Value {
    fn from(address: Ipv4Addr) -> Self {
        Self::Address(address.into())
    }
}

impl From<Ipv6Addr> for Value {
    fn from(address: Ipv6Addr) -> Self {
        Self::Address(address.into())
    }
}

impl From<L4Protocol> for Value {
    fn from(protocol: L4Protocol) -> Self {
        Self::Protocol(protocol)
    }
}

impl From<InterfaceName> for Value {
    fn from(interface: InterfaceName) -> Self {
        Self::Interface(interface)
    }
}
