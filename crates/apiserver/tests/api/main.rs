//! The API server as its clients see it: kubectl and the kube crate, over real connections.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod access;
mod apply;
mod audit;
mod bounds;
mod client;
mod crash;
mod definitions;
mod explain;
mod fixture;
mod kubectl;
mod logs;
mod malformed;
mod proxy;
mod security;
