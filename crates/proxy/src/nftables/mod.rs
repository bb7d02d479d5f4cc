//! nftables mode: one table, a handful of maps, and a chain for each *number* of endpoints.
//!
//! ```text
//! prerouting, output ─► dispatch ─ address . protocol . port ─ class ─► cluster-N ─ random index ─► endpoint
//!                          ├────── any other port of a virtual address ─► refuse
//!                          └────── own address: protocol . port ─ class ─► node-N ─ random index ─► endpoint
//! input, postrouting ─► remember who was led where, if the service wants that
//!        postrouting ─► masquerade what is marked, and who meets itself
//! ```
//!
//! Why not a chain per service, as kube-proxy has it: the kernel walks all chains of a table at every
//! commit, and kube-proxy's anonymous maps make the first commit quadratic. Here a service is a few map
//! elements: 50,000 of them are written in a third of a second, and one replaced endpoint costs the same
//! beside 50,000 services as beside one.
//!
//! Doors lead to chains by a number, the class, and one small map leads from there to the chains: the kernel walks all
//! elements of all verdict maps when one is added that names a chain.
//!
//! All chains hang on nat hooks, so only the first packet of a connection ever meets them; also refusals,
//! which kube-proxy does in filter chains that every packet passes.
//!
//! A client is remembered by the door it knocked at: unlike with kube-proxy, one that uses both the virtual
//! address and a node port may be led to two endpoints.
//!
//! The table is ours alone: what is in it and not in the plan is an orphan of ours, and `cleanup` is the
//! deletion of the table.

mod affinity;
#[cfg(test)]
mod behaviour;
mod driver;
#[cfg(test)]
mod laws;
mod layout;
mod plan;
mod shape;

pub use driver::NftablesProxy;
pub use layout::{MASQUERADE_MARK, TABLE, TABLE_IPV6};
