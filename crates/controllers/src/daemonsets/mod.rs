//! DaemonSets → Pods, one on every node that its template lets it on, as Kubernetes' `pkg/controller/daemon` does it.
//! ControllerRevisions hold the states of the template for `kubectl rollout history` and `undo`.

mod back_off;
mod driver;
mod plan;
mod revision;

pub(crate) use driver::run;
