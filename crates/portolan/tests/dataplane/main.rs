//! The service proxy with real packets, in a small cluster network of the test's own.
//!
//! ```text
//!   outside 192.0.2.2 ── router ──┬── node1 10.100.0.2 ── cbr0 ── pods 10.244.1.2, .3, .4
//!                                 └── remote 10.100.0.3 (node2), its pods 10.244.2.2, .3
//! ```
//!
//! Objects go into `model::Index` by hand and no API server is needed, so a test takes well under a second or
//! two. [`cases`] is data: who asks for what, and what must come of it. [`agreement`] holds each case against the
//! packet tracer and against the kernel; the other modules are about what changes over time.
//!
//! Needs root, and fails without.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agreement;
mod asking;
mod cases;
mod changes;
mod cluster;
mod memory;
mod servers;
mod world;
