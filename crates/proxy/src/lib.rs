//! The service proxy: from the cluster's services to what one node's kernel does with their packets.
//!
//! In: a [`model::Snapshot`] and the [`NodeContext`]. Out: transactions on the ports of [`netstate`],
//! nothing else; no socket and no clock is touched here.
//!
//! ```text
//! Snapshot ─► doors (which address and port leads to which endpoints)     the same for every mode
//!               └─► nftables::plan ─► Ruleset ─► diff ─► NftPort::commit ─► conntrack, affinity clean-up
//! ```

mod books;
mod contests;
mod dataplane;
mod door_words;
mod doors;
pub mod iptables;
pub mod ipvs;
#[cfg(test)]
mod laws;
mod local;
mod mode;
pub mod nftables;
pub mod node_names;
mod own_tables;
#[cfg(test)]
mod sample;
mod stale;
pub mod userspace;

pub use contests::{Contest, Contests};
pub use dataplane::{Dataplane, LocalTraffic, NodeContext, NodePortAddresses, SyncError, SyncReport};
pub use local::{HealthCheck, LocalServices, WithoutLocalEndpoints};
pub use mode::{Mode, ModeChoice, UnknownMode};
pub use netstate::conntrack::ConntrackError;
pub use netstate::nft::NftError;
pub use netstate::relay::RelayError;
