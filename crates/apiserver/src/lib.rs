//! The embedded Kubernetes API server: a durable versioned store with its watch log, and the HTTP front of it.

pub mod pki;
pub mod status;
pub mod store;
