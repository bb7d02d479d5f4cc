//! Services with a selector → EndpointSlices and Endpoints.
//!
//! ```text
//! Service + its pods ─► members (ready? which ports?) ─┬─► slices: 100 endpoints each, few changed at a time
//!                                                      └─► Endpoints: one object, in subsets
//! ```
//!
//! The two are separate queues, so that the older kind never delays the slices that proxies read.

mod driver;
mod legacy;
mod members;
mod slices;

pub(crate) use driver::{run_legacy, run_slices};
pub(crate) use legacy::is_managed as is_managed_endpoints;
