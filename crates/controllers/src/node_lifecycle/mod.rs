//! Which nodes are alive, as Kubernetes' `pkg/controller/nodelifecycle` judges it.
//!
//! ```text
//! Lease renewals, heartbeats ─► health (pure) ─► conditions Unknown, pods not ready
//!             conditions, spec.unschedulable ─► taints (pure) ─► NoSchedule, NoExecute
//! ```
//!
//! A node is judged by when *we* last saw it say something new, by our own clock: a restart of the controllers gives every
//! node its whole grace period again, and nobody's clock need be right. What NoExecute taints do to pods is
//! [`crate::taint_eviction`]'s.

mod driver;
mod health;
mod taints;

pub(crate) use driver::run;
