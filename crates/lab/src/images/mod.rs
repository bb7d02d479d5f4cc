//! Images on this machine: a content-addressed OCI store and the root filesystems unpacked from it.
//!
//! ```text
//! import(path) ─┐                                    ┌─ resolve(reference) ─► Image
//!               ├─► blobs/sha256/…  +  index.json ───┤
//! pull(name) ───┘                                    └─ root_filesystem(&Image) ─► rootfs/<chain>/
//! ```
//!
//! The directory is an OCI image layout, so other tools read it too. All labs of a machine share it;
//! several processes may use it at once (a lock file orders the writers). Nothing is ever changed in
//! place: blobs and unpacked trees appear by rename.

mod archive;
mod blobs;
mod config;
mod error;
mod import;
mod layer;
mod manifest;
mod pull;
mod reference;
mod rootfs;
mod store;

pub use blobs::Digest;
pub use config::{ImageConfig, StopSignal};
pub use error::{ImageError, LayerError};
pub use reference::Reference;
pub use store::{Image, Layer, Store};
