//! The kernel's network objects as typed values: what it should hold, what it holds, and the changes between.
//!
//! ```text
//! plans of the features ─► desired ─┐
//!                                   ├─► diff ─► transaction ─► port ─► kernel
//! port ─► observed ─────────────────┘
//! ```
//!
//! Every module has its values, a printer in the words of the usual tool, the port trait that says what we need from
//! the kernel, and a fake that behaves like it. `nft` and `iptables` also have a packet tracer; `trace` holds what tracers share. `relay` is
//! what a process does where the kernel only leads connections to it. Pure: no clock, file or environment.

pub mod conntrack;
pub mod ipset;
pub mod iptables;
pub mod ipvs;
pub mod link;
pub mod namespace;
pub mod nft;
pub mod relay;
pub mod route;
pub mod sysctl;
pub mod trace;
