//! The names of a cluster: what Services, their endpoints and pods are called, by the Kubernetes DNS
//! specification 1.1.0, and everything else asked of somebody who knows.
//!
//! Pure: [`Zone`] (kept up event by event) and [`answer()`]. Effects: [`Server`], which owns the sockets, and
//! [`Resolver`], which asks upstream servers.
//!
//! ```text
//! API ─watch─► Object ─apply/delete─► Zone ◄──┐
//!                                             │ answer(zone, query)
//! client ─UDP, TCP─► Query (decoded) ─────────┴─► reply
//!                        └── not ours ─► Resolver: cache, in flight, upstream servers
//! ```

mod answer;
mod forward;
mod message;
mod metrics;
mod name;
mod server;
mod zone;

pub use answer::{Verdict, answer};
pub use forward::{Resolver, ResolverConfig, resolv_conf};
pub use message::{Edns, Query, RecordType, Refusal, Reply, ResponseCode};
pub use metrics::Metrics;
pub use name::{Labels, Name, NameError};
pub use server::{Server, SharedZone, Sockets};
pub use zone::{Endpoint, Kind, Object, ObjectKey, PodKey, PodNames, Slice, Zone, ZoneConfig};
