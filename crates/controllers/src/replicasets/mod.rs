//! ReplicaSets → Pods.

mod driver;
mod plan;
mod ranking;

pub(crate) use driver::run;
