//! The controllers on a real API server, with nodes whose kubelet is played by the test.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod collection;
mod fixture;
mod kubelet;
mod resilience;
mod walkthrough;
