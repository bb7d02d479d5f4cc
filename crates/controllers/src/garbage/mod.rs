//! Deletes objects whose owners are gone, as `pkg/controller/garbagecollector` does it.
//!
//! ```text
//! every store, and the ─► Graph (who owns whom) ─► suspects ─► verdict ─► delete, cut a reference, take off a finalizer
//! objects of every CRD
//! ```
//!
//! An owner that the graph does not know is looked up on the server before anything is deleted for its absence: the
//! store of its kind may be behind, and kinds without a store may own things too.

mod custom;
mod driver;
mod graph;
mod verdict;

pub(crate) use driver::run;
