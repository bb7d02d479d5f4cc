//! The kubelet API on the node's address: container logs and health, for holders of a cluster certificate.

mod logs;
mod server;

pub use server::{Server, serve};
