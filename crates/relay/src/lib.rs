//! Relays: the sockets of the userspace mode.
//!
//! In: relays by name, each with its endpoints ([`netstate::relay`]). Out: a port of the node for each, and what
//! arrives there carried to the endpoints. Which relays there are, and what leads to their ports, is decided elsewhere.
//!
//! ```text
//! RelayPort::set ─► Relays ─┬─► tcp: accept ─► choose, connect ─► carry both ways (splice on Linux)
//!                           └─► udp: a flow per client port ─► choose, a connected socket ─► answers back
//! ```
//!
//! Safe code on tokio, for every system that tokio knows: what Linux does better stands behind `cfg` beside what all
//! can do.
//!
//! At the bounds ([`Config`]) a connection waits until another one ends, and a new flow takes the place of the one
//! that has been silent longest. When the process ends, so does everything that it carries.

mod bounds;
mod carry;
mod config;
mod flows;
mod listen;
mod relays;
#[cfg(target_os = "linux")]
mod splice;
mod tcp;
mod udp;

pub use bounds::{Counts, Meter};
pub use config::{Config, PortRange};
pub use relays::Relays;
