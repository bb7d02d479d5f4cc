//! Sets of addresses and ports that iptables rules match on (`-m set --match-set`), so that the rules stay few however
//! many services there are.
//!
//! ```text
//! Sets (wanted) ─┐
//!                ├─► diff ─► Vec<Op> ─► IpsetPort::commit
//! Sets (found) ──┘
//! ```
//!
//! No transactions: operations are carried out in their order. Adding what is there and removing what is not are no
//! errors, as with `ipset -exist`.

mod diff;
mod fake;
mod name;
mod port;
mod print;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::nft::{Family, L4Protocol};

pub use diff::{Op, diff};
pub use fake::FakeIpset;
pub use name::{SetName, SetNameError};
pub use port::{IpsetError, IpsetPort};
pub use print::Saved;

/// What a set's members are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetKind {
    /// `hash:ip`: addresses.
    Ip,
    /// `hash:ip,port`: addresses with a protocol and port.
    IpPort,
    /// `hash:ip,port` with `skbinfo`: the same, each with a mark for the packets.
    IpPortMark,
    /// `hash:ip,port,ip`: the same with a second address.
    IpPortIp,
    /// `hash:ip,port,net`: the same with a prefix instead. Its length is not 0.
    IpPortNet,
    /// `bitmap:port`: ports, whatever the protocol and family.
    Port,
    /// Anything else that somebody else has made under a name that we asked for. Its members are not read.
    Foreign,
}

impl SetKind {
    /// The kernel's name for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ip => "hash:ip",
            Self::IpPort | Self::IpPortMark => "hash:ip,port",
            Self::IpPortIp => "hash:ip,port,ip",
            Self::IpPortNet => "hash:ip,port,net",
            Self::Port => "bitmap:port",
            Self::Foreign => "foreign",
        }
    }
}

/// What a set is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Definition {
    /// What its members are made of.
    pub kind: SetKind,
    /// The family of its addresses; always `Ip` for ports, which have none.
    pub family: Family,
}

impl Definition {
    /// A set of one kind for addresses of one family.
    pub const fn new(kind: SetKind, family: Family) -> Self {
        match kind {
            SetKind::Port | SetKind::Foreign => Self { kind, family: Family::Ip },
            SetKind::Ip | SetKind::IpPort | SetKind::IpPortMark | SetKind::IpPortIp | SetKind::IpPortNet => {
                Self { kind, family }
            }
        }
    }
}

/// One member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    /// Of [`SetKind::Ip`].
    Ip(IpAddr),
    /// Of [`SetKind::IpPort`].
    IpPort(IpPort),
    /// Of [`SetKind::IpPortMark`]. There is one for each address and port.
    IpPortMark(IpPort, u32),
    /// Of [`SetKind::IpPortIp`].
    IpPortIp(IpPort, IpAddr),
    /// Of [`SetKind::IpPortNet`].
    IpPortNet(IpPort, IpNet),
    /// Of [`SetKind::Port`].
    Port(u16),
}

/// An address with a protocol and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpPort {
    /// The address.
    pub address: IpAddr,
    /// TCP, UDP or SCTP.
    pub protocol: L4Protocol,
    /// The port.
    pub port: u16,
}

impl Member {
    /// The kind of set that it fits into.
    pub const fn kind(&self) -> SetKind {
        match self {
            Self::Ip(_) => SetKind::Ip,
            Self::IpPort(_) => SetKind::IpPort,
            Self::IpPortMark(..) => SetKind::IpPortMark,
            Self::IpPortIp(..) => SetKind::IpPortIp,
            Self::IpPortNet(..) => SetKind::IpPortNet,
            Self::Port(_) => SetKind::Port,
        }
    }

    /// Whether a set like that takes it.
    pub fn fits(&self, definition: &Definition) -> bool {
        let v4 = definition.family == Family::Ip;
        let family_fits = match self {
            Self::Ip(address) => address.is_ipv4() == v4,
            Self::IpPort(at) | Self::IpPortMark(at, _) => at.address.is_ipv4() == v4,
            Self::IpPortIp(at, other) => at.address.is_ipv4() == v4 && other.is_ipv4() == v4,
            Self::IpPortNet(at, net) => {
                at.address.is_ipv4() == v4 && net.addr().is_ipv4() == v4 && net.prefix_len() > 0
            }
            Self::Port(_) => true,
        };
        family_fits && self.kind() == definition.kind
    }
}

/// A set, wanted or found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// What it is like.
    pub definition: Definition,
    /// What is in it.
    pub members: BTreeSet<Member>,
}

impl Set {
    /// An empty one.
    pub const fn new(kind: SetKind, family: Family) -> Self {
        Self { definition: Definition::new(kind, family), members: BTreeSet::new() }
    }
}

/// Sets by name.
pub type Sets = BTreeMap<SetName, Set>;
