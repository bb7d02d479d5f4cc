//! Deployments → ReplicaSets, as Kubernetes' `pkg/controller/deployment` does it.

mod driver;
mod plan;
mod progress;
mod revision;
mod rollout;
mod template;

pub(crate) use driver::run;
pub(crate) use template::hash;
