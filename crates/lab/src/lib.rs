//! lab
pub mod pods;
