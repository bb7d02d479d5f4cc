//! Chooses a node for every pod that has none.

mod affinity;
mod driver;
mod plan;
mod ports;
mod requests;

pub(crate) use affinity::{selects, tolerates, untolerated};
pub(crate) use driver::run;
pub(crate) use plan::is_ready;
