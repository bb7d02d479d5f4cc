//! nftables mode: one table, a handful of maps, and a chain for each *number* of endpoints.
//!
//! ```text
//! prerouting, output ─► services ── address . protocol . port ─► cluster-N ── random index ─► endpoint
//!                          ├─────── any other port of a virtual address ─► refuse
//!                          └─────── own address, protocol . port ─► node-N ── random index ─► endpoint
//! postrouting ─► masquerade what is marked, and who meets itself
//! ```
//!
//! Why not a chain per service, as kube-proxy has it: the kernel walks all chains of a table at every
//! commit, and its anonymous maps make a first commit quadratic. Here a service is a few map elements:
//! 50,000 of them are written in a third of a second, and one replaced endpoint costs the same beside
//! 50,000 services as beside one.
//!
//! All chains but `postrouting` hang on the nat hooks, so only the first packet of a connection ever meets
//! them; refusals too, which kube-proxy does in filter chains that every packet passes.
//!
//! The table is ours alone: what is in it and not in the plan is an orphan of ours, and `cleanup` is the
//! deletion of the table.

mod affinity;
mod driver;
mod layout;
mod plan;
mod stale;

pub use driver::NftablesProxy;
pub use layout::{MASQUERADE_MARK, TABLE};
