//! The node answers the cluster's DNS address itself, in front of all translation.
//!
//! ```text
//! query to 10.96.0.10:53 ─► portolan-names-here: notrack ─► delivered here, no connection, no race
//!          our process is gone, and with it that table
//!                        └─► portolan-names: dnat to another node's server, by chance
//!                                nobody else is known └─► portolan-services, as for every Service
//! ```
//!
//! The first table belongs to the netlink socket of the process that answers: the kernel removes it when the process
//! ends, however it ends. The second one stays and leads past the dead server of this node, which the Service would
//! still count among its endpoints for a while. Pure but for the two ports.

mod driver;
mod plan;

pub use driver::NodeNames;
pub use plan::{HERE, OTHERS, here, others};

#[cfg(test)]
mod tests;
