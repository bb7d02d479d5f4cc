//! The kernel for real: the ports that `netstate` declares, spoken over netlink, and processes in namespaces.
//!
//! Inputs are typed values, outputs are kernel objects and typed errors. All privileged calls of the project are here,
//! and only here may code be unsafe. A netlink socket belongs to the network namespace of the thread that opened it;
//! `netns` brings a thread there. Calls of `nft`, `conntrack`, `ipset`, `iptables` and
//! `ipvs` block.

pub mod conntrack;
#[doc(hidden)]
pub mod fuzzing;
pub mod ipset;
pub mod iptables;
pub mod ipvs;
pub mod link;
pub mod memory;
pub mod netns;
pub mod nft;
pub mod process;
pub mod sysctl;

mod nfnetlink;
mod sent;

pub use sent::SentBytes;
