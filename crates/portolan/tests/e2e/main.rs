//! portolan from outside, with the tools its users have: kubectl, curl, and the command line.
//!
//! Every test makes a lab of its own, with real namespaces, processes and packets, and removes it. They need root
//! and fail without it. They run one after another: a lab keeps both cores busy.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod corefile;
mod delivery;
mod faults;
mod harness;
mod kubectl;
mod matrix;
mod modes;
mod names;
mod node_names;
mod nodes;
mod place;
mod pods;
mod proxied;
mod python;
mod refusals;
mod rollout;
mod sessions;
mod walkthrough;
