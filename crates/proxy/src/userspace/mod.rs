//! Userspace mode: a table that leads connections to ports of this node, and relays that listen there.
//!
//! ```text
//! prerouting ─► guard (source ranges) ─► from outside, if the door keeps outsiders here ─┐
//!            └─► address . protocol . port ─► refuse, drop, or ─ redirect ─► relay's port ┴► Balancer ─► endpoint
//! output ──────► the same as for pods
//! input ───────► a relay's port, but not redirected ─► refuse
//! ```
//!
//! A service port has one relay, whatever its doors, and a second one when a traffic policy keeps some of its
//! connections to this node's endpoints. A changed endpoint is the relay's business alone: nothing is sent to the kernel.
//!
//! What is different from the other modes: the endpoint sees this node as its client, since it is; connections end with
//! the process, and while it is not there they are refused; SCTP, which has no sockets here, is refused.
//!
//! Everything here is pure but for the ports, and nothing but the table is Linux's: a system without nftables needs
//! another way to lead connections to the relays.

#[cfg(test)]
mod behaviour;
mod driver;
#[cfg(test)]
mod laws;
mod layout;
mod plan;
mod relays;
mod stale;

pub use driver::UserspaceProxy;
pub use layout::{TABLE, TABLE_IPV6};
