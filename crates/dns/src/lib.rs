//! The names of a cluster: what Services, their endpoints and pods are called, by the Kubernetes DNS
//! specification 1.1.0, and everything else asked of somebody who knows.
//!
//! Pure: [`Zone`] (kept up event by event), [`answer()`], and [`Corefile`], which says what is answered how. Effects:
//! [`Server`], which owns the sockets, and [`Resolver`], which asks upstream servers.
//!
//! ```text
//! API ─watch─► Object ─apply/delete─► Zone ◄──┐
//! Corefile ─► Site: which names, from where   │ answer(zone, query)
//!                                             │
//! client ─UDP, TCP─► Query (decoded) ─────────┴─► reply
//!                        └── not ours ─► Resolver: cache, in flight, upstream servers
//! ```

mod answer;
pub mod corefile;
mod edns;
mod forward;
pub mod fuzzing;
mod hosts;
mod message;
mod metrics;
mod name;
mod rewrite;
mod server;
mod site;
mod zone;

pub use answer::{Verdict, answer};
pub use corefile::{Corefile, CorefileError};
pub use edns::Edns;
pub use forward::{
    CacheConfig, CacheLimit, Policy, Prefetch, Probe, Resolver, ResolverConfig, Stale, StaleMode, resolv_conf,
};
pub use hosts::HostsTable;
pub use message::{Query, RecordType, Refusal, Reply, ResponseCode};
pub use metrics::Metrics;
pub use name::{Labels, Name, NameError};
pub use rewrite::Rewrite;
pub use server::{Server, Sockets};
pub use site::{Block, Forward, SharedHosts, SharedSite, Site};
pub use zone::{Endpoint, Kind, Object, ObjectKey, PodKey, PodNames, SharedZone, Slice, Zone, ZoneConfig};
