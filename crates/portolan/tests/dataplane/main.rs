//! The service proxy with real packets, in a small cluster network of the test's own.
//!
//! ```text
//!   outside 192.0.2.2, .3 ── router ──┬── node1 10.100.0.2, .22 ── cbr0 ── pods 10.244.1.2, .3, .4
//!                                     └── remote 10.100.0.3 (node2), its pods 10.244.2.2, .3
//! ```
//!
//! Everybody has an IPv6 address that ends the same. Objects go into `model::Index` by hand and no API server is needed.
//! [`cases`] is data, the behaviour table: who asks for what, and what must come of it. [`agreement`] holds every mode
//! against it, by its packet tracer and by the kernel, and [`page`] prints it; the other modules are about what changes
//! over time.
//!
//! Needs root, and fails without.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agreement;
mod asking;
mod cases;
mod chains;
mod changes;
mod cluster;
mod faults;
mod ipvs;
mod memory;
mod modes;
mod objects;
mod orders;
mod page;
mod relayed;
mod servers;
mod world;
