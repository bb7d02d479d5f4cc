//! Relays: processes' side of a service, where the kernel's translation only leads to this node.
//!
//! A relay listens at a port of the node and hands every connection (TCP) or flow of datagrams (UDP) on to one of its
//! endpoints. The kernel knows nothing of endpoints then; what it must know is the port.
//!
//! ```text
//! 10.3.241.152:80 ─ redirect ─► relay at port 10400 ─ Balancer ─► 10.0.2.2:8080
//! RelayPort::set(name, endpoints) ─► port
//! ```
//!
//! Here are the values, the port trait, the [`Balancer`] that every relay asks, and a fake that balances without
//! sockets. All of it is pure and needs nothing of Linux.

mod balancer;
mod fake;
mod port;

pub use balancer::Balancer;
pub use fake::FakeRelays;
pub use port::{Backends, Relay, RelayError, RelayName, RelayPort, Transport};
