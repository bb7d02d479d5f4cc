//! Keeps a dataplane in step with the Kubernetes API.
//!
//! In: a [`kube::Client`]. Out: calls of a [`proxy::Dataplane`], on a thread that may block.
//!
//! ```text
//! API ─list, watch─► wire (JSON, only the fields we read) ─parse─► model::Index ─► Dataplane::sync
//! ```
//!
//! Names come the same way: [`run_names`] keeps a [`dns::SharedZone`] up to date.
//!
//! Nothing is committed before every kind was listed in full, and losing the API server takes nothing
//! away: what is known stays until a new listing is complete.

mod client;
mod error;
pub mod fuzzing;
mod names_loop;
mod proxy_loop;
mod status;
mod watch;
mod wire;

pub use client::{client, client_at, client_in_cluster, client_in_context};
pub use error::RuntimeError;
pub use names_loop::{NamesStatus, run_names};
pub use proxy_loop::run_proxy;
pub use status::ProxyStatus;
pub use wire::read_object;
