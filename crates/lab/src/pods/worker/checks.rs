//! Probes and hooks: what they do, and what follows from them.

use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use tracing::info;

use super::outcome::Outcome;
use super::{Work, Worker};
use crate::pods::facts::later;
use crate::pods::plan::Op;
use crate::pods::ports::{Failure, Job, Ports, Severity};
use crate::pods::spec::{Handler, ProbeKind, RestartPolicy};

impl Worker {
    pub(super) fn begin_check(&mut self, container: String, kind: ProbeKind, now: Timestamp) -> Work {
        let probe = self.spec.container(&container).and_then(|spec| spec.probe(kind).cloned());
        let key = (container.clone(), kind);
        let (Some(probe), Some(sandbox)) = (probe, self.facts.sandbox.facts()) else {
            self.flight.next_check.insert(key, Timestamp::MAX);
            return async move { Outcome::Unknown { op: Op::Check(container, kind) } }.boxed();
        };
        self.flight.next_check.insert(key, later(now, probe.period));
        let (id, address) = (self.running_id(&container), sandbox.address);
        let work = run_handler(&self.ports, probe.handler, id.clone(), address, probe.timeout);
        async move { Outcome::Checked { container, kind, id, came: work.await } }.boxed()
    }

    pub(super) fn begin_start_hook(&mut self, container: String) -> Work {
        let handler = self.spec.container(&container).and_then(|spec| spec.post_start.clone());
        let (id, sandbox) = (self.running_id(&container), self.facts.sandbox.facts());
        let (Some(handler), Some(sandbox)) = (handler, sandbox) else {
            return async move { Outcome::StartHooked { container, id, came: Ok(()) } }.boxed();
        };
        // The hook may take as long as it likes; the container's end ends it.
        let work = run_handler(&self.ports, handler, id.clone(), sandbox.address, HOOK_LIMIT);
        async move { Outcome::StartHooked { container, id, came: work.await } }.boxed()
    }

    pub(super) fn begin_hook(&mut self, container: String, deadline: Timestamp, now: Timestamp) -> Work {
        let handler = self.spec.container(&container).and_then(|spec| spec.pre_stop.clone());
        let (Some(handler), Some(sandbox)) = (handler, self.facts.sandbox.facts()) else {
            return async move { Outcome::Hooked { container, came: Ok(()) } }.boxed();
        };
        let left = Duration::try_from(deadline.duration_since(now)).unwrap_or_default();
        let work = run_handler(&self.ports, handler, self.running_id(&container), sandbox.address, left);
        async move {
            let came = match tokio::time::timeout(left, work).await {
                Ok(came) => came,
                Err(_) => Err(Failure { message: "the grace period is over".to_owned() }),
            };
            Outcome::Hooked { container, came }
        }
        .boxed()
    }

    pub(super) fn start_hooked(
        &mut self,
        container: &str,
        id: &str,
        came: Result<(), Failure>,
        now: Timestamp,
    ) {
        self.ended(&Op::StartHook(container.to_owned()));
        if self.running_id(container) != id {
            return;
        }
        let waits = self.spec.container(container).is_some_and(|spec| spec.startup.is_some());
        let grace = self.spec.grace;
        let known = self.facts.container_mut(container);
        known.hook_pending = false;
        match came {
            Ok(()) if waits => {}
            Ok(()) => known.came_up(),
            Err(error) => {
                known.doom(now, grace);
                let message = format!("PostStartHook failed: {error}");
                self.event(Severity::Warning, "FailedPostStartHook", message, Some(container));
                let message = "FailedPostStartHook".to_owned();
                self.event(Severity::Normal, "Killing", message, Some(container));
            }
        }
    }

    pub(super) fn checked(
        &mut self,
        container: &str,
        kind: ProbeKind,
        id: &str,
        came: Result<(), Failure>,
        now: Timestamp,
    ) {
        self.ended(&Op::Check(container.to_owned(), kind));
        if self.running_id(container) != id {
            return;
        }
        let Some(probe) = self.spec.container(container).and_then(|spec| spec.probe(kind).cloned()) else {
            return;
        };
        let key = (container.to_owned(), kind);
        let verdict = self.tallies.entry(key).or_default().note(came.is_ok(), &probe);
        if let Err(error) = came {
            let message = format!("{} probe failed: {error}", kind.title());
            self.event(Severity::Warning, "Unhealthy", message, Some(container));
        }
        let Some(good) = verdict else { return };
        match (kind, good) {
            (ProbeKind::Readiness, ready) => self.facts.container_mut(container).ready = ready,
            (ProbeKind::Startup, true) => self.facts.container_mut(container).came_up(),
            (ProbeKind::Liveness, true) => {}
            (ProbeKind::Liveness | ProbeKind::Startup, false) => {
                if self.facts.container_mut(container).doom.is_some() {
                    return;
                }
                self.facts.container_mut(container).doom(now, probe.grace.unwrap_or(self.spec.grace));
                let kind = kind.title().to_lowercase();
                info!(pod = self.spec.label(), container, probe = kind, "unhealthy container");
                let sidecar = self.spec.container(container).is_some_and(|spec| spec.sidecar);
                let again = if sidecar || self.spec.restart != RestartPolicy::Never {
                    ", will be restarted"
                } else {
                    ""
                };
                let message = format!("Container {container} failed {kind} probe{again}");
                self.event(Severity::Normal, "Killing", message, Some(container));
            }
        }
    }
}

/// A hook that takes longer is taken for hanging.
const HOOK_LIMIT: Duration = Duration::from_secs(3600);

/// Does what a probe or hook asks for; `Err` says why it failed.
fn run_handler(
    ports: &Ports,
    handler: Handler,
    id: String,
    address: std::net::Ipv4Addr,
    timeout: Duration,
) -> Job<Result<(), Failure>> {
    match handler {
        Handler::Sleep { duration } => Box::pin(async move {
            tokio::time::sleep(duration).await;
            Ok(())
        }),
        Handler::Exec { command } => {
            let work = ports.containers.exec(id, command, timeout);
            Box::pin(async move {
                let report = work.await?;
                if report.code == 0 {
                    return Ok(());
                }
                Err(Failure { message: report.output.trim_end().to_owned() })
            })
        }
        network @ (Handler::Http { .. } | Handler::Tcp { .. }) => {
            ports.prober.check(network, address, timeout)
        }
    }
}
