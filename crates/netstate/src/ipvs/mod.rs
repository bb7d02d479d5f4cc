//! IPVS, the kernel's load balancer: virtual services and their destinations.
//!
//! ```text
//! Table (wanted) ─┐
//!                 ├─► diff ─► Vec<Op> ─► IpvsPort::commit
//! Table (found) ──┘
//! ```
//!
//! The kernel has no transactions here: operations are carried out one by one, in their order. A destination that goes
//! may first be drained: with weight 0 it gets no new connection, and those that it has go on.

mod diff;
mod fake;
mod port;
mod print;
mod scheduler;
#[cfg(test)]
mod tests;
pub mod trace;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::nft::{Family, L4Protocol};

pub use diff::{Departure, Op, diff, diff_service};
pub use fake::FakeIpvs;
pub use port::{IpvsError, IpvsPort};
pub use print::Listing;
pub use scheduler::{Scheduler, SchedulerError};

/// Which packets a virtual service is for. No two services share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceId {
    /// Those to an address and port.
    Address {
        /// TCP, UDP or SCTP.
        protocol: L4Protocol,
        /// The virtual address and port.
        at: SocketAddr,
    },
    /// Those that carry exactly this mark.
    Mark {
        /// Not 0.
        mark: u32,
        /// Of packets of this family.
        family: Family,
    },
}

impl ServiceId {
    /// The family of its packets.
    pub const fn family(&self) -> Family {
        match self {
            Self::Address { at: SocketAddr::V4(_), .. } => Family::Ip,
            Self::Address { at: SocketAddr::V6(_), .. } => Family::Ip6,
            Self::Mark { family, .. } => *family,
        }
    }
}

/// How a virtual service chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// By which rule.
    pub scheduler: Scheduler,
    /// For how many seconds of silence a client address stays with its destination; `None`: it does not.
    pub persistence: Option<u32>,
}

/// A virtual service, wanted or found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualService {
    /// How it chooses.
    pub settings: Settings,
    /// Among whom. Without any, connections are refused with ICMP port unreachable.
    pub destinations: BTreeMap<SocketAddr, Destination>,
}

/// Where packets are led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// Its share; 0: no new connections.
    pub weight: u32,
    /// How packets get there.
    pub forwarding: Forwarding,
    /// Established TCP connections; always 0 in what is wanted.
    pub active: u32,
    /// Other remembered connections; always 0 in what is wanted.
    pub inactive: u32,
}

impl Destination {
    /// One with its share of 1, by translation of addresses.
    pub const fn masquerade() -> Self {
        Self { weight: 1, forwarding: Forwarding::Masquerade, active: 0, inactive: 0 }
    }

    /// Connections that the kernel remembers, of all states.
    pub const fn connections(&self) -> u32 {
        self.active.saturating_add(self.inactive)
    }
}

/// How packets get to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarding {
    /// Their destination address is translated; the only way that can change the port.
    Masquerade,
    /// Any other way, by the kernel's number for it (`IP_VS_CONN_F_*`). We write none of them.
    Other(u32),
}

/// All virtual services of a network namespace, or those that are wanted.
pub type Table = BTreeMap<ServiceId, VirtualService>;
