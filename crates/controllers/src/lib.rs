//! What a control plane does for a cluster that has none: pod ranges for nodes, Deployments → ReplicaSets → Pods,
//! DaemonSets, scheduling, the life of nodes and eviction from them, EndpointSlices and Endpoints, the Service `kubernetes`, garbage collection, namespace deletion.
//!
//! In: a [`kube::Client`] for any Kubernetes API server, and a [`Config`]. Out: writes to that same API, nothing else;
//! there is no state here that a restart would lose.
//!
//! ```text
//! API ─list/watch─► reflector ─► Store (indexed) ─► handlers ─► Queue (keyed, coalescing, back-off)
//!  ▲                               ▲                               │
//!  │                               └── answers to our writes ──┐   ▼
//!  └────────────── create, update, delete ◄── driver ◄── plan(objects, now)   pure
//! ```
//!
//! Every controller is a module with a pure `plan` and a small driver. Nothing is decided before every store is in
//! sync. The answer to each write goes into the store at once (see `store.rs`), so a plan never works on a state that is older
//! than the controllers' own last write: a slow watch cannot make a ReplicaSet create too many pods.

mod cluster_dns;
mod config;
mod context;
mod daemonsets;
mod deployments;
mod endpoints;
mod error;
mod garbage;
mod kept;
mod kubernetes_service;
mod mirroring;
mod namespaces;
mod node_lifecycle;
mod node_ranges;
mod objects;
mod orphaned_pods;
mod queue;
mod recorder;
mod reflector;
mod replicasets;
mod root_ca;
mod run;
#[cfg(test)]
mod samples;
mod scheduler;
mod selector;
mod service_accounts;
mod store;
mod taint_eviction;
mod ties;

pub use config::{Config, ConfigError, NodeTimes};
pub use error::Error;
pub use run::run;
