//! The pod agent: what kubelet does on a node, in the node's own network namespace.
//!
//! In: the node's Pods from the API server, images, container exits, probe results, time.
//! Out: sandboxes and containers, pod networks, Pod and Node status, Events, container logs over HTTPS.
//!
//! ```text
//! API ─watch─► agent ─► worker, one task a pod ──► plan::decide (pure) ─► actions ─► ports
//!                          ▲        │                                               │
//!                          │        └─► status::build (pure) ─► API                 │
//!                          └── exits, probe results, finished actions, timers ◄─────┘
//! ```
//!
//! What the agent knows of a pod is on disk (`record`), so that an agent killed at any point finds its
//! sandboxes and containers again and leaves the running ones alone.

pub mod adopt;
mod agent;
mod api;
pub mod back_off;
mod catalog;
mod config;
pub mod environment;
mod events;
pub mod facts;
mod files;
mod node;
pub mod plan;
pub mod ports;
pub mod probe;
mod record;
pub mod spec;
pub mod status;
mod worker;

pub use config::{Config, ServerFiles};

use std::future::Future;

/// Runs the agent of one node until `shutdown` resolves.
///
/// The caller has joined the node's network namespace already. Pods, containers and their networks stay
/// when this returns: an agent that comes back adopts them.
///
/// # Errors
/// When the state directory cannot be used, or the kubelet port on the node's address is taken. An API
/// server that is away is no error: it is waited for.
pub async fn run(config: Config, client: kube::Client, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let _ = (&config, &client);
    shutdown.await;
    Ok(())
}
