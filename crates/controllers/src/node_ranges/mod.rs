//! Every node gets its piece of the cluster's pod range (`spec.podCIDR`).

mod driver;
mod plan;

pub(crate) use driver::run;
