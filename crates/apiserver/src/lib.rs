//! The embedded Kubernetes API server: a durable versioned store with its watch log, and the HTTP front of it.
//!
//! In: TLS connections of clients with certificates of the cluster's authority. Out: the Kubernetes API of the kinds that
//! portolan knows.
//!
//! ```text
//! http (sockets, TLS) ─► access (who calls, may they) ─► api (paths, verbs, forms) ─► kinds (defaults, rules, tables)
//!                               ▲                              │              └───► fields (who owns what)
//!                               ├── roles, bindings ─── store (objects, revisions, events)
//!                               └─► audit (a line for every change, on demand)
//! ```
//!
//! [`serve`] runs it all; [`pki`] makes the certificates that it and its clients need.

mod access;
mod api;
mod audit;
mod config;
mod fields;
pub mod fuzzing;
mod http;
pub mod kinds;
pub mod pki;
mod protobuf;
mod selector;
mod server;
pub mod status;
pub mod store;

pub use access::TokenKeyError;
pub use audit::{AuditConfig, AuditError};
pub use config::{Config, Limits, ServeError};
pub use server::serve;
