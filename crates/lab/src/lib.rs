//! A cluster on one machine, made of network namespaces, real processes and real packets.
//!
//! ```text
//! cluster    a lab as a whole: asked for, made, looked at, removed
//!   ├─ topology    the namespaces of router, nodes, control plane and outside, and the links between them
//!   ├─ pods        what runs on a node: the agent that turns Pods into sandboxes and containers
//!   │    └─ containers   runc under conmon
//!   └─ images      the store that containers are made from
//! ```
//!
//! In: a request from the command line, Pods from the API. Out: processes and kernel state, all of it below one
//! directory, one control group and one prefix of namespace names, so that all of it can be taken away again.

pub mod cluster;
pub mod containers;
pub mod images;
pub mod pods;
pub mod topology;
