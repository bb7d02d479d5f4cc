//! ipvs mode: the kernel's load balancer chooses, iptables masquerades with a constant number of rules.
//!
//! ```text
//! virtual address on kube-ipvs0 ─► a packet to it is for this machine ─► INPUT ─► IPVS ─► endpoint
//!   sets of doors (ipset) ─► rules that match on them: mark, drop, refuse ─► masquerade on the way out
//! ```
//!
//! For each door there is a virtual service with its endpoints, for node ports one at each address of the node, and for
//! doors that lead those inside the cluster elsewhere one for a mark as well; the scheduler, persistence and the balance are the kernel's. The names of sets, chains and of the link are kube-proxy's.
//!
//! ```text
//! doors ─► plan::Needs ─► kept::Change ─► sets in, addresses, virtual services, sets out      one change
//!                    └──► write_all: diff with what the kernel holds                          all of it
//! ```
//!
//! The kernel has no transactions for this, so the order of writing matters: sets before services, and when something
//! goes, services before sets. A TCP endpoint that leaves gets the weight 0 and stays until its connections have ended.
//!
//! What is ours: `kube-ipvs0`, virtual services at its addresses, at open doors, and at places and for marks that our sets
//! hold, the sets by their names, and the chains by theirs.

mod chains;
mod cleanup;
mod drain;
mod driver;
mod kept;
#[cfg(test)]
mod laws;
mod look;
mod marks;
mod plan;
mod rules;
mod sets;
mod settings;
mod site;
#[cfg(test)]
mod tests;

pub use driver::{Config, IpvsProxy, Ports};
pub use netstate::ipvs::{Scheduler, SchedulerError};
pub use site::LINK;
