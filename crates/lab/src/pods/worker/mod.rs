//! One task per pod: asks the plan what to do, does it, notes what came of it, asks again.

mod checks;
mod outcome;
mod start;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use self::outcome::Outcome;
use super::facts::{Facts, Run, Stop};
use super::plan::{self, Action, Flight, Op, Volumes};
use super::ports::{ContainerRef, PodEvent, PodRef, Ports, SandboxId, SandboxRequest, Severity, provide};
use super::probe::Tally;
use super::quantity::Amounts;
use super::record::{PodDirectory, Record};
use super::services::Services;
use super::spec::{PodSpec, ProbeKind};
use super::status;

/// Work of a pod, begun when it is first polled.
type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// What all workers of a node share.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node's address.
    pub host: std::net::Ipv4Addr,
    /// For `/etc/resolv.conf`.
    pub dns_server: std::net::IpAddr,
    /// For `/etc/resolv.conf`.
    pub dns_domain: String,
    /// See [`super::Config::withdrawal_delay`].
    pub withdrawal_delay: Duration,
    /// The node's, for containers without limits of their own.
    pub capacity: Amounts,
    /// For the environment of containers.
    pub services: Services,
}

/// What a worker is told.
#[derive(Debug)]
pub enum Input {
    /// The pod as it is now.
    Pod(Box<core::Pod>),
    /// The API server has no such pod any more.
    Gone,
}

/// Whether a worker goes on.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    GoesOn,
    Forgotten,
}

/// What a worker starts with.
pub struct Begin {
    /// The pod.
    pub pod: core::Pod,
    /// The same, parsed.
    pub spec: PodSpec,
    /// What is known of it.
    pub facts: Facts,
    /// Where it is kept.
    pub directory: PodDirectory,
}

/// The task of one pod.
pub struct Worker {
    pod: core::Pod,
    spec: PodSpec,
    facts: Facts,
    directory: PodDirectory,
    ports: Ports,
    settings: Arc<Settings>,
    inbox: mpsc::UnboundedReceiver<Input>,
    flight: Flight,
    jobs: FuturesUnordered<Work>,
    /// Failures in a row of work that is simply tried again.
    failures: BTreeMap<Op, u32>,
    tallies: BTreeMap<(String, ProbeKind), Tally>,
    /// The status that the API server has, as far as we know.
    sent: Option<core::PodStatus>,
    /// The newest status, sent or not: conditions keep their times from it.
    built: Option<core::PodStatus>,
    /// What was last written to disk.
    saved: Option<Facts>,
}

impl Worker {
    /// A worker that is not running yet.
    #[must_use]
    pub fn new(
        begin: Begin,
        ports: Ports,
        settings: Arc<Settings>,
        inbox: mpsc::UnboundedReceiver<Input>,
    ) -> Self {
        let known = begin.pod.status.clone();
        Self {
            pod: begin.pod,
            spec: begin.spec,
            facts: begin.facts,
            directory: begin.directory,
            ports,
            settings,
            inbox,
            flight: Flight::default(),
            jobs: FuturesUnordered::new(),
            failures: BTreeMap::new(),
            tallies: BTreeMap::new(),
            sent: known.clone(),
            built: known,
            saved: None,
        }
    }

