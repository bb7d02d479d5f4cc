//! The kinds the server knows: their names, defaults, rules, printed columns, merge keys and allocated fields.
//!
//! In: an object as sent (`serde_json::Value`). Out: the object as stored, or the `Status` that says what is wrong.
//!
//! ```text
//! body ─► convert_in ─► Kind::check_shape ─► Kind::prepare_create / prepare_update ─► Kind::allocate ─► store ─► commit
//!                        types, unknown        defaults, rules
//!                        fields
//! ```
//!
//! Everything here but [`Allocation`] is pure: the time comes in with the [`Context`], nothing is read or written.

mod allocation;
mod components;
mod config_map;
mod controller_revision;
mod convert;
mod convert_ingress;
mod custom;
mod daemon_set;
mod definition;
mod deployment;
mod endpoint_slice;
mod endpoints;
mod event;
mod field;
mod ingress;
mod lease;
mod metadata;
mod names;
mod namespace;
mod network_policy;
#[cfg(test)]
mod networking_tests;
mod node;
mod pod;
pub(crate) mod rbac;
mod registry;
mod replica_set;
pub(crate) mod review;
mod schema;
mod secret;
mod service;
mod service_account;
mod service_cidr;
mod strategic;
mod strategy;
mod structural;
mod table;
#[cfg(test)]
pub(crate) mod testing;
mod workload;

pub use allocation::{Allocation, AllocationConfig, AllocationConfigError, Reservation};
pub use components::{Added, Components, Schemas, common, reference};
pub use convert::{convert_in, convert_out};
pub use custom::{CustomKind, served_kinds};
pub use definition::{CLEANUP_FINALIZER, Terminating, accepted_status, is_established, mark_terminating};
pub use names::{is_dns1035_label, is_dns1123_label, is_dns1123_subdomain};
pub(crate) use names::{label_value, qualified_name};
pub use registry::{Kind, Registry, Scale, Served};
pub use schema::{ListKind, Node, Shape};
pub use strategic::strategic_merge;
pub use strategy::Context;
pub use table::{Column, human_duration};
