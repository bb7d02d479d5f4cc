//! Links of one network namespace as values: loopback, bridges, veth pairs and dummies.

mod name;

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::IpNet;

pub use name::{LinkName, NameError, NamespacePath};

/// A link, either as wanted or as read from the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The name, unique in its namespace.
    pub name: LinkName,
    /// What kind of link it is.
    pub kind: LinkKind,
    /// Hardware address; `None` in a wanted link means any.
    pub mac: Option<MacAddress>,
    /// Greatest packet in bytes; `None` in a wanted link means any.
    pub mtu: Option<u32>,
    /// Whether the link is switched on.
    pub up: bool,
    /// The bridge that the link is plugged into.
    pub master: Option<LinkName>,
    /// For a bridge port: frames may leave by the port they came from.
    pub hairpin: bool,
    /// Addresses with their prefix lengths. IPv6 link-local ones are the kernel's and not listed.
    pub addresses: BTreeSet<IpNet>,
}

impl Link {
    /// A link that is up, with nothing else decided.
    #[must_use]
    pub fn new(name: LinkName, kind: LinkKind) -> Self {
        Self {
            name,
            kind,
            mac: None,
            mtu: None,
            up: true,
            master: None,
            hairpin: false,
            addresses: BTreeSet::new(),
        }
    }

    /// The loopback link, up. Its addresses are the kernel's own.
    #[must_use]
    pub fn loopback() -> Self {
        Self::new(LinkName::loopback(), LinkKind::Loopback)
    }

    /// With a hardware address.
    #[must_use]
    pub fn with_mac(mut self, mac: MacAddress) -> Self {
        self.mac = Some(mac);
        self
    }

    /// With a greatest packet size in bytes.
    #[must_use]
    pub fn with_mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// Plugged into a bridge, with hairpin as told.
    #[must_use]
    pub fn with_master(mut self, master: LinkName, hairpin: bool) -> Self {
        self.master = Some(master);
        self.hairpin = hairpin;
        self
    }

    /// With one more address.
    #[must_use]
    pub fn with_address(mut self, address: IpNet) -> Self {
        self.addresses.insert(address);
        self
    }
}

/// What kind of link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// `lo`, born with its namespace.
    Loopback,
    /// A bridge.
    Bridge,
    /// A link that leads nowhere: a place for addresses.
    Dummy,
    /// One end of a veth pair.
    Veth {
        /// The other end, needed when the pair is to be created. The kernel does not tell it: `None` in what was
        /// observed, and in a wanted link whose other end somebody else creates.
        peer: Option<VethPeer>,
    },
    /// Anything else, by the kernel's name for it (empty for a physical link).
    Other(String),
}

impl LinkKind {
    /// Whether both are of one kind, whatever is known of a veth's peer.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Loopback, Self::Loopback)
            | (Self::Bridge, Self::Bridge)
            | (Self::Dummy, Self::Dummy)
            | (Self::Veth { .. }, Self::Veth { .. }) => true,
            (Self::Other(a), Self::Other(b)) => a == b,
            (Self::Loopback | Self::Bridge | Self::Dummy | Self::Veth { .. } | Self::Other(_), _) => false,
        }
    }
}

/// The other end of a veth pair at its birth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethPeer {
    /// Its name in its own namespace.
    pub name: LinkName,
    /// The namespace it is born in; `None`: the same as the first end.
    pub namespace: Option<NamespacePath>,
    /// Its hardware address; `None`: the kernel's choice.
    pub mac: Option<MacAddress>,
}

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// A locally administered address made from an IPv4 address, `0a:58` and its four bytes, as the CNI bridge plugin
    /// does: who gets an address again gets its hardware address too, so no neighbour holds a stale entry.
    #[must_use]
    pub fn for_ipv4(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x0a, 0x58, a, b, c, d])
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}
