//! The kubelet API on the node's address: container logs, sessions and health, for holders of a cluster certificate.

mod logs;
mod server;
mod sessions;

pub use server::{Server, serve};