    /// Runs until nothing is left of the pod, or until the agent ends: then everything stays as it is.
    pub async fn run(mut self) {
        self.note_deletion();
        if let (Some(problem), None) = (&self.spec.unsupported, &self.facts.termination) {
            self.event(Severity::Warning, "Failed", format!("Error: {problem}"), None);
        }
        loop {
            let now = Timestamp::now();
            let (progress, wake) = self.step(now);
            if progress == Progress::Forgotten {
                if let Err(error) = self.directory.remove() {
                    warn!(pod = self.spec.label(), %error, "cannot remove the pod's directory");
                }
                return;
            }
            let pause = wake.map_or(Duration::from_secs(3600), |at| {
                // A little late rather than a little early: a timer may have coarser ticks than the clock.
                Duration::try_from(at.duration_since(now)).unwrap_or_default() + Duration::from_millis(1)
            });
            tokio::select! {
                input = self.inbox.recv() => match input {
                    Some(input) => self.tell(input),
                    None => return,
                },
                Some(outcome) = self.jobs.next() => self.note(outcome, Timestamp::now()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn tell(&mut self, input: Input) {
        match input {
            Input::Pod(pod) => match PodSpec::parse(&pod) {
                Ok(spec) => {
                    let told = (&self.spec.labels, &self.spec.annotations);
                    if told != (&spec.labels, &spec.annotations)
                        && let Volumes::Ready(again @ Some(_)) = &mut self.flight.volumes
                    {
                        // Files may show them.
                        *again = Some(Timestamp::UNIX_EPOCH);
                    }
                    self.spec = spec;
                    self.pod = *pod;
                    self.note_overruled();
                    self.saved = None;
                    self.note_deletion();
                }
                Err(error) => warn!(pod = self.spec.label(), %error, "unusable update of a pod"),
            },
            Input::Gone => {
                let now = Timestamp::now();
                if self.facts.termination.is_none() {
                    self.terminate(now, self.spec.grace);
                }
                if let Some(termination) = &mut self.facts.termination {
                    termination.gone = true;
                }
            }
        }
    }

    /// What somebody else has written over our status is to be corrected.
    fn note_overruled(&mut self) {
        if overruled(self.sent.as_ref(), self.pod.status.as_ref()) {
            (self.sent, self.built) = (self.pod.status.clone(), self.pod.status.clone());
        }
    }

    fn note_deletion(&mut self) {
        if let Some(deletion) = self.spec.deletion {
            self.terminate(Timestamp::now(), deletion.grace);
        }
    }

    fn terminate(&mut self, now: Timestamp, grace: Duration) {
        let serving = plan::pod_ready(&self.spec, &self.facts);
        self.facts.terminate(now, grace, self.settings.withdrawal_delay, serving);
    }

    /// Begins what is to be done now; when time alone will change that.
    fn step(&mut self, now: Timestamp) -> (Progress, Option<Timestamp>) {
        let plan = plan::decide(&self.spec, &self.facts, &self.flight, now);
        let mut forgotten = false;
        let mut begun = Vec::new();
        for action in plan.actions {
            if action == Action::Forget {
                forgotten = true;
                continue;
            }
            debug!(pod = self.spec.label(), ?action, "begin");
            self.flight.running.insert(action.op());
            begun.push(self.begin(action, now));
        }
        if forgotten {
            return (Progress::Forgotten, None);
        }
        // On disk before anything happens: the jobs have not been polled yet.
        self.save();
        self.jobs.extend(begun);
        let status_wake = self.send_status(now);
        (Progress::GoesOn, plan.wake.into_iter().chain(status_wake).min())
    }

    fn save(&mut self) {
        if self.saved.as_ref() == Some(&self.facts) {
            return;
        }
        let record = Record { pod: self.pod.clone(), facts: self.facts.clone() };
        match self.directory.save(&record) {
            Ok(()) => self.saved = Some(record.facts),
            Err(error) => warn!(pod = self.spec.label(), %error, "cannot write the pod's record"),
        }
    }

    /// Writes the status when it has changed and no write is under way.
    fn send_status(&mut self, now: Timestamp) -> Option<Timestamp> {
        if self.facts.termination.as_ref().is_some_and(|termination| termination.gone) {
            return None;
        }
        let context = status::Context { host: self.settings.host, previous: self.built.as_ref(), now };
        let status = status::build(&self.spec, &self.facts, context);
        self.built = Some(status.clone());
        if self.sent.as_ref() == Some(&status) || self.flight.running.contains(&Op::Status) {
            return None;
        }
        if let Some(until) = self.flight.held.get(&Op::Status).filter(|until| **until > now) {
            return Some(*until);
        }
        self.flight.running.insert(Op::Status);
        let job = self.ports.api.write_status(self.pod_ref(), status.clone());
        self.jobs.push(Box::pin(async move {
            Outcome::StatusWritten { status: Box::new(status), came: job.await }
        }));
        None
    }

    fn pod_ref(&self) -> PodRef {
        PodRef {
            namespace: self.spec.namespace.clone(),
            name: self.spec.name.clone(),
            uid: self.spec.uid.clone(),
        }
    }

    fn sandbox_id(&self) -> SandboxId {
        SandboxId { uid: self.spec.uid.clone(), attempt: self.facts.sandbox_attempts }
    }

    fn event(&self, severity: Severity, reason: &'static str, message: String, container: Option<&str>) {
        let container = container.map(|name| ContainerRef {
            name: name.to_owned(),
            init: self.spec.init.iter().any(|container| container.name == name),
        });
        self.ports.api.record(&self.pod_ref(), PodEvent { severity, reason, message, container });
    }

    /// Notes that the action begins and makes the work of it, which starts when it is first polled.
    fn begin(&mut self, action: Action, now: Timestamp) -> Work {
        let ports = self.ports.clone();
        match action {
            Action::StartSandbox { attempt } => {
                let init: Vec<_> = self.spec.init.iter().map(|container| container.name.clone()).collect();
                self.facts.sandbox_begins(attempt, init.iter().map(String::as_str));
                let request = SandboxRequest {
                    id: self.sandbox_id(),
                    hostname: self.spec.hostname.clone(),
                    host_network: self.spec.host_network.then_some(self.settings.host),
                    host_ports: self.spec.host_ports.clone(),
                };
                Box::pin(async move { Outcome::SandboxStarted(ports.sandboxes.start(request).await) })
            }
            Action::RemoveSandbox => {
                let (id, pause) = (self.sandbox_id(), self.facts.sandbox.facts().map(|facts| facts.pause));
                Box::pin(async move { Outcome::SandboxRemoved(ports.sandboxes.remove(id, pause).await) })
            }
            Action::SetUpVolumes => self.begin_volumes(),
            Action::WatchSandbox => {
                let pause = self.facts.sandbox.facts().map(|facts| facts.pause);
                Box::pin(async move {
                    if let Some(pause) = pause {
                        ports.sandboxes.lost(pause).await;
                    }
                    Outcome::SandboxLost(pause)
                })
            }
            Action::Provide { container } => self.begin_provide(container),
            Action::Start { container, attempt } => self.begin_start(container, attempt),
            Action::Watch { container } => {
                let id = self.running_id(&container);
                Box::pin(async move {
                    let exit = ports.containers.exited(id.clone()).await;
                    Outcome::Exited { container, id, exit }
                })
            }
            Action::Check { container, probe } => self.begin_check(container, probe, now),
            Action::StartHook { container } => self.begin_start_hook(container),
            Action::Hook { container, deadline } => self.begin_hook(container, deadline, now),
            Action::Stop { container } => self.begin_stop(container, now),
            Action::Kill { container } => {
                self.facts.container_mut(&container).stop.get_or_insert_with(Stop::default).killed =
                    Some(now);
                let id = self.running_id(&container);
                Box::pin(async move {
                    let came = ports.containers.signal(id, nix::libc::SIGKILL).await;
                    Outcome::Signalled { container, came }
                })
            }
            Action::Remove { container } => {
                let id = match &self.facts.container_mut(&container).run {
                    Run::Exited(exit) => exit.id.clone(),
                    Run::Never | Run::Running { .. } => String::new(),
                };
                Box::pin(async move {
                    let came = ports.containers.remove(id.clone()).await;
                    Outcome::Removed { container, id, came }
                })
            }
            Action::DeleteObject | Action::Forget => {
                let pod = self.pod_ref();
                Box::pin(async move { Outcome::ObjectDeleted(ports.api.remove(pod).await) })
            }
        }
    }

    fn running_id(&self, container: &str) -> String {
        match self.facts.containers.get(container).map(|known| &known.run) {
            Some(Run::Running { id, .. }) => id.clone(),
            _ => String::new(),
        }
    }

    fn begin_provide(&mut self, container: String) -> Work {
        let images = self.ports.images.clone();
        let Some(spec) = self.spec.container(&container) else {
            return Box::pin(async move { Outcome::Unknown { op: Op::Provide(container) } });
        };
        let (name, policy) = (spec.image.clone(), spec.pull);
        if policy != super::spec::PullPolicy::Never && !matches!(images.find(&name), Ok(Some(_))) {
            self.event(Severity::Normal, "Pulling", format!("Pulling image \"{name}\""), Some(&container));
        }
        Box::pin(async move {
            let came = provide(images.as_ref(), &name, policy).await;
            Outcome::Provided { container, came }
        })
    }

    fn begin_stop(&mut self, container: String, now: Timestamp) -> Work {
        if self.facts.container_mut(&container).doom.is_none() {
            let message = format!("Stopping container {container}");
            self.event(Severity::Normal, "Killing", message, Some(&container));
        }
        let id = self.running_id(&container);
        let known = self.facts.container_mut(&container);
        known.stop.get_or_insert_with(Stop::default).signalled = Some(now);
        let signal = known.image.as_ref().map_or(nix::libc::SIGTERM, |image| image.stop_signal);
        let containers = self.ports.containers.clone();
        Box::pin(async move {
            let came = containers.signal(id, signal).await;
            Outcome::Signalled { container, came }
        })
    }
}

/// Whether somebody else has said since that the pod is not ready: the control plane does, of the pods of a node that it
/// does not hear of. An older state that the watch brings late says so too, with an earlier time.
fn overruled(sent: Option<&core::PodStatus>, found: Option<&core::PodStatus>) -> bool {
    let ready = |status: Option<&core::PodStatus>| {
        let conditions = status?.conditions.as_ref()?;
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
        Some((ready.status == "True", ready.last_transition_time.clone()))
    };
    matches!((ready(sent), ready(found)), (Some((true, said)), Some((false, found))) if found > said)
}

#[cfg(test)]
pub(super) mod fakes;
#[cfg(test)]
mod tests;
