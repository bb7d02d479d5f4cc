//! Keeps a dataplane in step with the Kubernetes API.
//!
//! In: a [`kube::Client`]. Out: calls of a [`proxy::Dataplane`], on a thread that may block.
//!
//! ```text
//! API ─list, watch─► wire (JSON, only the fields we read) ─parse─► model::Index ─► Dataplane::sync
//! ```
//!
//! Nothing is committed before every kind was listed in full, and losing the API server takes nothing
//! away: what is known stays until a new listing is complete.

mod client;
mod error;
mod proxy_loop;
mod status;
mod watch;
mod wire;

pub use client::client;
pub use error::RuntimeError;
pub use proxy_loop::run_proxy;
pub use status::ProxyStatus;
