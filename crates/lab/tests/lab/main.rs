//! The lab on the real kernel, in network namespaces of its own. Needs root.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod containers;
mod images;
mod network;
