//! lab
pub mod pods;
pub mod topology;
