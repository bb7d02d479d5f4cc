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
pub mod configuration;
mod error;
mod events;
pub mod fuzzing;
mod health;
mod metrics;
mod names_loop;
mod node_facts;
pub mod pages;
mod proxy_loop;
mod requests;
mod service_health;
mod status;
mod watch;
mod wire;

pub use client::{client, client_at, client_in_cluster, client_in_context, client_of};
pub use error::RuntimeError;
pub use health::Condition;
pub use names_loop::{NamesStatus, run_names};
pub use node_facts::{NodeFacts, node_facts};
pub use proxy_loop::{ProxyTask, run_proxy};
pub use requests::Requests;
pub use status::ProxyStatus;
pub use wire::read_object;
