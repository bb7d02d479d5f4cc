//! Removes pods from nodes with NoExecute taints that they do not tolerate, or no longer
//! (`pkg/controller/tainteviction`).

mod driver;
mod plan;

pub(crate) use driver::run;
