//! Figures: samples of durations and their percentiles, values beside what they are to reach, and reports of them that
//! people and programs read.
//!
//! ```text
//! Samples ─► Figure (of what, mode, size, target, limit) ─► Report ─► a table, JSON, a part of a whole run's report
//! ```
//!
//! A crate of its own, without the weight of a Kubernetes client, so that every benchmark can have it.

mod figure;
mod purpose;
mod report;
mod samples;

pub use figure::{Figure, Target};
pub use purpose::Purpose;
pub use report::{Report, ReportError};
pub use samples::{Samples, short};
