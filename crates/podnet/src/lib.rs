//! The pod network of one node: who has which address, the bridge that pods hang on, the masquerade of what
//! leaves the cluster, and the ports of the node that lead to pods.
//!
//! ```text
//!            node                          │        pod
//!   eth0 ◄─ routing ─► cbr0 ─ ptlpodN ═════╪═════ eth0  10.244.1.N/32
//!            masquerade  10.244.1.1/24     │       default via 10.244.1.1
//! ```
//!
//! A pod's only neighbour is the bridge: it has its address as a /32 and sends everything, also to pods of its own
//! node, to the gateway. So all its packets are routed and seen by connection tracking in both directions, and a
//! Service whose endpoint is on the client's own node works without `br_netfilter`, which a bridge with a common /24
//! would need for the way back.
//!
//! [`PodNetwork`] does it through ports; [`plan`] says what is wanted and [`pool`] who gets which address, both pure.

pub mod host_ports;
pub mod plan;
pub mod pool;

mod driver;
mod error;
mod rules;
mod store;

pub use driver::{PodAddress, PodNetwork, Ports, Reconciliation};
pub use error::PodnetError;
pub use host_ports::HostPort;
pub use plan::Config;
pub use pool::SandboxId;
pub use store::{AddressStore, FileStore, MemoryStore};
