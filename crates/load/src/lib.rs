//! Load for a Kubernetes API server, ours or another: objects of realistic size in any number, the requests that write,
//! list and watch them, and the figures that come of it.
//!
//! ```text
//! objects, Fleet (pure: number → JSON) ─► Client (a kubeconfig's server) ─► Samples, Report
//! ```
//!
//! Answers are handed out as bytes: a generator that parsed all that it receives would measure itself.

mod client;
mod fill;
mod fleet;
pub mod objects;

pub use client::{Answer, Client, Error, Lines};
pub use figures::{Figure, Purpose, Report, Samples, Target};
pub use fill::FillError;
pub use fleet::{Doors, Fleet, FleetPort, POD_RANGE};
