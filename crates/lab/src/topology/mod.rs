//! The network that a lab's machines stand in: namespaces, a router between them, and a machine outside.
//!
//! ```text
//!   node1   node2 … control-plane          outside 192.0.2.2
//!   eth0    eth0    eth0                     eth0   knows the way to the nodes only
//!     └───────┴───────┘                        │
//!      lan0 10.100.0.1 ─────── router ─────── wan0 192.0.2.1
//!                     pod range of nodeN via nodeN
//! ```
//!
//! [`plan`] says what each namespace holds and `ranges` whether a lab is possible at all, both pure; the rest makes
//! it so. Every call looks first and does only what is missing.

mod build;
mod error;
pub mod names;
pub mod plan;
mod ranges;

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

pub use build::{ensure, remove, set_pod_routes};
pub use error::{RemovalErrors, TopologyError};
pub use ranges::{OUTSIDE, RangeError};

/// The network of one lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabNetwork {
    /// The lab's name, part of its namespaces' names.
    pub lab: String,
    /// How many nodes, `node1` and so on.
    pub nodes: usize,
    /// The network that joins the nodes.
    pub node_range: Ipv4Net,
    /// Where pods get their addresses from, a piece for each node.
    pub pod_range: Ipv4Net,
    /// Where Services get their addresses from.
    pub service_range: Ipv4Net,
}

impl LabNetwork {
    /// Checks that the ranges have room and keep clear of each other.
    ///
    /// # Errors
    /// The first thing that is wrong, and what to do.
    pub fn check(&self) -> Result<(), RangeError> {
        ranges::check(self)
    }

    /// How long the prefix of a node's pod range is: 24, or with a pod range longer than /20 four more than that of the
    /// pod range, which makes pieces for 16 nodes. It does not depend on the number of nodes.
    #[must_use]
    pub fn node_prefix_length(&self) -> u8 {
        ranges::node_prefix_length(self.pod_range)
    }

    /// The router's address in the node range: the first.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        self.host(1)
    }

    /// The address of a node, counted from 1: they follow the router's.
    #[must_use]
    pub fn node_address(&self, number: usize) -> Ipv4Addr {
        self.host(u32::try_from(number).unwrap_or(u32::MAX).saturating_add(1))
    }

    /// The control plane's address: the last of the node range.
    #[must_use]
    pub fn control_plane_address(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.node_range.broadcast()).saturating_sub(1))
    }

    fn host(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.node_range.network()).saturating_add(offset))
    }
}
